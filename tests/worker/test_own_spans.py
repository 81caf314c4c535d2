"""The worker's own spans beside the SDK's."""

import copy
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import SpanLimits, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, Status, StatusCode

from lfexp_mcp.worker.own_spans import Attributes, OwnSpan, SpanSource
from lfexp_mcp.worker.spans import span_context
from lfexp_mcp.worker.telemetry import sdk_scope
from tests.worker.scene import Scene

LIMITS = SpanLimits(max_span_attributes=20)
SENT_ALONE: list[Mapping[str, str | bool]] = [
    {},
    {"text": "", "other": "ü\n\0 \U0001f600", "flag": True, "not": False},
    {"like media": "a database, data; inline data", "long": "x" * 100_000},
    {f"a{number}": str(number) for number in range(19)},
]
LEFT_TO_THE_SDK: list[Mapping[str, str | bool]] = [
    {"uri": "data:image/png;base64,aGk="},
    {"metadata": '"data:image/png;base64,aGk="'},
    {"anthropic": '[{"source": {"media_type": "image/png", "data": "aGk="}}]'},
    {"gemini": '{"inline_data": {"mime_type": "image/png"}}', "vertex": '{"inlineData": {"mimeType": "image/png"}}'},
    {"no text": "\ud800", "text": "kept"},
    {f"a{number}": str(number) for number in range(20)},
]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def source(exporter: InMemorySpanExporter) -> Iterator[SpanSource]:
    provider = TracerProvider(span_limits=LIMITS)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    scope = sdk_scope("pk")
    tracer = provider.get_tracer(scope.name, scope.version, attributes=scope.attributes)
    assert isinstance(tracer, Tracer)
    yield SpanSource(tracer, scope, LIMITS)
    provider.shutdown()


def start(source: SpanSource, *attributes: Attributes) -> OwnSpan:
    context, parent = span_context("1" * 32, "2" * 16), span_context("1" * 32, "3" * 16)
    return OwnSpan(source, "a span", context, parent, Attributes({"first": "1"}), *attributes, start_ns=1000)


def encoded(source: SpanSource, span: OwnSpan) -> ExportTraceServiceRequest:
    request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(source.encode([(span, None)]))
    return request


@pytest.mark.parametrize("values", SENT_ALONE)
def test_a_span_that_nobody_looks_at_is_written_as_the_sdk_writes_it(
    source: SpanSource, exporter: InMemorySpanExporter, values: Mapping[str, str | bool]
) -> None:
    span = start(source, Attributes(values))
    span.finish(2000)
    assert span.ended_alone
    assert exporter.get_finished_spans() == ()
    alone = encoded(source, span)
    span.become_sdk_span()
    assert alone == encode_spans([span])
    assert encoded(source, span) == alone


@pytest.mark.parametrize("values", LEFT_TO_THE_SDK)
def test_what_only_the_sdk_can_send_is_left_to_it(
    source: SpanSource, exporter: InMemorySpanExporter, values: Mapping[str, str | bool]
) -> None:
    span = start(source, Attributes(values))
    span.finish(2000)
    assert not span.ended_alone
    [sent] = exporter.get_finished_spans()
    expected = list({"first": "1", **values}.items())[-20:]
    assert dict(sent.attributes or {}) == dict(expected)
    assert (sent.start_time, sent.end_time, sent.name) == (1000, 2000, "a span")


def test_it_starts_with_the_work_that_waited_for_its_turn_but_never_after_its_end(source: SpanSource) -> None:
    span = start(source)
    span.finish(2000)
    times = []
    for started_ns in (None, 500, 1500, 2500):
        request = ExportTraceServiceRequest.FromString(source.encode([(span, started_ns)]))
        times.append(request.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano)
    assert times == [1000, 1000, 1500, 1000]


def test_a_span_that_is_changed_goes_the_way_of_the_sdks(source: SpanSource, exporter: InMemorySpanExporter) -> None:
    span = start(source)
    span.set_attribute("own", 1)
    span.add(Attributes({"later": "2"}))
    span.finish(2000)
    assert not span.ended_alone
    [sent] = exporter.get_finished_spans()
    assert dict(sent.attributes or {}) == {"first": "1", "own": 1, "later": "2"}


