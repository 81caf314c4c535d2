"""A process that calls the user's code on a node, without its cluster: when it imports the SDK, and what it records."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

pytestmark = pytest.mark.slow

NODE = """
import asyncio, json, os, sys
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanContext, TraceFlags

from lfexp_mcp.model import DatasetItem
from lfexp_mcp.worker.node import NodeJob, NodeWorker
from lfexp_mcp.worker.node_spans import Place
from tests.runs.test_folder import make_run_spec

variables = {"LANGFUSE_PUBLIC_KEY": "pk-node", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_HOST": "http://127.0.0.1:9"}
job = NodeJob(make_run_spec(), "1", "task.py", None, {}, variables, False)
place = Place(SpanContext(1, 2, False, TraceFlags(1)), None, "task", {}, {"shared": "yes"})


async def main():
    node = NodeWorker(job, Path.cwd())
    had_sdk = "langfuse" in sys.modules
    found = await node.run_task(place, DatasetItem(id="a", input="A"))
    request = ExportTraceServiceRequest.FromString(found.spans)
    spans = [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
    scopes = [scope.scope for each in request.resource_spans for scope in each.scope_spans]
    return {
        "had_sdk": had_sdk,
        "has_sdk": "langfuse" in sys.modules,
        "outcome": repr(found.outcome),
        "stored": getattr(getattr(found.outcome, "value", None), "stored", None),
        "spans": [[span.name, int.from_bytes(span.parent_span_id, "big")] for span in spans],
        "shared": all(any(each.key == "shared" for each in span.attributes) for span in spans),
        "keys": sorted({each.value.string_value for scope in scopes for each in scope.attributes}),
    }


Path("found.json").write_text(json.dumps(asyncio.run(main())))
os._exit(0)
"""


def run(folder: Path, source: str) -> dict[str, Any]:
    """What a node makes of one call of a task."""
    (folder / "task.py").write_text(dedent(source), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LANGFUSE_", "OTEL_"))}
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", NODE],
        cwd=folder,
        env={**environment, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found


def test_a_task_without_spans_runs_without_the_sdk(tmp_path: Path) -> None:
    found = run(tmp_path, "def task(*, item, **kwargs):\n    return item.input\n")
    assert (found["had_sdk"], found["has_sdk"], found["stored"], found["spans"]) == (False, False, "A", [])


BY_SDK = """
    from langfuse import get_client, observe

    @observe
    def inner():
        return get_client().get_current_trace_id()

    def task(*, item, **kwargs):
        return inner()
"""
BY_SDK_LATE = """
    import os

    os.environ.update(LANGFUSE_PUBLIC_KEY="other", LANGFUSE_SAMPLE_RATE="0")

    def task(*, item, **kwargs):
        from langfuse import get_client
        assert os.environ["LANGFUSE_SAMPLE_RATE"] == "0"
        with get_client().start_as_current_observation(name="inner"):
            return get_client().get_current_trace_id()
"""
BY_OPENTELEMETRY = """
    from opentelemetry import trace

    def task(*, item, **kwargs):
        with trace.get_tracer("openai").start_as_current_span("inner", attributes={"gen_ai.system": "x"}) as span:
            return format(span.get_span_context().trace_id, "032x")
"""
WATCHED = (
    """
    import pathlib
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor

    class Watch(SpanProcessor):
        def on_end(self, span):
            with pathlib.Path("seen").open("a") as file:
                print(span.name, file=file)

    trace.get_tracer_provider().add_span_processor(Watch())
"""
    + BY_SDK
)
OF_MANY_THREADS = """
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context
    from threading import Barrier

    together = Barrier(4)

    def look(number):
        together.wait()
        from langfuse import get_client
        with get_client().start_as_current_observation(name="inner"):
            return get_client().get_current_trace_id()

    def task(*, item, **kwargs):
        with ThreadPoolExecutor(4) as pool:
            return {each.result() for each in [pool.submit(copy_context().run, look, n) for n in range(4)]}.pop()
"""


@pytest.mark.parametrize(
    ("source", "at_once", "count"),
    [
        (BY_SDK, True, 1),
        (BY_SDK_LATE, False, 1),
        (BY_OPENTELEMETRY, False, 1),
        (WATCHED, True, 1),
        (OF_MANY_THREADS, False, 4),
    ],
)
def test_spans_of_a_task_are_those_of_its_call_however_late_the_sdk_is_imported(
    tmp_path: Path, source: str, at_once: bool, count: int
) -> None:
    found = run(tmp_path, source)
    assert (found["had_sdk"], found["has_sdk"]) == (at_once, True)
    assert found["stored"] == format(1, "032x"), found["outcome"]
    assert found["spans"] == [["inner", 2]] * count
    assert found["shared"]
    if source is not BY_OPENTELEMETRY:
        assert "pk-node" in found["keys"]
    if source is WATCHED:
        assert (tmp_path / "seen").read_text() == "inner\n"
