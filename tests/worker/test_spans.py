"""Spans made again from the journal are those that were lost."""

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource

from lfexp_mcp.runs.outbox import read_batches, waiting_files
from lfexp_mcp.worker.spans import ItemSpans
from lfexp_mcp.worker.telemetry import encode
from tests.faults.proxy import Fault, FaultProxy
from tests.faults.test_delivery import only_writes
from tests.waiting import until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def comparable(span: Span) -> tuple[object, ...]:
    return (
        span.name,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.kind,
        span.start_time_unix_nano,
        sorted((each.key, each.value.SerializeToString()) for each in span.attributes),
    )


def spans_around_tasks(batches: list[bytes]) -> list[tuple[object, ...]]:
    requests = [ExportTraceServiceRequest.FromString(batch) for batch in batches]
    scopes = [scope for request in requests for resource in request.resource_spans for scope in resource.scope_spans]
    assert {scope.scope.name for scope in scopes} == {"langfuse-sdk"}
    names = ("experiment-item-run", "experiment-item-task")
    return sorted(comparable(span) for scope in scopes for span in scope.spans if span.name in names)


async def test_the_spans_around_a_task_are_made_again_as_they_were(scene: Scene) -> None:
    await scene.fill(3)
    with FaultProxy(scene.ws.gateway.backend.url) as proxy:
        proxy.faults = only_writes(Fault(status=503))
        through = scene.ws.settings.model_copy(update={"langfuse_url": proxy.url, "delivery_patience": 0.1})
        from lfexp_mcp.services.workspace import open_workspace

        async with open_workspace(through) as ws:
            scene.ws = ws
            task = scene.script("""
                def task(*, item, **kwargs):
                    if item.metadata["number"] == 1:
                        raise ValueError("boom")
                    return {"a": [1, "b"]} if item.metadata["number"] else "text"
            """)
            await scene.run(task, description="why", metadata={"k": 1})
            folder = await scene.run_folder()
            await until(lambda: not folder.worker.is_locked())
    sent = [batch for path in waiting_files(folder.outbox_path) for batch in read_batches(path).contents]
    run_spec, state = folder.run_spec(), folder.read_state()
    assert state.accepted is not None
    spans = ItemSpans(run_spec, [state.accepted.provenance.experiment_metadata(run_spec, 0)])
    items = {item.id: item for item in folder.items(folder.run_spec())}
    public_key = through.langfuse_public_key or ""
    rebuilt = [
        span
        for ended in state.ended.values()
        for span in spans.rebuild(items[ended.item_id], ended, Resource.create({}), public_key)
    ]
    assert len(rebuilt) == 6
    assert spans_around_tasks([encode(rebuilt)]) == spans_around_tasks(sent)
