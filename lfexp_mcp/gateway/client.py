"""The gateway: everything that is read from Langfuse or written to it."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote

import httpx
from langfuse.api import (
    AsyncLangfuseAPI,
    ChatMessage,
    CreateChatPromptRequest,
    CreateChatPromptType,
    CreateTextPromptRequest,
)
from langfuse.api.core.request_options import RequestOptions
from pydantic import JsonValue, SecretStr

from lfexp_mcp.answers.base import Backend
from lfexp_mcp.errors import NotFoundError, RejectedError, UsageError
from lfexp_mcp.gateway import decoding
from lfexp_mcp.gateway.records import (
    Comment,
    CommentObject,
    Dataset,
    DatasetItem,
    Experiment,
    ExperimentItem,
    ModelPrice,
    Observation,
    Prompt,
    PromptInfo,
    PromptMessage,
    Queue,
    QueueItem,
    ScoreConfig,
    ScoreEntry,
    ScoreRejection,
    ScoreWrite,
)
from lfexp_mcp.gateway.rows import ExperimentItemRow, ExperimentRow, ObservationRow, Page, ScoreRow
from lfexp_mcp.gateway.transport import RetryPolicy, Transport, checked
from lfexp_mcp.gateway.writing import Writer
from lfexp_mcp.records import ScoreSource

T = TypeVar("T")
Row = TypeVar("Row")

NO_SDK_RETRIES: RequestOptions = {"max_retries": 0}
"""The transport repeats requests, and honours what the server asks for; the SDK's own repeats would multiply that."""
PAGE = 100
OBSERVATION_PAGE = 1000
TRACE_IDS_A_REQUEST = 50
"""Keeps the address of a request for scores of many traces well below 8 KB."""
EXPERIMENTS_PATH = "/api/public/experiments"
OBSERVATIONS_PATH = "/api/public/v2/observations"
EPOCH = "2020-01-01T00:00:00.000Z"
"""Before Langfuse had experiments: the lower bound that a listing must state."""
ITEM_FIELDS = "core,dataset,io,itemMetadata,experimentMetadata"
OBSERVATION_FIELDS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"


class _Paged(Protocol[Row]):
    @property
    def data(self) -> list[Row]: ...

    @property
    def meta(self) -> Any: ...  # noqa: ANN401