def test_a_span_that_has_ended_changes_no_more(
    source: SpanSource, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    span = start(source)
    span.finish(2000)
    before = encoded(source, span)
    span.add(Attributes({"late": "1"}))
    span.set_attribute("late", 1)
    span.end(3000)
    assert not span.is_recording()
    assert (span.end_time, dict(span.attributes or {})) == (2000, {"first": "1"})
    assert encoded(source, span) == before
    assert exporter.get_finished_spans() == ()
    assert len(caplog.records) == 3


def test_threads_that_change_a_span_at_once_lose_nothing(source: SpanSource, exporter: InMemorySpanExporter) -> None:
    for _ in range(50):
        span, together = start(source), threading.Barrier(5)

        def write(number: int, span: OwnSpan = span, together: threading.Barrier = together) -> None:
            together.wait()
            if number % 2:
                span.set_attribute(str(number), number)
            else:
                span.add(Attributes({str(number): str(number)}))

        threads = [threading.Thread(target=write, args=[number]) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        span.finish()
        [sent] = exporter.get_finished_spans()
        exporter.clear()
        assert dict(sent.attributes or {}) == {"first": "1", "0": "0", "1": 1, "2": "2", "3": 3, "4": "4"}


def test_what_a_span_does_not_have_it_still_does_not_have(source: SpanSource) -> None:
    assert not hasattr(start(source), "nothing")
    assert not hasattr(object.__new__(OwnSpan), "name")


class _Silent:
    __slots__ = ()


def end_and_go_on(span: trace.Span) -> None:
    span.end()
    span.set_attribute("late", 1)
    span.add_event("late")
    span.update_name("late")
    span.end()


def add_links(span: trace.Span) -> None:
    for number in range(2):
        span.add_link(SpanContext(number, number, is_remote=False))


ODD_VALUES: dict[Any, Any] = {
    "none": None, "bytes": b"\xff", "mixed": [1, "a", None], "set": {1}, "nested": {"a": [{}]}, "nan": math.nan,
    "large": 2**63, "enum": StatusCode.ERROR, "silent": _Silent(), "bool": True, "": "no name", 5: "no text",
    "surrogate": "\ud800", "nul": "a\0\ufffe",
}  # fmt: skip
OPERATIONS: dict[str, Callable[[trace.Span], object]] = {
    "odd values": lambda span: span.set_attributes(ODD_VALUES),
    "many attributes": lambda span: [span.set_attribute(f"a{number}", number) for number in range(30)],
    "many events": lambda span: [span.add_event(f"e{number}", {"n": number}) for number in range(200)],
    "ours again": lambda span: span.set_attributes({"first": "theirs", "langfuse.observation.output": "theirs"}),
    "links": add_links,
    "ok stays": lambda span: [span.set_status(code) for code in (StatusCode.OK, StatusCode.ERROR)],
    "error stays": lambda span: [span.set_status(code) for code in (StatusCode.ERROR, StatusCode.UNSET)],
    "both descriptions": lambda span: span.set_status(Status(StatusCode.ERROR, "mine"), "no place for it"),
    "exception": lambda span: span.record_exception(KeyError("gone"), {"more": 1}, escaped=True),
    "renamed": lambda span: span.update_name("another"),
    "ended": end_and_go_on,
}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_what_the_users_code_does_to_it_ends_as_on_a_span_of_the_sdk(
    source: SpanSource, exporter: InMemorySpanExporter, operation: Callable[[trace.Span], object]
) -> None:
    theirs, ours = source.tracer.start_span("a span", attributes={"first": "1"}), start(source)
    for span in (theirs, ours):
        operation(span)
    theirs.set_attribute("later", "2")
    theirs.end()
    ours.add(Attributes({"later": "2"}))
    ours.finish()
    one, other = exporter.get_finished_spans()
    for compared in ("name", "kind", "events", "links", "status", "dropped_attributes", "dropped_events"):
        expected, found = getattr(one, compared), getattr(other, compared)
        if compared == "events":
            expected, found = ([(each.name, dict(each.attributes or {})) for each in of] for of in (expected, found))
        if compared == "links":
            expected, found = len(expected), len(found)
        if compared == "status":
            expected, found = ((each.status_code, each.description) for each in (expected, found))
        assert found == expected, compared
    assert str(dict(other.attributes or {})) == str(dict(one.attributes or {}))


def test_it_is_copied_and_left_as_a_span_of_the_sdk_is(source: SpanSource, exporter: InMemorySpanExporter) -> None:
    span = start(source)
    copied = copy.copy(span)
    copied.set_attribute("by the copy", 1)
    assert dict(span.attributes or {}) == {"first": "1", "by the copy": 1}
    with pytest.raises(TypeError, match="pickle"):
        copy.deepcopy(span)
    with pytest.raises(ValueError, match="within"), start(source):
        raise ValueError("within")
    [sent] = exporter.get_finished_spans()
    assert (sent.status.status_code.name, [event.name for event in sent.events]) == ("ERROR", ["exception"])
    assert '"first": "1"' in start(source).to_json()


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_processor_of_the_users_code_sees_and_changes_all_spans(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("""
        from langfuse import get_client, observe
        from opentelemetry import trace
        from opentelemetry.sdk.trace import SpanProcessor

        class Tenant(SpanProcessor):
            ended = []

            def on_start(self, span, parent_context=None):
                span.set_attribute("tenant", "t")

            def on_end(self, span):
                self.ended.append(span.name)

        trace.get_tracer_provider().add_span_processor(Tenant())

        @observe
        def inner(text):
            return text

        def task(*, item, **kwargs):
            return inner(item.input)

        def ended(*, input, **kwargs):
            return len(Tenant.ended) >= 3
    """)
    answer = await scene.run(task, evaluator_script=task, max_concurrency=1)
    assert (answer.status, [score.mean for score in answer.scores]) == ("completed", [1])
    trace_id = (await scene.record()).items[1].trace_id
    spans = await scene.ws.gateway.observations.find(trace_id=trace_id)
    assert {span.name: span.metadata.get("attributes.tenant") for span in spans} == dict.fromkeys(
        ("experiment-item-run", "experiment-item-task", "experiment-item-evaluation", "inner", "ended"), "t"
    )
