"""What runs and humans left in a project: experiments, observations, scores, comments, annotation queues."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from pydantic import JsonValue

from lfexp_mcp.gateway import decoding
from lfexp_mcp.gateway.reader import NO_SDK_RETRIES, PAGE, Reader
from lfexp_mcp.gateway.records import (
    Comment,
    CommentObject,
    Experiment,
    ExperimentItem,
    Observation,
    Queue,
    QueueItem,
    ScoreEntry,
)
from lfexp_mcp.gateway.rows import ExperimentItemRow, ExperimentRow, ObservationRow, Page, ScoreRow
from lfexp_mcp.model import ScoreSource

OBSERVATION_PAGE = 1000
TRACE_IDS_A_REQUEST = 50
"""Keeps the address of a request for scores of many traces well below 8 KB."""
EXPERIMENT_ITEMS_PATH = "/api/public/experiment-items"
EMBEDDED_SCORES = 50
"""Scores that Langfuse gives with an item at most."""
EXPERIMENTS_PATH = "/api/public/experiments"
OBSERVATIONS_PATH = "/api/public/v2/observations"
EPOCH = "2020-01-01T00:00:00.000Z"
"""Before Langfuse had experiments: the lower bound that a listing must state."""
ITEM_FIELDS = "core,dataset,io,itemMetadata,experimentMetadata"
OBSERVATION_FIELDS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"


class Results(Reader):
    """Reads what runs and humans left."""

    async def experiment_id(self, dataset_id: str, run_name: str) -> str:
        """Return the experiment id that Langfuse and its SDK derive for a run of a dataset.

        The derivation is the SDK's (`Langfuse._create_experiment_id`, 5.0.4): the first 16 hex digits of the SHA-256
        of a JSON array.
        """
        parts = ["langfuse-experiment-v1", await self.project_id(), dataset_id, run_name]
        payload = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(payload.encode()).hexdigest()[:16]

    async def experiments(
        self, dataset_id: str, *, limit: int = PAGE, cursor: str | None = None
    ) -> tuple[list[Experiment], str | None]:
        """Return a page of a dataset's runs, latest activity first, and the cursor of the next page."""
        page = await self._page(
            "list the runs",
            EXPERIMENTS_PATH,
            {
                "fields": "core,metadata,scores",
                "fromStartTime": EPOCH,
                "datasetId": dataset_id,
                "limit": str(min(limit, PAGE)),
                "cursor": cursor,
            },
            Page[ExperimentRow],
        )
        return [decoding.decode_experiment(row) for row in page.data], page.meta.cursor

    async def experiment(self, dataset_id: str, run_name: str) -> Experiment | None:
        """Return the head of a run, or None when Langfuse has no item of it.

        A run whose experiment id was chosen by its maker is found by its name.
        """
        found = await self._experiments_where(id=await self.experiment_id(dataset_id, run_name))
        if not found:
            conditions = [
                {"type": "string", "column": "name", "operator": "=", "value": run_name},
                {"type": "string", "column": "datasetId", "operator": "=", "value": dataset_id},
            ]
            found = await self._experiments_where(filter=json.dumps(conditions))
        return found[0] if found else None

    async def _experiments_where(self, *, id: str | None = None, filter: str | None = None) -> list[Experiment]:
        page = await self._page(
            "look the run up",
            EXPERIMENTS_PATH,
            {
                "fields": "core,metadata,scores",
                "fromStartTime": EPOCH,
                "id": id,
                "filter": filter,
                "limit": str(PAGE),
            },
            Page[ExperimentRow],
        )
        return [decoding.decode_experiment(row) for row in page.data]

    async def experiment_items(
        self, experiment_id: str, *, item_ids: Sequence[str] | None = None, with_scores: bool = True
    ) -> list[ExperimentItem]:
        """Return all results of a run, newest first, repeats of an item included.

        Args:
            experiment_id: The run's.
            item_ids: Only results of these dataset items; none of the ids may hold a comma.
            with_scores: Whether to read the scores too (values only; their comments come from `scores`).
        """
        fields = f"{ITEM_FIELDS},scores" if with_scores else ITEM_FIELDS
        rows = await self._rows(
            "read the items of the run",
            EXPERIMENT_ITEMS_PATH,
            {
                "fields": fields,
                "fromStartTime": EPOCH,
                "experimentId": experiment_id,
                "experimentItemId": ",".join(item_ids) if item_ids else None,
                "limit": str(PAGE),
            },
            Page[ExperimentItemRow],
        )
        return [decoding.decode_experiment_item(row) for row in rows]

    async def shown_scores(self, experiment_id: str) -> dict[str, frozenset[str]]:
        """Return the ids of the scores that Langfuse shows with each result of a run, by the result's own id."""
        rows = await self._rows(
            "count the results of the run",
            EXPERIMENT_ITEMS_PATH,
            {"fields": "core,scores", "fromStartTime": EPOCH, "experimentId": experiment_id, "limit": str(PAGE)},
            Page[ExperimentItemRow],
        )
        shown = {row.id: frozenset(score.id for score in row.scores) for row in rows}
        cut = {row.trace_id: row.id for row in rows if len(row.scores) >= EMBEDDED_SCORES}
        for entry in await self.scores(trace_ids=list(cut)) if cut else ():
            shown[cut[entry.trace_id or ""]] |= {entry.score.id}
        return shown

    async def scores(
        self,
        *,
        trace_ids: Sequence[str] | None = None,
        experiment_id: str | None = None,
        session_id: str | None = None,
        name: str | None = None,
        source: ScoreSource | None = None,
        queue_id: str | None = None,
        author: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        most: int | None = None,
    ) -> list[ScoreEntry]:
        """Return scores with their comments, newest first.

        Args:
            trace_ids: Only scores of these traces and their observations.
            experiment_id: Only scores of this run as a whole.
            session_id: Only scores of this session.
            name: Only scores of this name; a comma in it stands for two names.
            source: Only scores of this source.
            queue_id: Only scores given in this annotation queue.
            author: Only scores by this user id.
            since: Only scores from this time on.
            until: Only scores before this time.
            most: Stop reading pages once so many are there.
        """
        groups: list[str | None] = [None]
        if trace_ids is not None:
            ids = list(trace_ids)
            groups = [
                ",".join(ids[start : start + TRACE_IDS_A_REQUEST]) for start in range(0, len(ids), TRACE_IDS_A_REQUEST)
            ]
        rows: list[ScoreRow] = []
        for group in groups:
            rows += await self._rows(
                "read scores",
                "/api/public/v3/scores",
                {
                    "fields": "details,subject,annotation",
                    "limit": str(PAGE),
                    "traceId": group,
                    "experimentId": experiment_id,
                    "sessionId": session_id,
                    "name": name,
                    "source": source,
                    "queueId": queue_id,
                    "authorUserId": author,
                    "fromTimestamp": _time(since),
                    "toTimestamp": _time(until),
                },
                Page[ScoreRow],
                most=None if most is None else most - len(rows),
            )
            if most is not None and len(rows) >= most:
                break
        return [entry for row in rows if (entry := decoding.decode_score_entry(row)) is not None]

    async def comments(
        self,
        *,
        object_type: CommentObject | None = None,
        object_id: str | None = None,
        author: str | None = None,
    ) -> list[Comment]:
        """Return comments; an object id needs its object type."""
        rows = await self._all_pages(
            "read comments",
            lambda page: self._api.comments.get(
                object_type=object_type,
                object_id=object_id,
                author_user_id=author,
                page=page,
                limit=PAGE,
                request_options=NO_SDK_RETRIES,
            ),
        )
        return [decoding.decode_comment(row) for row in rows]

    async def observations(
        self,
        *,
        trace_id: str | None = None,
        root_only: bool = False,
        filter: Sequence[dict[str, JsonValue]] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = OBSERVATION_PAGE,
        most: int | None = None,
    ) -> list[Observation]:
        """Return observations, newest first.

        Args:
            trace_id: Only those of this trace.
            root_only: Only roots of traces.
            filter: Langfuse's filter conditions; they take the place of the other arguments.
            since: Only those started from this time on.
            until: Only those started before this time.
            page_size: How many to read with one request, at most 1,000.
            most: Stop reading pages once so many are there.
        """
        rows = await self._rows(
            "read observations",
            OBSERVATIONS_PATH,
            {
                "fields": OBSERVATION_FIELDS,
                "traceId": trace_id,
                "isRootObservation": "true" if root_only else None,
                "filter": json.dumps(filter) if filter else None,
                "fromStartTime": _time(since),
                "toStartTime": _time(until),
                "limit": str(page_size),
            },
            Page[ObservationRow],
            most=most,
        )
        return [decoding.decode_observation(row) for row in rows]

    async def generations(
        self, environment: str, since: datetime, until: datetime, most: int | None = None
    ) -> list[Observation]:
        """Return the model calls of an environment begun between two times, newest first, without inputs and outputs.

        Args:
            environment: Such as `sdk-experiment`.
            since: Begun at this time or later.
            until: Begun before this time.
            most: Stop reading pages once so many are there.
        """
        rows = await self._rows(
            "read the model calls",
            OBSERVATIONS_PATH,
            {
                "fields": "core,basic,model,usage",
                "type": "GENERATION",
                "environment": environment,
                "fromStartTime": _time(since),
                "toStartTime": _time(until),
                "limit": str(OBSERVATION_PAGE),
            },
            Page[ObservationRow],
            most=most,
        )
        return [decoding.decode_observation(row) for row in rows]

    async def queues(self) -> list[Queue]:
        """Return the annotation queues."""
        rows = await self._all_pages(
            "list the annotation queues",
            lambda page: self._api.annotation_queues.list_queues(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [Queue(id=row.id, name=row.name) for row in rows]

    async def queue_items(self, queue_id: str) -> list[QueueItem]:
        """Return what an annotation queue asks humans to look at."""
        rows = await self._all_pages(
            "read the annotation queue",
            lambda page: self._api.annotation_queues.list_queue_items(
                queue_id, page=page, limit=PAGE, request_options=NO_SDK_RETRIES
            ),
        )
        return [QueueItem(id=row.id, object_type=row.object_type.value, object_id=row.object_id) for row in rows]

    async def experiment_url(self, experiment_id: str, project_id: str | None = None) -> str | None:
        """Return the page of a run; None on the embedded store, which has no pages.

        Args:
            experiment_id: The run's.
            project_id: Its project's, where that is known; else Langfuse is asked.
        """
        if self.backend.kind == "embedded":
            return None
        return (
            f"{self.backend.url}/project/{project_id or await self.project_id()}/experiments/results"
            f"?baseline={quote(experiment_id, safe='')}"
        )

    async def trace_url(self, trace_id: str) -> str | None:
        """Return the page of a trace; None on the embedded store, which has no pages."""
        if self.backend.kind == "embedded":
            return None
        return f"{self.backend.url}/project/{await self.project_id()}/traces/{quote(trace_id, safe='')}"


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds") if moment else None
