"""Experiments, which are runs of datasets, and their results."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lfexp_mcp.gateway.datasets import Datasets
from lfexp_mcp.gateway.records import Dataset, Experiment
from lfexp_mcp.gateway.scores import Scores
from lfexp_mcp.gateway.transport import PAGE_SIZE, CursorPage, Query, Transport
from lfexp_mcp.gateway.wire import ExperimentItemRow, ShownItemRow
from lfexp_mcp.model import Confirmation, Holdout, ItemResult, Provenance, Score

MAX_EMBEDDED_SCORES = 50
"""Langfuse sends at most so many scores with a result."""
_COMMON: Query = {
    # A listing must state its earliest start: this is before Langfuse had experiments.
    "fromStartTime": "2020-01-01T00:00:00.000Z",
    "limit": PAGE_SIZE,
}
_HEAD_FIELDS = "core,metadata,scores"
_SHOWN_FIELDS = "core,scores"
_ITEM_FIELDS = "core,dataset,io,itemMetadata,experimentMetadata,scores"


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results of a run, or of one repetition of it."""

    results: list[ItemResult]
    """Newest first, repeats of an item included."""
    description: str | None
    """The run's."""
    held_out: frozenset[str]
    """Held-out items that have results too; to be shown nowhere."""


@dataclass(frozen=True, slots=True)
class ShownResult:
    """That Langfuse shows a result of an item, with which scores."""

    item_id: str
    observation_id: str
    score_ids: frozenset[str]


