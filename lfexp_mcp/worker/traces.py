"""The observations of a task, for the evaluators and judges that look at them.

Those of a task that has just run are read from its spans; those of a result from the journal are read from Langfuse,
which may take a while to show them.
"""

from collections.abc import Mapping
from dataclasses import replace

import anyio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id
from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BackendError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.gateway.wire import decode_value
from lfexp_mcp.judges.prices import PriceTable, open_prices
from lfexp_mcp.model import MODEL_CALLS, ModelUsage, Observation, Trace
from lfexp_mcp.runs.events import ItemEnded
from lfexp_mcp.strict_json import strict_loads
from lfexp_mcp.worker.pending import TaskResult
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.spans import NAMES

DELIVERY_S = 15.0
"""How long this worker may take to send what an earlier one left, beyond what Langfuse takes to show it."""
POLL_S = 0.5
MAX_NUMBER = 2**53
"""Beyond it, and for NaN, nothing is counted."""
_PLAIN_USAGE = frozenset({"input", "output", "total", "output_reasoning", "output_reasoning_tokens"})
"""Kinds of tokens that a price per input and output token covers; cached ones, for example, are cheaper."""
_OPENAI_SIDES = {"prompt_tokens": "input", "completion_tokens": "output", "input_tokens": "input"} | {
    "output_tokens": "output",
    "total_tokens": "total",
}
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    NAMES.OBSERVATION_INPUT: ("gen_ai.input.messages", "gen_ai.tool.call.arguments", "input.value"),
    NAMES.OBSERVATION_OUTPUT: ("gen_ai.output.messages", "gen_ai.tool.call.result", "output.value"),
    NAMES.OBSERVATION_MODEL: ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name"),
}
"""Attributes of other tracers, as OpenTelemetry (https://opentelemetry.io/docs/specs/semconv/gen-ai/) and OpenInference
name them."""
_OTHER_TYPES = {"chat": "GENERATION", "text_completion": "GENERATION", "generate_content": "GENERATION"} | {
    "embeddings": "EMBEDDING",
    "execute_tool": "TOOL",
    "invoke_agent": "AGENT",
    "llm": "GENERATION",
    "tool": "TOOL",
    "agent": "AGENT",
}


class TaskTraces:
    """Reads what tasks did; without times and costs of a replay, which are none of the models'."""

    def __init__(self, gateway: Gateway, recorder: Recorder, visibility_delay: float, *, measured: bool = True) -> None:
        self._measured = measured
        self._gateway = gateway
        self._recorder = recorder
        self._visible_from = CLOCK.monotonic() + visibility_delay + DELIVERY_S
        self._tables: dict[str, PriceTable] = {}
        self._pricing = anyio.Lock()

    async def read(self, result: TaskResult) -> Trace:
        """Return what the task of a good result did; each time a new copy, which its user may change.

        Raises:
            BackendError: Langfuse does not show it.
            StateError: The result cannot be journaled.
        """
        ended, batch = result.ended, result.batch
        if batch is None or batch.kept is None:
            trace = await self._stored(ended)
        else:
            # Its spans are collected when the result is recorded.
            await self._recorder.settle()
            observations = [*map(read_span, batch.kept), *batch.observations]
            own = (each for each in observations if each.trace_id == ended.trace_id)
            trace = Trace.of_task(ended.trace_id, ended.observation_id, own, ended.seconds)
        if not self._measured:
            unpriced = tuple(replace(each, cost=None) for each in trace.observations)
            return replace(trace, seconds=None, observations=unpriced)
        return replace(trace, observations=tuple([await self._priced(each) for each in trace.observations]))

    async def _stored(self, ended: ItemEnded) -> Trace:
        while True:
            trace = await self._gateway.observations.trace(ended.trace_id, ended.observation_id)
            if trace is not None:
                return replace(trace, seconds=ended.seconds)
            if CLOCK.monotonic() >= self._visible_from:
                break
            await anyio.sleep(POLL_S)
        raise BackendError(f"Langfuse does not show trace {ended.trace_id} yet. A resume asks for it again.")

    async def _priced(self, call: Observation) -> Observation:
        """Add what a model call cost, where neither the task nor Langfuse says it and its tokens have a known price."""
        if call.type not in MODEL_CALLS or call.cost is not None or not call.model:
            return call
        used = {kind for kind, count in call.usage.items() if count}
        if not used or not used <= _PLAIN_USAGE:
            return call
        async with self._pricing:
            if call.model not in self._tables:
                self._tables[call.model] = await open_prices(await self._gateway.model_prices(), [call.model])
        usage = ModelUsage(
            input_tokens=round(call.usage.get("input", 0)),
            output_tokens=round(sum(count for kind, count in call.usage.items() if kind.startswith("output"))),
        )
        return replace(call, cost=self._tables[call.model].cost(call.model, usage))


