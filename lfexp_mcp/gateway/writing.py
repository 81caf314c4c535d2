"""Acknowledged writes: each returns only when the server has answered for what it was given.

The SDK's own queues drop what a server refuses or cannot take in time, and say nothing. These two calls go to the same
endpoints over the same HTTP client, so that every score and every batch of spans has an answer of its own.
"""

import gzip
from collections.abc import Sequence
from typing import cast

import anyio
import anyio.to_thread
import httpx
from pydantic import JsonValue

from lfexp_mcp.errors import RejectedError, SizeError
from lfexp_mcp.gateway.acknowledgement import (
    TooLargeError,
    read_exported_spans,
    read_stored_score,
    read_stored_scores,
)
from lfexp_mcp.gateway.records import ScoreRejection, ScoreWrite
from lfexp_mcp.gateway.score_makers import with_maker
from lfexp_mcp.gateway.transport import ONCE, Transport
from lfexp_mcp.groups import open_group

SCORES_PATH = "/api/public/scores"
SPANS_PATH = "/api/public/otel/v1/traces"
SINGLE_CONCURRENCY = 8
"""Requests at once to a server that takes one score a request."""


class Writer:
    """Writes scores and spans, each call at most once: callers keep what is not acknowledged and repeat it."""

    def __init__(self, http: httpx.AsyncClient, transport: Transport) -> None:
        self._http = http
        self._transport = transport
        self._takes_lists = True

    async def write_scores(self, scores: Sequence[ScoreWrite]) -> list[ScoreRejection]:
        """Store scores; one with an id that exists replaces it.

        Args:
            scores: At most a few hundred.

        Returns:
            Those that the server refused, with its reason. All others are stored.

        Raises:
            BackendError: The server did not answer for the scores; some may be stored.
        """
        if not scores:
            return []
        if self._takes_lists:
            try:
                if await self._post_list(scores):
                    return []
            except RejectedError as refused:
                if "expected object, received array" in str(refused):
                    self._takes_lists = False
                elif len(scores) == 1:
                    return [ScoreRejection(scores[0], str(refused))]
        return await self._write_one_by_one(scores)

    async def _write_one_by_one(self, scores: Sequence[ScoreWrite]) -> list[ScoreRejection]:
        """Post single scores: for servers before 4.59, and to learn which of a list was refused."""
        rejections: list[ScoreRejection] = []
        limiter = anyio.CapacityLimiter(SINGLE_CONCURRENCY)

        async def write(score: ScoreWrite) -> None:
            async with limiter:
                try:
                    await self._post_score(score)
                except RejectedError as refused:
                    rejections.append(ScoreRejection(score, str(refused)))

        async with open_group() as group:
            for score in scores:
                group.start_soon(write, score)
        return rejections

    async def _post_score(self, score: ScoreWrite) -> None:
        async def post() -> None:
            read_stored_score(await self._http.post(SCORES_PATH, json=_body(score)), score.id)

        await self._transport.call("store scores", post, ONCE)

    async def _post_list(self, scores: Sequence[ScoreWrite]) -> bool:
        """Post a list; tell whether all of it is stored, rather than some refused or all of it too large."""

        async def post() -> bool:
            response = await self._http.post(SCORES_PATH, json=[_body(score) for score in scores])
            try:
                return read_stored_scores(response)
            except TooLargeError:
                if len(scores) == 1:
                    raise
                return False

        return await self._transport.call("store scores", post, ONCE)

    async def send_spans(self, otlp: bytes) -> None:
        """Ingest spans.

        Args:
            otlp: One `ExportTraceServiceRequest` as protobuf
                (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request).

        Raises:
            RejectedError: The batch, or some of it, is refused.
            SizeError: Something on the way takes no batch of this size.
            BackendError: The server did not answer for the spans.
        """
        body = await anyio.to_thread.run_sync(lambda: gzip.compress(otlp, compresslevel=1))
        headers = {
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
            "x-langfuse-ingestion-version": "4",
        }

        async def post() -> None:
            response = await self._http.post(SPANS_PATH, content=body, headers=headers)
            try:
                read_exported_spans(response)
            except TooLargeError as error:
                raise SizeError(f"Langfuse, or a proxy before it, takes no request of this size ({error}).") from None

        await self._transport.call("store spans", post, ONCE)


def _body(score: ScoreWrite) -> JsonValue:
    fields = {
        "id": score.id,
        "name": score.name,
        "value": score.value,
        "dataType": score.data_type,
        "traceId": score.trace_id,
        "observationId": score.observation_id,
        "datasetRunId": score.experiment_id,
        "comment": score.comment,
        "metadata": with_maker(score.metadata or {}, score.maker) or None,
        "environment": score.environment,
        "configId": score.config_id,
    }
    return cast("JsonValue", {name: value for name, value in fields.items() if value is not None})