class Gateway:
    """Typed reads and acknowledged writes; every method raises the errors of `Transport.call`."""

    def __init__(
        self,
        *,
        backend: Backend,
        public_key: str,
        secret_key: SecretStr,
        api: AsyncLangfuseAPI,
        http: httpx.AsyncClient,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.backend = backend
        self.public_key = public_key
        self.secret_key = secret_key
        self._api = api
        self._http = http
        self._transport = Transport(backend.url, policy or RetryPolicy())
        self._writer = Writer(http, self._transport)
        self._project_id: str | None = None

    async def health(self) -> str:
        """Return the server's version."""
        answer = await self._call("ask for the health", lambda: self._api.health.health(request_options=NO_SDK_RETRIES))
        return str(answer.version)

    async def project_id(self) -> str:
        """Return the id of the project that the keys belong to; this is also what checks the keys."""
        if self._project_id is None:
            answer = await self._call(
                "read the project", lambda: self._api.projects.get(request_options=NO_SDK_RETRIES)
            )
            self._project_id = str(answer.data[0].id)
        return self._project_id

    # Datasets

    async def datasets(self) -> list[Dataset]:
        """Return all datasets, newest first."""
        rows = await self._all_pages(
            "list the datasets",
            lambda page: self._api.datasets.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_dataset(row) for row in rows]

    async def dataset(self, name: str) -> Dataset:
        """Return the dataset of that name.

        Raises:
            NotFoundError: There is none; the text names those nearest.
        """
        try:
            row = await self._call(
                f"read dataset {name!r}",
                lambda: self._api.datasets.get(quote(name, safe=""), request_options=NO_SDK_RETRIES),
            )
        except RejectedError as refused:
            if refused.status != 404:
                raise
            known = [dataset.name for dataset in await self.datasets()]
            raise NotFoundError.of(
                "dataset", name, known, "Make it with create_dataset, or pass the name of one that exists."
            ) from refused
        return decoding.decode_dataset(row)

    async def dataset_items(self, dataset_name: str, version: datetime | None = None) -> list[DatasetItem]:
        """Return a dataset's active items, oldest first, as they are now or were at `version`."""
        rows = await self._all_pages(
            f"read the items of dataset {dataset_name!r}",
            lambda page: self._api.dataset_items.list(
                dataset_name=dataset_name,
                version=version,
                page=page,
                limit=PAGE,
                request_options=NO_SDK_RETRIES,
            ),
        )
        return [decoding.decode_dataset_item(row) for row in reversed(rows) if row.status.value == "ACTIVE"]

    async def upsert_dataset(
        self, name: str, description: str | None = None, metadata: dict[str, JsonValue] | None = None
    ) -> Dataset:
        """Create a dataset, or change the description and metadata of the one that has the name."""
        given = {
            key: value for key, value in (("description", description), ("metadata", metadata)) if value is not None
        }
        row = await self._call(
            f"create dataset {name!r}",
            lambda: self._api.datasets.create(name=name, request_options=NO_SDK_RETRIES, **cast("Any", given)),
        )
        return decoding.decode_dataset(row)

    async def upsert_dataset_item(
        self,
        dataset_name: str,
        *,
        id: str | None,
        input: JsonValue,
        expected_output: JsonValue = None,
        metadata: dict[str, JsonValue] | None = None,
        source_trace_id: str | None = None,
    ) -> DatasetItem:
        """Create a dataset item, or replace the one that has the id.

        Raises:
            UsageError: The id belongs to another dataset of the project.
        """
        try:
            row = await self._call(
                f"store item {id!r} of dataset {dataset_name!r}",
                lambda: self._api.dataset_items.create(
                    dataset_name=dataset_name,
                    id=id,
                    input=input,
                    expected_output=expected_output,
                    metadata=metadata,
                    source_trace_id=source_trace_id,
                    request_options=NO_SDK_RETRIES,
                ),
            )
        except RejectedError as refused:
            if refused.status != 409:
                raise
            raise UsageError(
                f"Item id {id!r} belongs to another dataset of this project already. "
                "Give the item another id, or leave the id out."
            ) from refused
        return decoding.decode_dataset_item(row)

    # Prompts and what else a project defines

    async def prompts(self) -> list[PromptInfo]:
        """Return the names, versions and labels of all prompts."""
        rows = await self._all_pages(
            "list the prompts",
            lambda page: self._api.prompts.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_prompt_info(row) for row in rows]

    async def prompt(self, name: str, *, version: int | None = None, label: str | None = None) -> Prompt:
        """Return one version of a prompt: by number, by label, or the one in production.

        Raises:
            NotFoundError: There is none; the text names the prompts nearest.
        """
        try:
            row = await self._call(
                f"read prompt {name!r}",
                lambda: self._api.prompts.get(
                    quote(name, safe=""), version=version, label=label, request_options=NO_SDK_RETRIES
                ),
            )
        except RejectedError as refused:
            if refused.status != 404:
                raise
            which = f" with version {version}" if version else f" with label {(label or 'production')!r}"
            known = [prompt.name for prompt in await self.prompts()]
            if name in known:
                raise NotFoundError(
                    f"Prompt {name!r} exists, but not{which}. Name a version or label that it has."
                ) from refused
            raise NotFoundError.of("prompt", name, known, "Make a judge with create_judge.") from refused
        return decoding.decode_prompt(row)

    async def create_prompt(
        self,
        name: str,
        prompt: str | Sequence[PromptMessage],
        *,
        config: dict[str, JsonValue] | None = None,
        labels: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> Prompt:
        """Create a prompt, or a new version of the one that has the name."""
        request: CreateTextPromptRequest | CreateChatPromptRequest
        if isinstance(prompt, str):
            request = CreateTextPromptRequest(
                name=name, prompt=prompt, config=config, labels=list(labels), tags=list(tags)
            )
        else:
            request = CreateChatPromptRequest(
                type=CreateChatPromptType("chat"),
                name=name,
                prompt=[ChatMessage(role=message.role, content=message.content) for message in prompt],
                config=config,
                labels=list(labels),
                tags=list(tags),
            )
        row = await self._call(
            f"create prompt {name!r}",
            lambda: self._api.prompts.create(request=request, request_options=NO_SDK_RETRIES),
        )
        return decoding.decode_prompt(row)

    async def score_configs(self) -> list[ScoreConfig]:
        """Return the score configs that are not archived, newest first."""
        rows = await self._all_pages(
            "list the score configs",
            lambda page: self._api.score_configs.get(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_score_config(row) for row in rows if not row.is_archived]

    async def model_prices(self) -> list[ModelPrice]:
        """Return Langfuse's model table: the project's own rows first, since they win over Langfuse's."""
        rows = await self._all_pages(
            "read the model prices",
            lambda page: self._api.models.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_model(row) for row in sorted(rows, key=lambda row: row.is_langfuse_managed)]

    # Runs

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
            "/api/public/experiment-items",
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
        page_size: int = OBSERVATION_PAGE,
        most: int | None = None,
    ) -> list[Observation]:
        """Return observations, newest first.

        Args:
            trace_id: Only those of this trace.
            root_only: Only roots of traces.
            filter: Langfuse's filter conditions; they take the place of the other arguments.
            since: Only those started from this time on.
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
        return [
            QueueItem(
                id=row.id,
                object_type=row.object_type.value,
                object_id=row.object_id,
                completed=row.status.value == "COMPLETED",
            )
            for row in rows
        ]

    # Writes of a run

    async def write_scores(self, scores: Sequence[ScoreWrite]) -> list[ScoreRejection]:
        """Store scores; see `Writer.write_scores`."""
        return await self._writer.write_scores(scores)

    async def send_spans(self, otlp: bytes) -> None:
        """Ingest one OTLP request; see `Writer.send_spans`."""
        await self._writer.send_spans(otlp)

    # Addresses for humans

    async def experiment_url(self, experiment_id: str) -> str | None:
        """Return the page of a run; None on the embedded store, which has no pages."""
        if self.backend.kind == "embedded":
            return None
        return (
            f"{self.backend.url}/project/{await self.project_id()}/experiments/results"
            f"?baseline={quote(experiment_id, safe='')}"
        )

    async def trace_url(self, trace_id: str) -> str | None:
        """Return the page of a trace; None on the embedded store, which has no pages."""
        if self.backend.kind == "embedded":
            return None
        return f"{self.backend.url}/project/{await self.project_id()}/traces/{quote(trace_id, safe='')}"

    async def _call(self, what: str, request: Callable[[], Awaitable[T]]) -> T:
        return await self._transport.call(what, request)

    async def _all_pages(self, what: str, read: Callable[[int], Awaitable[_Paged[Row]]]) -> list[Row]:
        rows: list[Row] = []
        page = 1
        while True:
            answer = await self._call(what, lambda page=page: read(page))  # type: ignore[misc]
            rows += answer.data
            if page >= answer.meta.total_pages:
                return rows
            page += 1

    async def _rows(
        self, what: str, path: str, asked: Mapping[str, str | None], page: type[Page[Row]], most: int | None = None
    ) -> list[Row]:
        """Read the pages of a listing that goes on by cursor."""
        rows: list[Row] = []
        cursor: str | None = None
        while True:
            answer = await self._page(what, path, {**asked, "cursor": cursor}, page)
            rows += answer.data
            cursor = answer.meta.cursor
            if cursor is None or (most is not None and len(rows) >= most):
                return rows

    async def _page(self, what: str, path: str, asked: Mapping[str, str | None], page: type[Page[Row]]) -> Page[Row]:
        """Read one page past the SDK, which would take longer to parse it than the server to make it."""
        parameters = {name: value for name, value in asked.items() if value is not None}

        async def read() -> bytes:
            return checked(await self._http.get(path, params=parameters)).content

        return page.model_validate_json(await self._call(what, read))


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds") if moment else None
