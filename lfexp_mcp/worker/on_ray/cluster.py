"""The Ray cluster that a run is connected to."""

import logging
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lfexp_mcp.environment import process_environment, set_variables
from lfexp_mcp.errors import UsageError, WorkerError
from lfexp_mcp.model import RunSpec
from lfexp_mcp.worker.engine import LocalEngine
from lfexp_mcp.worker.node import NodeJob
from lfexp_mcp.worker.on_ray.actor import NodeActor, cause_of
from lfexp_mcp.worker.on_ray.engine import RayEngine
from lfexp_mcp.worker.on_ray.package import Package, asked_environment
from lfexp_mcp.worker.on_ray.pool import Kind
from lfexp_mcp.worker.provenance import digests

CONNECT_TIMEOUT_S = 5.0
SENT_VARIABLES = ("LANGFUSE_", "OPENAI_", "ANTHROPIC_", "OTEL_BSP_")
"""Beginnings of the names of variables that each node gets as an actor's argument, where Ray shows them to nobody."""


class RayCluster:
    """The cluster that a run is connected to.

    Args:
        run_spec: The run spec.
        package: What travels to the nodes.
        archive: The same, packed.
    """

    def __init__(self, run_spec: RunSpec, package: Package, archive: bytes) -> None:
        self.run_spec = run_spec
        self._options = run_spec.engine_options
        self._package = package
        self._archive = ray.put(archive)
        self._folder = str(Path.cwd())
        self.asked = self._options.asked_resources

    @classmethod
    def connect(cls, run_spec: RunSpec) -> "RayCluster":
        """Connect to the cluster of a run, or start one on this machine.

        Raises:
            WorkerError: There is no such cluster, or it is of another version.
            UsageError: None of its nodes has what an item takes.
        """
        package, options = Package.of(run_spec), run_spec.engine_options
        archive = package.pack(run_spec)
        missing = sorted(set(options.env_vars) - process_environment({}).keys())
        if missing:
            raise UsageError(f"engine_options.env_vars: {', '.join(missing)} is not set here.")
        try:
            join(options.address, asked_environment(options))
            cluster = cls(run_spec, package, archive)
            cluster.check()
        except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
            if options.address is None:
                raise WorkerError(f"A Ray cluster on this machine cannot be used: {cause_of(error)}") from None
            raise WorkerError(
                f"Ray cluster {options.address} cannot be used: {cause_of(error)}. Start it, or name another one in "
                "engine_options.address; `doctor` checks that of LFEXP_RAY_ADDRESS."
            ) from None
        return cluster

    def open(
        self,
        local: LocalEngine,
        *,
        warn: Callable[[str], None],
        take_spans: Callable[[bytes], None],
        keeps_spans: bool,
    ) -> RayEngine:
        """See `Cluster.open`."""
        package, run_spec = self._package, self.run_spec
        evaluates = any(not each.built_in for each in local.evaluators)
        job = NodeJob(
            run_spec=run_spec,
            token=secrets.token_hex(8),
            task=package.place(run_spec.task_script),
            evaluators=package.place(run_spec.evaluator_script) if evaluates else None,
            sources=digests(),
            variables={
                name: value
                for name, value in process_environment({}).items()
                if name in self._options.env_vars or name.startswith(SENT_VARIABLES)
            },
            keeps_spans=keeps_spans,
        )
        waits = local.task is not None and local.task.is_async
        # Resources of other kinds than CPUs may be given to a process by name, as GPUs are.
        has_only_cpus = {name for name, amount in self.asked.items() if amount} <= {"CPU"}
        kind: Kind = "spread" if not self.asked else "packed" if waits and has_only_cpus else "single"
        return RayEngine(self, ray.put(job), kind, local, warn, take_spans)

    def check(self) -> None:
        """Refuse resources that Ray does not know so, or that no node has.

        Raises:
            UsageError: An item could wait forever.
        """
        try:
            self._actor_class(None, 1)
        except ValueError as error:
            raise UsageError(f"engine_options: {error}") from None
        if self.look()[0]:
            return
        asked = self.asked or {"CPU": 1}
        named = " and ".join(f"{amount:g} {name}" for name, amount in asked.items())
        has = "; ".join(
            ", ".join(f"{name} {amount:g}" for name, amount in node["Resources"].items() if ":" not in name)
            for node in nodes()
            if node["Alive"]
        )
        raise UsageError(
            f"No node of the Ray cluster has {named} for an item. Its nodes have: {has or 'none is alive'}."
        )

    def look(self) -> tuple[dict[str, int], dict[str, int]]:
        """Ask the head what its nodes have.

        Returns:
            For how many items each node has resources, without nodes that have them for none; and for how many it had
            some a moment ago that nobody had taken.
        """
        places = {node["NodeID"]: self._count(node["Resources"]) for node in nodes() if node["Alive"]}
        free = {node: self._count(resources) for node, resources in available_resources_per_node().items()}
        return {node: count for node, count in places.items() if count}, free

    def _count(self, has: dict[str, float]) -> int:
        asked = {name: amount for name, amount in (self.asked or {"CPU": 1}).items() if amount}
        counts = (int(has.get(name, 0) / amount + 1e-9) for name, amount in asked.items())
        return min(counts, default=self.run_spec.limits.max_concurrency)

    def start(self, job: object, node_id: str | None, booked: int) -> Any:  # noqa: ANN401 - Ray's handles are untyped
        """Start a process on this node or, for None, where Ray finds its resources free.

        Args:
            job: Reference to the `NodeJob`.
            node_id: The node.
            booked: For how many items it gets resources.
        """
        return self._actor_class(node_id, booked).remote(job, [self._archive], self._folder)

    def _actor_class(self, node_id: str | None, booked: int) -> Any:  # noqa: ANN401
        actor_class: Any = ray.remote(NodeActor)
        resources = {name: amount * booked for name, amount in self.asked.items()}
        strategy = NodeAffinitySchedulingStrategy(node_id, soft=False) if node_id is not None else "SPREAD"
        return actor_class.options(
            num_cpus=resources.pop("CPU", 0),
            num_gpus=resources.pop("GPU", 0),
            memory=resources.pop("memory", None),
            resources=resources,
            scheduling_strategy=strategy,
            max_concurrency=10_000,
        )

    def close(self) -> None:
        """End all processes of the run, and a cluster that was started for it."""
        ray.shutdown()


def join(address: str | None, runtime_env: dict[str, Any] | None = None) -> None:
    """Connect this process to a cluster; for None, to one that it starts.

    Raises:
        OSError: Nothing answers.
        RuntimeError: The cluster is of another version.
        RayError: It does not work.
        ValueError: The runtime environment is wrong.
    """
    # Ray would otherwise tell its makers about a cluster that it starts.
    variables: dict[str, str | None] = {"RAY_USAGE_STATS_ENABLED": "0"}
    if address is not None:
        # Ray would try for a quarter of an hour.
        variables["RAY_gcs_server_port_wait_time_s"] = "1"
        host, _, port = address.rpartition(":")
        if host:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    set_variables(variables)
    ray.init(
        address=address or "local",
        runtime_env=runtime_env,
        log_to_driver=False,
        logging_level=logging.ERROR,
        include_dashboard=None if address else False,
    )


def nodes() -> list[dict[str, Any]]:
    """Return the nodes of the cluster, as Ray describes them."""
    found: list[dict[str, Any]] = ray.nodes()
    return found
