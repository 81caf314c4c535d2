"""Observations that the runner makes itself, as spans of the SDK's scope with the SDK's attributes.

The SDK's own wrapper around a span looks for media and masks in every value and sets each attribute by itself, which
takes a third of the time of an empty item; its exporter looks for media in any case. So our spans, four for each item,
are made with OpenTelemetry at once. Spans of the user's code and of models are the SDK's.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from langfuse import LangfuseOtelSpanAttributes
from langfuse import __version__ as sdk_version
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, Tracer, format_span_id, format_trace_id, use_span
from pydantic import JsonValue

SCOPE = "langfuse-sdk"
"""Scope of the SDK's spans: Langfuse reads attributes of this scope, and of this version, as the SDK writes them."""
_NAMES = LangfuseOtelSpanAttributes


class Observation:
    """A span while it runs.

    Attributes:
        ended_ns: When it ended, to be set before it is left; None for the moment in which it is.
    """

    def __init__(self, span: Span) -> None:
        self.span = span
        self.ended_ns: int | None = None
        context = span.get_span_context()
        self.id = format_span_id(context.span_id)
        self.trace_id = format_trace_id(context.trace_id)

    def end_with(self, output: JsonValue) -> None:
        """Note what came out."""
        if output is not None:
            self.span.set_attribute(_NAMES.OBSERVATION_OUTPUT, attribute_text(output))

    def fail(self, output: JsonValue, message: str) -> None:
        """Note that it failed, what stands in the output's place, and why."""
        self.span.set_attributes(failure_attributes(output, message))


class ObservationMaker:
    """Makes observations of one project."""

    def __init__(self, provider: TracerProvider, public_key: str) -> None:
        self._tracer: Tracer = provider.get_tracer(SCOPE, sdk_version, attributes={"public_key": public_key})

    @contextmanager
    def open(
        self,
        name: str,
        kind: Literal["span", "evaluator"] = "span",
        *,
        input: JsonValue = None,
        attributes: Mapping[str, str | bool] | None = None,
        parent: Context | None = None,
        start_ns: int | None = None,
    ) -> Iterator[Observation]:
        """Open an observation; those made within are its children.

        Args:
            name: Its name.
            kind: Langfuse's type of it.
            input: Its input.
            attributes: What else its span carries from the start.
            parent: Where it belongs, None for the context of now.
            start_ns: When it began, None for now.
        """
        given: dict[str, str | bool] = {_NAMES.OBSERVATION_TYPE: kind, **(attributes or {})}
        if input is not None:
            given[_NAMES.OBSERVATION_INPUT] = attribute_text(input)
        observation = Observation(self._tracer.start_span(name, parent, attributes=given, start_time=start_ns))
        try:
            with use_span(observation.span):
                yield observation
        finally:
            observation.span.end(observation.ended_ns)


def sdk_scope(public_key: str) -> InstrumentationScope:
    """The scope that `ObservationMaker` makes its spans in."""
    return InstrumentationScope(SCOPE, sdk_version, attributes={"public_key": public_key})


def failure_attributes(output: JsonValue, message: str) -> dict[str, str]:
    """What a failed observation carries: what stands in the output's place, and why it failed."""
    return {
        _NAMES.OBSERVATION_OUTPUT: attribute_text(output),
        _NAMES.OBSERVATION_LEVEL: "ERROR",
        _NAMES.OBSERVATION_STATUS_MESSAGE: message,
    }


def attribute_text(value: JsonValue) -> str:
    """A value as the SDK writes inputs and outputs: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metadata_attributes(metadata: Mapping[str, JsonValue]) -> dict[str, str]:
    """Metadata as the SDK writes it: an attribute for each key, each value as JSON; nothing for None."""
    return {
        f"{_NAMES.OBSERVATION_METADATA}.{key}": json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        for key, value in metadata.items()
        if value is not None
    }
