"""Checks a Ray cluster for `doctor`: `python -m lfexp_mcp.worker.on_ray.check ADDRESS`.

Prints a line for each node that runs can use, and fails with a line for what is wrong.
"""

import sys
import time

# Runs need it to pack the scripts' folder.
import pathspec  # noqa: F401
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lfexp_mcp import __version__
from lfexp_mcp.worker.on_ray.actor import cause_of
from lfexp_mcp.worker.on_ray.cluster import join, nodes

TIMEOUT_S = 30.0
MAX_SKEW_S = 5.0


def _look() -> tuple[str, float]:
    """Return the version of lfexp-mcp and the time, on a node."""
    from lfexp_mcp import __version__ as version

    return version, time.time()


def check(address: str) -> tuple[list[str], list[str]]:
    """Return what the nodes of a cluster have, and what is wrong with them."""
    join(address)
    found: list[str] = []
    problems: list[str] = []
    look = ray.remote(_look)
    answers = {}
    asked, deadline = time.time(), time.monotonic() + TIMEOUT_S
    for node in nodes():
        if node["Alive"]:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} {node['NodeID'][:8]}"
            answers[name] = look.options(num_cpus=0, scheduling_strategy=strategy).remote(), node["Resources"]
    for name, (reference, resources) in answers.items():
        try:
            version, then = ray.get(reference, timeout=max(deadline - time.monotonic(), 0.0))
        except GetTimeoutError:
            problems.append(f"node {name} has started no process within {TIMEOUT_S:g} s")
            continue
        except RayError as error:
            problems.append(f"node {name} cannot run lfexp-mcp ({cause_of(error)})")
            continue
        # The answer may have waited for a process, or here for that of another node.
        skew = then - min(max(then, asked), time.time())
        if version != __version__:
            problems.append(f"node {name} has lfexp-mcp {version}, and this is {__version__}")
        if abs(skew) > MAX_SKEW_S:
            problems.append(f"the clock of node {name} is {skew:+.0f} s off")
        found.append(f"{name} ({resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU)")
    return found, problems


def main() -> None:
    """Check the cluster of the first argument."""
    try:
        found, problems = check(sys.argv[1])
    except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        found, problems = [], [cause_of(error)]
    sys.stdout.write("\n".join(problems or found) + "\n")
    sys.stdout.flush()
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
