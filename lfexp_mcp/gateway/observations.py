"""Observations: the spans, generations and events of traces."""

import gzip
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal

import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.errors import SizeError
from lfexp_mcp.gateway.records import Observation
from lfexp_mcp.gateway.responses import TooLargeError, check_exported_spans
from lfexp_mcp.gateway.transport import ONCE, Query, Transport, format_time
from lfexp_mcp.model import Trace

MAX_PAGE_SIZE = 1000
"""Langfuse's own limit."""
MAX_TRACE_ROWS = 50_000
"""All observations of a trace are held in memory."""
ROOTS_ONLY: dict[str, JsonValue] = {"type": "boolean", "column": "isRootObservation", "operator": "=", "value": True}
"""The filter condition of roots."""
_FIELDS = "core,basic,model,usage"


class Observations:
    """Reads observations, and writes spans."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def find(
        self,
        *,
        trace_id: str | None = None,
        type: Literal["GENERATION"] | None = None,
        environment: str | None = None,
        filter: Sequence[dict[str, JsonValue]] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        with_content: bool = True,
        max_rows: int | None = None,
    ) -> list[Observation]:
        """Return observations, newest first.

        Args:
            environment: Only those of this environment, such as `sdk-experiment`.
            filter: Langfuse's filter conditions; they take the place of the other conditions.
            since: Only those started from this time on.
            until: Only those started before this time.
            with_content: Whether to read inputs, outputs and metadata.
            max_rows: Stop reading pages once there are so many.
        """
        query: Query = {
            "fields": f"{_FIELDS},io,metadata" if with_content else _FIELDS,
            "traceId": trace_id,
            "type": type,
            "environment": environment,
            "filter": json.dumps(filter) if filter else None,
            "fromStartTime": format_time(since),
            "toStartTime": format_time(until),
            "limit": MAX_PAGE_SIZE,
        }
        return await self._transport.follow("read observations", "/v2/observations", Observation, query, max_rows)

    async def trace(self, trace_id: str, task_id: str) -> Trace | None:
        """Read what the task of a stored result did, for its evaluators and judges.

        Args:
            task_id: Its observation, which is the task's span.

        Returns:
            None while Langfuse does not show the task's span with its end. Spans that ended before it are stored with
            or before it.

        Raises:
            SizeError: The trace has more than `MAX_TRACE_ROWS` observations.
            BackendError: Langfuse did not answer.
        """
        found = await self.find(trace_id=trace_id, max_rows=MAX_TRACE_ROWS)
        if len(found) >= MAX_TRACE_ROWS:
            raise SizeError(f"Trace {trace_id} has {MAX_TRACE_ROWS:,} observations or more, which is too many to read.")
        if not any(each.id == task_id and each.ended for each in found):
            return None
        return Trace.of_task(trace_id, task_id, reversed(found))

    async def roots(
        self, conditions: Sequence[dict[str, JsonValue]] = (), expand: Sequence[str] = (), page_size: int = 100
    ) -> AsyncIterator[list[Observation]]:
        """Read the roots of traces, with the traces' names and tags, page by page and newest first.

        A server may not know a condition and ignore it: the caller checks what it gets.

        Args:
            expand: Metadata keys whose values are read whole; others are cut at 200 characters.
        """
        query: Query = {
            "fields": "core,basic,io,metadata,trace_context",
            "expandMetadata": ",".join(expand) or None,
            "filter": json.dumps([ROOTS_ONLY, *conditions]),
            "limit": min(page_size, MAX_PAGE_SIZE),
        }
        async for page in self._transport.cursor_pages("read traces", "/v2/observations", Observation, query):
            yield page

    async def send(self, otlp: bytes) -> None:
        """Ingest spans. The request is sent once: the caller keeps what is not acknowledged and repeats it.

        Args:
            otlp: One `ExportTraceServiceRequest` as protobuf
                (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request).

        Raises:
            RejectedError: The batch, or a part of it, is refused.
            SizeError: Langfuse, or a proxy before it, takes no batch of this size.
            BackendError: The server did not answer for the spans.
        """
        body = await anyio.to_thread.run_sync(lambda: gzip.compress(otlp, compresslevel=1))
        headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            "x-langfuse-ingestion-version": "4",
        }

        async def post() -> None:
            response = await self._transport.http.post("/api/public/otel/v1/traces", content=body, headers=headers)
            try:
                check_exported_spans(response)
            except TooLargeError as error:
                raise SizeError(f"Langfuse, or a proxy before it, takes no request of this size ({error}).") from None

        await self._transport.call("store spans", post, ONCE)
