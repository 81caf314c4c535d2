"""A task and evaluators that do to spans whatever users do; each item's metadata names one of its ways."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

from langfuse import Evaluation, Langfuse, get_client, observe, propagate_attributes
from langfuse.media import LangfuseMedia
from langfuse.openai import OpenAI  # type: ignore[attr-defined]
from langfuse.types import TraceContext
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Span as SdkSpan

from lfexp_mcp.scripts import ScriptItem

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJgg"
    "g=="
)


@observe(as_type="tool")
def look_up(text: str, times: int = 1) -> list[str]:
    return [text] * times


def plain(item: ScriptItem) -> object:
    return item.input


def nothing(item: ScriptItem) -> object:
    return None


def nested(item: ScriptItem) -> object:
    client = get_client()
    with client.start_as_current_observation(name="agent", as_type="agent", metadata={"of": item.id[-1]}) as agent:
        with client.start_as_current_observation(name="think", as_type="generation", model="gpt-4o") as call:
            call.update(input="hm", output={"tool": "look up"}, usage_details={"input": 7, "output": 3})
        look_up("a", times=2)
        agent.create_event(name="noted", level="WARNING", metadata={"why": "seen"})
    client.start_observation(name="by hand", as_type="retriever", input=[1]).update(output=[2]).end()
    return {"nested": True}


def updated(item: ScriptItem) -> object:
    get_client().update_current_span(
        name="renamed", input={"own": 1}, output="own output", metadata={"own": [1], "number": "replaced"},
        version="v7", level="WARNING", status_message="careful",
    )  # fmt: skip
    return "returned output"


def updated_as_generation(item: ScriptItem) -> object:
    get_client().update_current_generation(model="gpt-4o", usage_details={"input": 1, "output": 2}, prompt=None)
    return 1


def propagated(item: ScriptItem) -> object:
    with (
        propagate_attributes(user_id="u1", session_id="s1", tags=["a", "b"], metadata={"deep": "yes"}, version="v1"),
        get_client().start_as_current_observation(name="within"),
    ):
        look_up("b")
    get_client().set_current_trace_as_public()
    return [True, None, 1.5]


def raising(item: ScriptItem) -> object:
    with get_client().start_as_current_observation(name="before it fails"):
        raise ValueError("no such thing: ü")


def raising_after_update(item: ScriptItem) -> object:
    get_client().update_current_span(metadata={"step": 3})
    raise KeyError("gone")


def by_opentelemetry(item: ScriptItem) -> object:
    span = trace.get_current_span()
    assert span.is_recording()
    assert isinstance(span, SdkSpan)
    assert isinstance(span, ReadableSpan)
    seen = {
        "name": span.name, "input": (span.attributes or {}).get("langfuse.observation.input"), "kind": span.kind.name,
        "parent": span.parent is not None, "events": len(span.events), "status": span.status.status_code.name,
        "scope": getattr(span.instrumentation_scope, "name", None),
        "resource": "service.name" in span.resource.attributes,
        "ended": span.end_time is not None, "started": bool(span.start_time),
    }  # fmt: skip
    span.set_attribute("plain", 1)
    span.set_attributes({"list": ["a", "b"], "float": 0.5, "gen_ai.request.model": "m", "bad": {"x": [1]}})
    span.add_event("happened", {"n": 1})
    span.record_exception(ValueError("recorded"))
    span.add_link(trace.SpanContext(1, 2, is_remote=True), {"linked": True})
    span.set_status(trace.StatusCode.ERROR, "said so")
    with trace.get_tracer("some.library").start_as_current_span("not exported"):
        look_up("c")
    with trace.get_tracer("openinference.instrumentation.x").start_as_current_span("exported") as child:
        child.set_attribute("llm.model_name", "m")
    return seen


def status_ok(item: ScriptItem) -> object:
    span = trace.get_current_span()
    span.set_status(trace.StatusCode.OK)
    span.update_name("by OpenTelemetry")
    return 1


def ended_by_hand(item: ScriptItem) -> object:
    span = trace.get_current_span()
    span.set_attribute("before", 1)
    span.end()
    span.set_attribute("after", 1)
    return f"recording: {span.is_recording()}"


def in_threads(item: ScriptItem) -> object:
    client, span = get_client(), trace.get_current_span()
    ids = TraceContext(
        trace_id=str(client.get_current_trace_id()), parent_span_id=str(client.get_current_observation_id())
    )
    together = threading.Barrier(4)

    def write(number: int) -> None:
        together.wait()
        span.set_attribute(f"thread.{number}", number)

    def elsewhere() -> None:
        client.start_observation(name="by ids", trace_context=ids).end()

    def bare() -> None:
        span.set_attribute("bare", True)
        with trace.use_span(span):
            look_up("d")

    writers = [threading.Thread(target=write, args=[number]) for number in range(4)]
    others = [
        threading.Thread(target=copy_context().run, args=[look_up, "e"]),
        *(threading.Thread(target=each) for each in (elsewhere, bare)),
    ]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    for thread in others:
        thread.start()
        thread.join()
    return len(ids["trace_id"])


def awaitable(item: ScriptItem) -> object:
    async def step(name: str) -> str:
        with get_client().start_as_current_observation(name=name):
            await asyncio.sleep(0)
            look_up(name)
        return name

    async def work() -> list[str]:
        get_client().update_current_span(metadata={"awaited": True})
        return list(await asyncio.gather(step("left"), step("right")))

    return work()


def by_openai(item: ScriptItem) -> object:
    reply = OpenAI().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": str(item.input)}], temperature=0.5
    )
    return reply.choices[0].message.content


def with_media(item: ScriptItem) -> object:
    get_client().update_current_span(metadata={"picture": LangfuseMedia(base64_data_uri=PIXEL)})
    return {"picture": PIXEL}


def scored(item: ScriptItem) -> object:
    get_client().score_current_span(name="own span", value=0.5, comment="scored by the task")
    get_client().score_current_trace(name="own trace", value="fine")
    return 1


def outside(item: ScriptItem) -> object:
    client = get_client()
    token = context.attach(context.Context())
    try:
        client.start_observation(name="a trace of its own").end()
    finally:
        context.detach(token)
    return baggage.get_baggage("lfexp") is None


def masked(item: ScriptItem) -> object:
    hidden = Langfuse(mask=lambda *, data, **_: data.replace("secret", "***") if isinstance(data, str) else data)
    hidden.update_current_span(input="a secret", metadata={"of": "secrets"})
    with hidden.start_as_current_observation(name="hidden", input="a secret", output="no secret"):
        return "secret"


WAYS: Mapping[str, Callable[[ScriptItem], object]] = {
    way.__name__: way
    for way in (
        plain, nothing, nested, updated, updated_as_generation, propagated, raising, raising_after_update,
        by_opentelemetry, status_ok, ended_by_hand, in_threads, awaitable, by_openai, with_media, scored, outside,
        masked,
    )
}  # fmt: skip


def task(*, item: ScriptItem, **_: object) -> object:
    return WAYS[str(item.metadata["way"])](item)


def exact(*, output: object, expected_output: object, **_: object) -> Evaluation:
    return Evaluation(name="exact", value=float(output == expected_output), comment="compared")


def busy(*, input: object, output: object, metadata: dict[str, Any], **_: object) -> object:
    if metadata["way"] == "nested":
        get_client().update_current_span(metadata={"judged": True}, level="DEBUG")
        with get_client().start_as_current_observation(name="judging", as_type="generation", model="gpt-4o"):
            look_up("f")
    if metadata["way"] == "updated":
        trace.get_current_span().add_event("judged", {"of": "it"})
        raise RuntimeError("cannot judge")
    return [{"name": "busy", "value": 3, "metadata": {"scale": "0-10"}}, {"name": "label", "value": "good"}]


async def later(*, output: object, **_: object) -> bool:
    with get_client().start_as_current_observation(name="waited"):
        await asyncio.sleep(0)
    return output is not None


EVALUATORS = [exact, busy, later]