class Experiments:
    """Reads experiments."""

    def __init__(
        self, transport: Transport, datasets: Datasets, scores: Scores, project_id: Callable[[], Awaitable[str]]
    ) -> None:
        self._transport = transport
        self._datasets = datasets
        self._scores = scores
        self._project_id = project_id

    async def id_of(self, dataset_id: str, run_name: str) -> str:
        """Return the experiment id that Langfuse and its SDK derive for a run of a dataset.

        The derivation is the SDK's (`Langfuse._create_experiment_id`, 5.0.4): the first 16 hex digits of the SHA-256
        of a JSON array.
        """
        parts = ["langfuse-experiment-v1", await self._project_id(), dataset_id, run_name]
        payload = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(payload.encode()).hexdigest()[:16]

    async def page(
        self, dataset_id: str | None, *, limit: int = PAGE_SIZE, cursor: str | None = None
    ) -> tuple[list[Experiment], str | None]:
        """Return a page of the runs of a dataset or of all, latest activity first, and the cursor of the next page.

        Confirmations are left out, as by all lists but `all_of`.
        """
        page = await self._page("list the runs", {"datasetId": dataset_id, "limit": limit, "cursor": cursor})
        return _without_confirmations(page.data), page.meta.cursor

    async def all_of(self, dataset_id: str) -> list[Experiment]:
        """Return all runs of a dataset, each repetition as one and confirmations too, latest activity first."""
        query: Query = {**_COMMON, "fields": _HEAD_FIELDS, "datasetId": dataset_id}
        return await self._transport.follow("list the runs", "/experiments", Experiment, query)

    async def find(self, dataset_id: str, run_name: str) -> Experiment | None:
        """Return a run, or None if Langfuse has no result of it.

        A run is found by its derived id, or else by its name: whoever made it may have chosen another id.
        """
        what = f"look up run {run_name!r}"
        found = await self._page(what, {"id": await self.id_of(dataset_id, run_name)})
        if not found.data:
            found = await self._page(what, {"filter": _conditions(dataset_id, "=", run_name)})
        return found.data[0] if found.data else None

    async def search(self, dataset_id: str, text: str) -> tuple[list[Experiment], str | None]:
        """Return a page of a dataset's runs whose names contain a text, and the cursor of the next page."""
        page = await self._page("search the runs", {"filter": _conditions(dataset_id, "contains", text)})
        return _without_confirmations(page.data), page.meta.cursor

    async def _page(self, what: str, query: Query) -> CursorPage[Experiment]:
        return await self._transport.get(
            what, "/experiments", CursorPage[Experiment], {**_COMMON, "fields": _HEAD_FIELDS, **query}
        )

    async def results(self, experiment_id: str, *, dataset: Dataset | None = None) -> list[ItemResult]:
        """Return the results of a run alone; see `described_results`."""
        return (await self.described_results(experiment_id, dataset=dataset)).results

    async def described_results(
        self,
        experiment_id: str,
        repeat: int = 0,
        *,
        dataset: Dataset | None = None,
        held_out: bool = False,
        known: Mapping[str, ItemResult] = MappingProxyType({}),
    ) -> RunResults:
        """Return the results of a run, with what is known of the run by them.

        Their scores have no comments, which `Scores.find` has.

        Args:
            repeat: Which repetition the results are of, from 0.
            dataset: The run's, as it was just read; None looks it up.
            held_out: Those of held-out items instead of all others.
            known: Results that the caller has, by item. Only their scores are read.

        Raises:
            UsageError: It cannot be told which items of the dataset are held out.
        """
        results: list[ItemResult] = []
        description: str | None = None
        ids: set[str | None] = set()
        holdouts = await self._holdouts([dataset] if dataset is not None else [])
        set_aside: set[str] = set()
        # A page has some thousand bytes a result, so that of many results only one page is in memory.
        async for rows in self._result_pages(experiment_id, known):
            description = description or next(filter(None, (row.experiment_description for row in rows)), None)
            ids |= {row.experiment_dataset_id for row in rows}
            more = await self._scores_left_out(rows)
            read = [
                row.result(repeat, more.get(row.id))
                if (own := _known(row, known)) is None
                else row.result_like(own, more.get(row.id))
                for row in rows
            ]
            set_aside |= _held_out(read, holdouts)
            results += read
        if dataset is None:
            of = [each for each in await self._datasets.all() if each.id in ids]
            set_aside |= _held_out(results, await self._holdouts(of))
        if set_aside or held_out:
            results = [result for result in results if (result.item_id in set_aside) is held_out]
        return RunResults(results, description, frozenset(set_aside))

    async def _result_pages(
        self, experiment_id: str, known: Mapping[str, ItemResult]
    ) -> AsyncIterator[list[ExperimentItemRow]]:
        """Yield pages of results, with less of each where all results of a page are known."""
        query: Query = {**_COMMON, "experimentId": experiment_id}
        cursor: str | None = None
        while True:
            page = await self._result_page({**query, "cursor": cursor}, _SHOWN_FIELDS if known else _ITEM_FIELDS)
            if known and any(_known(row, known) is None for row in page.data):
                page = await self._result_page({**query, "cursor": cursor}, _ITEM_FIELDS)
            yield page.data
            cursor = page.meta.cursor
            if cursor is None:
                return

    async def _result_page(self, query: Query, fields: str) -> CursorPage[ExperimentItemRow]:
        what = "read the results of the run"
        return await self._transport.get(
            what, "/experiment-items", CursorPage[ExperimentItemRow], {**query, "fields": fields}
        )

    async def _holdouts(self, datasets: Iterable[Dataset]) -> list[Holdout]:
        return [holdout for each in datasets if (holdout := await self._datasets.holdout(each)) is not None]

    async def shown_results(self, experiment_id: str) -> AsyncIterator[list[ShownResult]]:
        """Yield what Langfuse shows of a run, page by page.

        Held-out items are among them, since a worker confirms by it that Langfuse has all that it sent.
        """
        query: Query = {**_COMMON, "fields": _SHOWN_FIELDS, "experimentId": experiment_id}
        pages = self._transport.cursor_pages("count the results of the run", "/experiment-items", ShownItemRow, query)
        async for rows in pages:
            more = await self._scores_left_out(rows)
            yield [
                ShownResult(
                    item_id=row.experiment_item_id,
                    observation_id=row.id,
                    score_ids=frozenset(score.id for score in (*row.scores, *more.get(row.id, ()))),
                )
                for row in rows
            ]

    async def _scores_left_out(self, rows: Sequence[ExperimentItemRow | ShownItemRow]) -> dict[str, list[Score]]:
        """Read all scores of the results that may have more than Langfuse sends with them, by the result's id."""
        cut = {row.trace_id: row.id for row in rows if len(row.scores) >= MAX_EMBEDDED_SCORES}
        found: dict[str, list[Score]] = {}
        for score in await self._scores.find(trace_ids=list(cut)):
            observation_id = cut[score.trace_id or ""]
            if score.observation_id in (None, observation_id):
                found.setdefault(observation_id, []).append(score)
        return found


def confirmations_of(experiments: Iterable[Experiment]) -> list[tuple[Experiment, Confirmation]]:
    """Pick the runs over held-out items, without their further repetitions."""
    heads = ((each, Provenance.of(each.metadata)) for each in experiments)
    return [
        (each, head.confirmation)
        for each, head in heads
        if head is not None and head.confirmation is not None and not head.is_repetition
    ]


def _without_confirmations(experiments: Sequence[Experiment]) -> list[Experiment]:
    heads = ((each, Provenance.of(each.metadata)) for each in experiments)
    return [each for each, head in heads if head is None or head.confirmation is None]


def _known(row: ExperimentItemRow, known: Mapping[str, ItemResult]) -> ItemResult | None:
    found = known.get(row.experiment_item_id)
    return found if found is not None and found.observation_id == row.id else None


def _held_out(results: Iterable[ItemResult], holdouts: Sequence[Holdout]) -> set[str]:
    """Return which items are held out."""
    return {each.item_id for each in results for holdout in holdouts if holdout.holds(each.item_id, each.metadata)}


def _conditions(dataset_id: str, operator: str, name: str) -> str:
    """Write a filter for the runs of a dataset by their name."""
    named = {"type": "string", "column": "name", "operator": operator, "value": name}
    return json.dumps([named, {"type": "string", "column": "datasetId", "operator": "=", "value": dataset_id}])
