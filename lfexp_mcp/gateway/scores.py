"""Scores: read with their comments, and written with acknowledgement.

The SDK's queue drops, without saying so, scores that a server refuses or does not take in time. `Scores.write` posts to
the same endpoint and reports what became of each score.
"""

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue

from lfexp_mcp.errors import RejectedError
from lfexp_mcp.gateway.records import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.gateway.responses import TooLargeError, are_scores_stored, check_stored_score
from lfexp_mcp.gateway.score_metadata import with_maker
from lfexp_mcp.gateway.transport import ONCE, PAGE_SIZE, Query, Transport, format_time, without_none
from lfexp_mcp.gateway.wire import ScoreRow, read_scores
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import Score, ScoreSource

SCORES_PATH = "/api/public/scores"
MAX_TRACE_IDS = 50
"""Traces that one request names, so that its URL stays well below 8 KB."""
MAX_CONCURRENT_WRITES = 8
"""Sent at once to a server that takes one score per request."""


class Scores:
    """Reads and writes scores."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._takes_lists = True

    async def find(
        self,
        *,
        trace_ids: Sequence[str] | None = None,
        experiment_id: str | None = None,
        name: str | None = None,
        source: ScoreSource | None = None,
        queue_id: str | None = None,
        author: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Score]:
        """Return scores with their comments, newest first.

        Args:
            trace_ids: Only scores of these traces and their observations.
            experiment_id: Only scores of this run as a whole.
            name: Only scores of this name; Langfuse takes a comma for the end of a name.
            since: Only scores from this time on.
            until: Only scores before this time.
        """
        query: Query = {
            "fields": "details,subject,annotation",
            "limit": PAGE_SIZE,
            "experimentId": experiment_id,
            "name": name,
            "source": source,
            "queueId": queue_id,
            "authorUserId": author,
            "fromTimestamp": format_time(since),
            "toTimestamp": format_time(until),
        }
        groups: list[str | None] = [None]
        if trace_ids is not None:
            starts = range(0, len(trace_ids), MAX_TRACE_IDS)
            groups = [",".join(trace_ids[start : start + MAX_TRACE_IDS]) for start in starts]
        rows: list[ScoreRow] = []
        for group in groups:
            rows += await self._transport.follow("read scores", "/v3/scores", ScoreRow, {**query, "traceId": group})
        return list(read_scores(rows))

    async def write(self, scores: Sequence[Score]) -> dict[str, str]:
        """Store scores of experiments; a score with an id that exists replaces that one.

        Each request is sent once: the caller keeps what is not acknowledged and repeats it.

        Args:
            scores: At most a few hundred, each with what it is a score of.

        Returns:
            The reasons why the server refused scores, by their ids. All others are stored.

        Raises:
            BackendError: The server did not answer for the scores; some may be stored.
        """
        if not scores:
            return {}
        if self._takes_lists:
            try:
                if await self._post_list(scores):
                    return {}
            except RejectedError as refused:
                if "expected object, received array" in str(refused):
                    self._takes_lists = False
                elif len(scores) == 1:
                    return {scores[0].id: str(refused)}
        return await self._write_one_by_one(scores)

    async def _write_one_by_one(self, scores: Sequence[Score]) -> dict[str, str]:
        """Post single scores: for servers before 4.59, and to learn which of a list was refused."""
        refusals: dict[str, str] = {}

        async def write(score: Score) -> None:
            async def post() -> None:
                check_stored_score(await self._transport.http.post(SCORES_PATH, json=_body(score)), score.id)

            try:
                await self._transport.call("store scores", post, ONCE)
            except RejectedError as refused:
                refusals[score.id] = str(refused)

        await for_each(scores, write, MAX_CONCURRENT_WRITES)
        return refusals

    async def _post_list(self, scores: Sequence[Score]) -> bool:
        """Post a list; return whether all of it is stored, rather than some refused or all of it too large."""

        async def post() -> bool:
            response = await self._transport.http.post(SCORES_PATH, json=[_body(score) for score in scores])
            try:
                return are_scores_stored(response)
            except TooLargeError:
                if len(scores) == 1:
                    raise
                return False

        return await self._transport.call("store scores", post, ONCE)


def _body(score: Score) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {
        "id": score.id,
        "name": score.name,
        "value": score.value if isinstance(score.value, str) else float(score.value),
        "dataType": score.data_type,
        "traceId": score.trace_id,
        "observationId": score.observation_id,
        "datasetRunId": score.experiment_id,
        "comment": score.comment,
        "metadata": with_maker(score.metadata, score.maker) or None,
        "environment": EXPERIMENT_ENVIRONMENT,
        "configId": score.config_id,
    }
    return without_none(fields)
