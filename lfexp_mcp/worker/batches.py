"""Judge by batches: submit them once, follow them, and keep what comes back, over restarts of the worker.

A batch is planned before it is submitted: its requests are on the disk, and its tag in the journal. A worker that finds
a planned batch looks for it at the provider first. The ids of requests are the same in every worker, so that an answer
finds its judgement again.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.disk import make_folder_durably, write_durably
from lfexp_mcp.errors import LfexpError, ProviderError
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.batches import Batches, Outcome, json_lines
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.model_client import ModelClient
from lfexp_mcp.judges.providers.messages import PROVIDER_TITLES, CallFailure, FoundBatch, ModelAnswer, ModelRequest
from lfexp_mcp.model import ProviderName
from lfexp_mcp.retries import Retries, RetryPolicy
from lfexp_mcp.runs.events import BatchRecorded
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.worker_lock import writing
from lfexp_mcp.worker.pending import PendingItem
from lfexp_mcp.worker.stopping import CANCELLED, Stop

POLLS = RetryPolicy(attempts=None, first_delay_s=0.5, max_delay_s=60.0)
"""Between two looks at a batch: most take from minutes to hours."""
WATCH_INTERVAL_S = 0.2
KEY_BYTES = 32
OVER_BUDGET = (
    "max_cost covers {admitted} of {requests} requests; a batch cannot be stopped by its cost, so the others were not "
    "submitted. Score the run again with a higher max_cost to go on."
)
FAILED = "{title} took none of the {requests} requests of batch {batch}: {problem}."
STILL_CANCELLING = "{title} is still cancelling batch {batch}; the same score_run call takes what it has finished."
NO_RESULT = CallFailure("transient", "The batch has no result of this request.")

Asked = Sequence[tuple[ProviderName, ModelRequest]]
"""Requests, each with an `id` and its provider."""


def batch_secret(folder: RunFolder) -> bytes:
    """Return the key of the ids of requests in a run's batches, which is made on first use.

    Raises:
        StateError: The run's folder cannot be written.
    """
    path = folder.batches_path / "key"
    with writing(folder.path):
        if not path.exists():
            make_folder_durably(folder.batches_path)
            write_durably(path, [secrets.token_bytes(KEY_BYTES)])
        return path.read_bytes()


class BatchJudging:
    """Has requests answered by batches, of which earlier workers may have submitted some.

    Args:
        folder: The run's.
        journal: Its journal.
        batches: What earlier workers left, by tag.
        models: Reaches the providers.
        budget: Limits what the batches may cost; None for no limit.
        cancel_grace: Seconds that a batch may take to be cancelled.
    """

    def __init__(
        self,
        folder: RunFolder,
        journal: JournalWriter,
        batches: Mapping[str, BatchRecorded],
        models: ModelClient,
        budget: Budget | None,
        cancel_grace: float,
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._batches = dict(batches)
        self._models = models
        self._budget = budget
        self._cancel_grace = cancel_grace
        self._ended_before = {batch.tag for batch in self._of("ended")}
        self._given_up: set[str] = set()
        self._refused: dict[str, frozenset[str]] = {}
        self._problems: dict[str, None] = {}
        self._over_budget: str | None = None

    async def prepare(
        self, pending: Sequence[PendingItem], requests_of: Callable[[PendingItem], Awaitable[Asked]]
    ) -> list[PendingItem]:
        """Have the judges' first requests about results answered.

        Args:
            pending: What is to be scored.
            requests_of: Returns the requests about a result.

        Returns:
            What can be scored now: all of it unless there is a `shortfall`.

        Raises:
            LfexpError: See `answer`.
        """
        asked = [await requests_of(each) for each in pending]
        outcomes = await self.answer([request for requests in asked for request in requests])
        missing = CallFailure("transient", self.shortfall or NO_RESULT.message)
        known = {str(request.id): missing for requests in asked for _, request in requests} | outcomes
        self._models.use(known, CANCELLED if self.is_cancelled else None)
        return [
            each
            for each, requests in zip(pending, asked, strict=True)
            if not requests or any(request.id in outcomes for _, request in requests)
        ]

    async def answer(self, asked: Asked) -> dict[str, Outcome]:
        """Have requests answered.

        Returns:
            The outcomes by the requests' ids. Those that were not submitted, or not finished before the run was
            cancelled, have none; `shortfall` says why.

        Raises:
            LfexpError: A provider has no batches, or none for this key; nothing was submitted.
        """
        requests = {str(request.id): request for _, request in asked}
        while True:
            await self._find_planned()
            outcomes = await anyio.to_thread.run_sync(self._read, requests)
            submitted = {each for batch in self._of("submitted") for each in self._ids(batch)}
            fresh = [each for each in asked if each[1].id not in submitted and _is_open(outcomes.get(str(each[1].id)))]
            if not self._problems and not self._over_budget and not self.is_cancelled:
                await self._submit_all(self._affordable(fresh, [requests[each] for each in submitted & set(requests)]))
            followed = [batch for batch in self._of("submitted") if batch.tag not in self._given_up]
            if not followed:
                break
            async with open_group() as group:
                for batch in followed:
                    group.start_soon(self._follow, batch)
        for each, outcome in outcomes.items():
            if self._budget is not None and isinstance(outcome, ModelAnswer):
                self._budget.charge(requests[each], outcome)
        return outcomes

    @property
    def shortfall(self) -> str | None:
        """Why some requests have no outcome; None if all have."""
        reasons = [*([CANCELLED] if self.is_cancelled else []), *self._problems, self._over_budget or ""]
        return " ".join(filter(None, reasons)) or None

    def settle(self, stop: Stop) -> None:
        """Stop the run for a shortfall, after the answers that came have become verdicts.

        Their batches are used up then: what is still unscored is asked again by the next worker.
        """
        if stop.status is None:
            for batch in self._of("ended"):
                self._drop(batch)
        if self.shortfall is not None:
            stop.request("cancelled" if self.is_cancelled else "failed", self.shortfall)

    @property
    def is_cancelled(self) -> bool:
        """Whether the run is to be cancelled."""
        return self._folder.cancel_requested()

    def _of(self, status: str) -> list[BatchRecorded]:
        return [batch for batch in self._batches.values() if batch.status == status]

    def _affordable(self, fresh: Asked, submitted: Sequence[ModelRequest]) -> Asked:
        if self._budget is None:
            return fresh
        admitted = self._budget.admit((request for _, request in fresh), submitted)
        if admitted < len(fresh):
            self._over_budget = OVER_BUDGET.format(admitted=admitted, requests=len(fresh))
        return fresh[:admitted]

    async def _submit_all(self, asked: Asked) -> None:
        """Plan batches, then submit them one by one, so that none of them is taken for another one.

        Raises:
            LfexpError: A provider takes no batches; none is planned then.
        """
        providers = list(dict.fromkeys(provider for provider, _ in asked))
        for provider in providers:
            await self._models.batches(provider).check()
        for provider in providers:
            requests = [request for of, request in asked if of == provider]
            for part in self._models.batches(provider).split(requests, self._refused):
                batch = BatchRecorded(
                    tag=f"lfexp-{secrets.token_hex(12)}",
                    provider=provider,
                    model=part.model,
                    requests=len(part.ids),
                    without=tuple(sorted(self._refused.get(part.model, ()))),
                    status="planned",
                    planned=CLOCK.now(),
                )
                await anyio.to_thread.run_sync(self._write, self._path(batch, "requests"), part.content)
                self._record(batch)
        for batch in self._of("planned"):
            await self._submit(batch)

    async def _submit(self, batch: BatchRecorded) -> None:
        if self.is_cancelled:
            self._drop(batch)
            return
        content = await anyio.to_thread.run_sync(self._path(batch, "requests").read_bytes)
        client = self._models.batches(batch.provider)
        try:
            found = await client.submit(batch.tag, content, batch.planned, self._others(batch))
        except ProviderError as error:
            # Whether the provider has it after all is found out by the next worker.
            self._problems[str(error)] = None
        except LfexpError as error:
            self._problems[str(error)] = None
            self._drop(batch)
        else:
            self._note_id(batch, found)

    async def _find_planned(self) -> None:
        """Look for the planned batches, which earlier workers may have submitted; forget those that they have not."""
        for batch in [] if self._problems else self._of("planned"):
            client = self._models.batches(batch.provider)
            found = await client.find(batch.tag, batch.requests, batch.planned, self._others(batch))
            if found is None:
                self._drop(batch)
            else:
                self._note_id(batch, found)

    def _others(self, batch: BatchRecorded) -> set[str]:
        """Return the ids of batches that are not this one."""
        return {*batch.not_ours, *(each.batch_id for each in self._batches.values() if each.batch_id is not None)}

    def _note_id(self, batch: BatchRecorded, found: FoundBatch) -> None:
        self._record(replace(batch, status="submitted", batch_id=found.id, is_certain=found.is_certain))

    async def _follow(self, batch: BatchRecorded) -> None:
        """Follow a batch to its end, and keep its results; what fails concerns this batch only."""
        client, batch_id = self._models.batches(batch.provider), str(batch.batch_id)
        try:
            if not await self._has_ended(batch, client, batch_id):
                self._given_up.add(batch.tag)
                return
            content = await client.results(batch_id)
        except LfexpError as error:
            self._problems[str(error)] = None
            self._given_up.add(batch.tag)
            return
        batch = self._batches[batch.tag]
        if not batch.is_certain and not _named(content) & self._ids(batch):
            unknown = replace(batch, status="planned", batch_id=None, is_certain=True)
            self._record(replace(unknown, not_ours=(*batch.not_ours, batch_id)))
            return
        await anyio.to_thread.run_sync(self._write, self._path(batch, "results"), content)
        self._record(replace(batch, status="ended"))

    async def _has_ended(self, batch: BatchRecorded, client: Batches, batch_id: str) -> bool:
        """Wait for the end of a batch, which a cancelled run cancels; return whether it has come."""
        polls, title = Retries(POLLS), PROVIDER_TITLES[batch.provider]
        cancelled_at: float | None = None
        while True:
            status = await client.status(batch_id)
            if status.problem is not None:
                text = FAILED.format(title=title, requests=batch.requests, batch=batch_id, problem=status.problem)
                self._problems[text] = None
                self._drop(batch)
                return False
            if status.ended is not None:
                return True
            if status.done != self._batches[batch.tag].done:
                self._record(replace(batch, done=status.done))
            if self.is_cancelled and cancelled_at is None:
                cancelled_at, polls = CLOCK.monotonic(), Retries(POLLS)
                # One that may be somebody else's is not for us to cancel.
                if batch.is_certain:
                    await client.cancel(batch_id)
                    continue
            if cancelled_at is not None and CLOCK.monotonic() - cancelled_at > self._cancel_grace:
                self._problems[STILL_CANCELLING.format(title=title, batch=batch_id)] = None
                return False
            await self._pause(polls.next_delay() or 0.0, until_cancelled=cancelled_at is None)

    async def _pause(self, seconds: float, *, until_cancelled: bool) -> None:
        end = CLOCK.monotonic() + seconds
        # The request to cancel is a file.
        while (left := end - CLOCK.monotonic()) > 0 and not (until_cancelled and self.is_cancelled):  # noqa: ASYNC110
            await anyio.sleep(min(left, WATCH_INTERVAL_S))

    def _read(self, requests: Mapping[str, ModelRequest]) -> dict[str, Outcome]:
        """Read the outcomes of all batches that have ended; failures of earlier workers' ones may be asked again."""
        outcomes: dict[str, Outcome] = {}
        for batch in self._of("ended"):
            content = path.read_bytes() if (path := self._path(batch, "results")).exists() else b""
            without = {batch.model: frozenset(batch.without)}
            found = self._models.batches(batch.provider).read(content, requests, without)
            for outcome in found.values():
                if isinstance(outcome, CallFailure) and outcome.parameter is not None:
                    without[batch.model] |= {outcome.parameter}
            self._refused[batch.model] = self._refused.get(batch.model, frozenset()) | without[batch.model]
            if batch.tag in self._ended_before:
                found = {each: outcome for each, outcome in found.items() if isinstance(outcome, ModelAnswer)}
            else:
                outcomes |= dict.fromkeys(self._ids(batch) & requests.keys(), NO_RESULT)
            outcomes |= found
        return outcomes

    def _ids(self, batch: BatchRecorded) -> set[str]:
        path = self._path(batch, "requests")
        return _named(path.read_bytes()) if path.exists() else set()

    def _path(self, batch: BatchRecorded, kind: str) -> Path:
        return self._folder.batches_path / f"{batch.tag}.{kind}.jsonl"

    def _write(self, path: Path, content: bytes) -> None:
        with writing(self._folder.path):
            write_durably(path, [content])

    def _record(self, batch: BatchRecorded) -> None:
        batch = replace(batch, at=CLOCK.now())
        self._batches[batch.tag] = batch
        self._journal.append(batch)
        self._journal.sync()

    def _drop(self, batch: BatchRecorded) -> None:
        """Record that nothing more is to come of a batch, and delete its files."""
        self._record(replace(batch, status="used"))
        del self._batches[batch.tag]
        for kind in ("requests", "results"):
            with suppress(OSError):
                self._path(batch, kind).unlink(missing_ok=True)


def _is_open(outcome: Outcome | None) -> bool:
    """Whether a request is to be submitted, or again without a parameter that the model refuses."""
    return outcome is None or (isinstance(outcome, CallFailure) and outcome.parameter is not None)


def _named(content: bytes) -> set[str]:
    return {str(line.get("custom_id")) for line in json_lines(content) if line is not None}
