"""Observations: the spans, generations and events of traces."""

import gzip
import json
from collections.abc import Sequence
from datetime import datetime

import anyio.to_thread
from pydantic import JsonValue

from lfexp_mcp.errors import SizeError
from lfexp_mcp.gateway.records import Observation
from lfexp_mcp.gateway.responses import TooLargeError, check_exported_spans
from lfexp_mcp.gateway.transport import ONCE, Query, Transport, format_time

MAX_PAGE_SIZE = 1000
_FIELDS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"


class Observations:
    """Reads observations, and writes spans."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def find(
        self,
        *,
        trace_id: str | None = None,
        root_only: bool = False,
        filter: Sequence[dict[str, JsonValue]] | None = None,
        until: datetime | None = None,
        page_size: int = MAX_PAGE_SIZE,
        max_rows: int | None = None,
    ) -> list[Observation]:
        """Return observations, newest first.

        Args:
            trace_id: Only those of this trace.
            root_only: Only roots of traces.
            filter: Langfuse's filter conditions; they take the place of the other arguments.
            until: Only those started before this time.
            page_size: How many to read with one request, at most 1,000.
            max_rows: Stop reading pages once there are so many.
        """
        query: Query = {
            "fields": _FIELDS,
            "traceId": trace_id,
            "isRootObservation": "true" if root_only else None,
            "filter": json.dumps(filter) if filter else None,
            "toStartTime": format_time(until),
            "limit": page_size,
        }
        return await self._read("read observations", query, max_rows)

    async def generations(
        self, environment: str, since: datetime, until: datetime, max_rows: int | None = None
    ) -> list[Observation]:
        """Return the model calls of an environment begun between two times, newest first, without inputs and outputs.

        Args:
            environment: Such as `sdk-experiment`.
            since: Begun at this time or later.
            until: Begun before this time.
            max_rows: Stop reading pages once there are so many.
        """
        query: Query = {
            "fields": "core,basic,model,usage",
            "type": "GENERATION",
            "environment": environment,
            "fromStartTime": format_time(since),
            "toStartTime": format_time(until),
            "limit": MAX_PAGE_SIZE,
        }
        return await self._read("read the model calls", query, max_rows)

    async def _read(self, what: str, query: Query, max_rows: int | None) -> list[Observation]:
        return await self._transport.follow(what, "/v2/observations", Observation, query, max_rows)

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
