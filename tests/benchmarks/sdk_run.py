"""One run of the SDK's own `run_experiment`; prints its figures as JSON. See `runners`."""

import importlib.util
import json
import resource
import sys
import time
from types import ModuleType

from langfuse import Langfuse


def load(path: str) -> ModuleType:
    """Import a script."""
    spec = importlib.util.spec_from_file_location("script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Read the order from the arguments."""
    order = json.loads(sys.argv[1])
    client = Langfuse()
    task = load(order["task"]).task
    evaluators = load(order["evaluators"]).EVALUATORS if order["evaluators"] else []
    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    dataset = client.get_dataset(order["dataset"])
    fetched = time.perf_counter()
    result = dataset.run_experiment(
        name=order["run_name"],
        run_name=order["run_name"],
        task=task,
        evaluators=evaluators,
        max_concurrency=order["max_concurrency"],
    )
    client.flush()
    ended = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    figures = {
        "seconds": ended - begun,
        "execution": ended - fetched,
        "experiment_id": result.experiment_id,
        "status": "completed",
        "cpu": cpu,
        "memory": used.ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(figures))


main()
