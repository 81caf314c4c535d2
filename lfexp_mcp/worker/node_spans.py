"""The current span of a call on a node: a copy of the run's worker's, which takes over what the call changes in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import SpanContext, StatusCode

from lfexp_mcp.worker.own_spans import Attributes, OwnSpan
from lfexp_mcp.worker.telemetry import BATCH, SpanBatch, Telemetry


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run's traces a call is made: the span that is current, within which the spans of the call belong."""

    ids: SpanContext
    parent: SpanContext | None
    name: str
    attributes: Mapping[str, Any]
    """Its own, without `shared`."""
    shared: Mapping[str, str | bool]
    """Attributes of all spans of the call."""

    @classmethod
    def current(cls) -> "Place":
        """Return the place of the call that is made now.

        Raises:
            TypeError: The current span is not the worker's own.
        """
        span = trace.get_current_span()
        if not isinstance(span, OwnSpan):
            raise TypeError("the current span is not the worker's own")
        name, attributes = span.described()
        shared = {name: value for each in BATCH.get().shared for name, value in each.values.items()}
        own = {name: value for name, value in attributes.items() if name not in shared}
        return cls(span.get_span_context(), span.parent_ids, name, own, shared)


@dataclass(frozen=True, slots=True)
class SpanChanges:
    """What the user's code has changed in the span that was current when it was called."""

    name: str
    attributes: Mapping[str, Any]
    events: Sequence[tuple[str, Mapping[str, Any], int]]
    links: Sequence[tuple[SpanContext, Mapping[str, Any]]]
    status: tuple[StatusCode, str | None]
    ended_ns: int | None
    """When it was ended."""

    @classmethod
    def of(cls, span: OwnSpan, place: Place) -> "SpanChanges":
        """Return what is different in a span that was made for a place."""
        before = {**place.shared, **place.attributes}
        return cls(
            span.name,
            {name: value for name, value in (span.attributes or {}).items() if before.get(name) != value},
            [(each.name, dict(each.attributes or {}), each.timestamp) for each in span.events],
            [(each.context, dict(each.attributes or {})) for each in span.links],
            (span.status.status_code, span.status.description),
            span.end_time,
        )

    def apply(self) -> None:
        """Make the changes in the span that is current here."""
        span = trace.get_current_span()
        span.update_name(self.name)
        span.set_attributes(self.attributes)
        for name, attributes, moment in self.events:
            span.add_event(name, attributes, moment)
        for ids, attributes in self.links:
            span.add_link(ids, attributes)
        if self.status[0] is not StatusCode.UNSET:
            span.set_status(*self.status)
        if self.ended_ns is not None:
            span.end(self.ended_ns)


class Within:
    """The spans of one call, and the one that is current in it, which the run's worker records."""

    def __init__(self, telemetry: Telemetry, place: Place) -> None:
        self._own = telemetry.provider.own
        self._place = place
        shared = Attributes(place.shared)
        self.batch = SpanBatch((shared,))
        given = (place.name, place.ids, place.parent, shared, Attributes(place.attributes))
        self.span = OwnSpan(self._own, *given, within=context.Context())
        # If the user's code ends it, it is not to be sent from here.
        telemetry.exporter.assign(self.span, SpanBatch(state="dropped"))

    def changes(self) -> SpanChanges | None:
        """Return what was changed in the current span; None for nothing."""
        return SpanChanges.of(self.span, self._place) if self.span.is_sdk_span else None

    def close(self) -> None:
        """Let later spans in its trace be none of this call's."""
        self._own.open_ids.discard(self._place.ids.span_id)