def read_span(span: ReadableSpan) -> Observation:
    """Read the observation that Langfuse will make of a span; inputs and outputs as `gateway` reads them."""
    attributes = dict(span.attributes or {})
    for name, others in _OTHER_NAMES.items():
        found = next((attributes[other] for other in others if other in attributes), None)
        if found is not None:
            attributes.setdefault(name, found)
    kind = attributes.get("gen_ai.operation.name") or attributes.get("openinference.span.kind") or ""
    context, parent = span.get_span_context(), span.parent
    failed = span.status.status_code is StatusCode.ERROR
    costs = _numbers(_parsed(attributes.get(NAMES.OBSERVATION_COST_DETAILS)))
    cost = costs.get("total", sum(costs.values())) if costs else None
    return Observation(
        id=format_span_id(context.span_id) if context else "",
        type=str(attributes.get(NAMES.OBSERVATION_TYPE) or _OTHER_TYPES.get(str(kind).lower(), "span")).upper(),
        started=CLOCK.date(span.start_time or 0),
        ended=CLOCK.date(span.end_time) if span.end_time else None,
        trace_id=format_trace_id(context.trace_id) if context else "",
        name=_text(attributes.get("gen_ai.tool.name")) or span.name,
        parent_id=format_span_id(parent.span_id) if parent else None,
        level=_text(attributes.get(NAMES.OBSERVATION_LEVEL)) or ("ERROR" if failed else "DEFAULT"),
        status_message=_text(attributes.get(NAMES.OBSERVATION_STATUS_MESSAGE)) or span.status.description,
        input=decode_value(_text(attributes.get(NAMES.OBSERVATION_INPUT))),
        output=decode_value(_text(attributes.get(NAMES.OBSERVATION_OUTPUT))),
        metadata=_metadata(attributes),
        model=_text(attributes.get(NAMES.OBSERVATION_MODEL)),
        usage=_usage(attributes),
        cost=cost if cost is None or cost >= 0 else None,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _parsed(value: object) -> JsonValue:
    try:
        return strict_loads(value) if isinstance(value, str) else None
    except ValueError:
        return value if isinstance(value, str) else None


def _numbers(value: object) -> dict[str, float]:
    """Keep the members of an object that can be tokens or US dollars: the user's code sets anything."""
    members = value.items() if isinstance(value, dict) else ()
    return {
        name: member
        for name, member in members
        if isinstance(member, int | float) and not isinstance(member, bool) and abs(member) <= MAX_NUMBER
    }


def _usage(attributes: Mapping[str, object]) -> dict[str, float]:
    """Return tokens by kind under Langfuse's names; details that OpenAI nests become kinds, as Langfuse makes them."""
    parsed = _parsed(attributes.get(NAMES.OBSERVATION_USAGE_DETAILS))
    sent: Mapping[str, object] = {side: attributes.get(f"gen_ai.usage.{side}_tokens") for side in ("input", "output")}
    if isinstance(parsed, dict):
        sent = parsed
    usage = {_OPENAI_SIDES.get(name, name): count for name, count in _numbers(sent).items()}
    for name, side in _OPENAI_SIDES.items():
        for kind, count in _numbers(sent.get(f"{name}_details")).items():
            if count:
                usage[f"{side}_{kind}"] = count
                usage[side] = max(usage.get(side, 0) - count, 0)
    if usage:
        usage.setdefault("total", sum(usage.values()))
    return usage


def _metadata(attributes: Mapping[str, object]) -> dict[str, JsonValue]:
    prefix = f"{NAMES.OBSERVATION_METADATA}."
    return {name[len(prefix) :]: _parsed(value) for name, value in attributes.items() if name.startswith(prefix)}
