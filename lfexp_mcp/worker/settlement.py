"""The end of a run: everything is delivered, Langfuse shows it, and how the run ended is recorded there."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BackendError
from lfexp_mcp.gateway import Gateway, connect, scoring_score_id, status_score, status_score_id
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import (
    RUN_MAKERS,
    Look,
    MissingScores,
    Provenance,
    RecordedStatus,
    RunMaker,
    RunPlan,
    RunSpec,
    Score,
)
from lfexp_mcp.runs.events import RunEnded, ScoresMissing, StatusRecorded, Warned, WriteRefused
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.runs.span_batches import drop_unrecorded
from lfexp_mcp.worker.confirmation import ExpectedRecords, MissingRecords
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.sdk import Sdk
from lfexp_mcp.worker.spans import ItemSpans
from lfexp_mcp.worker.telemetry import encode

MAX_RESENDS = 2
MIN_PAUSE_S = 0.1
MAX_PAUSE_S = 2.0
"""Between two counts."""
EARLY_PAGE_TIMEOUT_S = 3.0
"""How long a page may take before the end, which must not wait for a request that hangs."""
MAX_LISTED = 200
"""Results that a recorded status lists for each evaluator that failed on them."""
DIED = RunEnded(status="failed", reason="The process of the run died.")
UNDELIVERED = (
    "Every item is done, but Langfuse has not acknowledged all scores and spans. They are kept on this machine; "
    "a resume sends them without running any task again."
)
NOT_SHOWN = (
    "Langfuse acknowledged everything, but does not show {missing} of this run. They are kept on this machine; "
    "a resume sends them again without running any task."
)
NOT_COUNTED = "Langfuse acknowledged everything; whether it shows all results could not be counted: {why}"
DROPPED = "acknowledged but not stored, as Langfuse does with a value that its score config does not allow"


@dataclass(frozen=True, slots=True)
class Settlement:
    """Delivers what a run has left, confirms it, and records there how the run ended."""

    gateway: Gateway
    delivery: Delivery
    expected: ExpectedRecords
    folder: RunFolder
    run_spec: RunSpec
    journal: JournalWriter
    outbox: Outbox
    sdk: Sdk

    @classmethod
    def open(
        cls,
        gateway: Gateway,
        folder: RunFolder,
        run_spec: RunSpec,
        state: RunState,
        journal: JournalWriter,
        outbox: Outbox,
        sdk: Sdk,
    ) -> "Settlement":
        """Begin with what earlier workers recorded and did not deliver."""
        delivery = Delivery(gateway, outbox, journal, run_spec.limits.delivery_patience, folder.cancel_requested)
        delivery.add_scores(_unstored_scores(run_spec, state))
        return cls(gateway, delivery, ExpectedRecords(run_spec, state), folder, run_spec, journal, outbox, sdk)

    async def begin_end(self) -> None:
        """Do what can be done while the last items run, so that less is left when they have ended.

        Raises:
            StateError: The journal cannot be read.
        """
        self.delivery.flush()
        await anyio.to_thread.run_sync(self.expected.update)
        if await self.delivery.flushed():
            # What goes wrong now does so again when it matters.
            with suppress(BackendError):
                await self.expected.find_missing(self.gateway, EARLY_PAGE_TIMEOUT_S)

    async def settle(self) -> str | None:
        """Send what is left and count what Langfuse shows; what is missing is sent again from the journal.

        Returns:
            None if Langfuse has everything, else why not.

        Raises:
            StateError: The run's folder cannot be read or written.
        """
        async with open_group() as group:
            # The journal is read while Langfuse takes the last spans; a long one takes seconds.
            group.start_soon(anyio.to_thread.run_sync, self.expected.update)
            is_delivered = await self.delivery.finish()
        if not is_delivered:
            error = self.delivery.last_error
            return f"{UNDELIVERED} The last answer was: {error}" if error else UNDELIVERED
        try:
            await anyio.to_thread.run_sync(self.expected.update)
            missing = await self._confirm()
        except BackendError as error:
            self.journal.append(Warned(text=NOT_COUNTED.format(why=error)))
            return None
        if not missing:
            return None
        # What is kept for a resume must not go to a server that acknowledges it once more and shows nothing.
        self.delivery.pause()
        return await anyio.to_thread.run_sync(self._give_up, missing)

    def record_running(self, plan: RunPlan, looks: Sequence[Look] = (), *, scores_only: bool) -> None:
        """Record that the run, or a scoring of it, is running, after the looks that were taken at it."""
        recorded = RecordedStatus("running", CLOCK.now(), plan, makers=plan.makers, looks=tuple(looks))
        self._record(recorded, self._status_id(plan, scores_only=scores_only))

    async def record_end(self, plan: RunPlan, end: RunEnded) -> bool:
        """Record how the run, or the scoring of it, ended, unless that is recorded already.

        Args:
            plan: What it was to do.
            end: How it ended.

        Returns:
            Whether everything is acknowledged.

        Raises:
            StateError: The journal cannot be read or written.
        """
        state = await anyio.to_thread.run_sync(self.expected.update)
        identity = self._status_id(plan, scores_only=state.scores_only)
        known = state.status_scores.get(identity)
        if known is None or known.value != end.status:
            makers, unscored = await anyio.to_thread.run_sync(_scored, state, plan if state.scores_only else None)
            recorded = RecordedStatus(
                status=end.status,
                at=CLOCK.now(),
                plan=plan,
                succeeded=len(state.ended) - state.failed_count,
                failed=state.failed_count,
                unscored=unscored,
                makers=makers,
                reason=end.reason,
                looks=tuple(state.looks),
            )
            self._record(recorded, identity)
        return await self.delivery.finish()

    def _status_id(self, plan: RunPlan, *, scores_only: bool) -> str:
        experiment_id = self.run_spec.experiments[0].id
        return scoring_score_id(experiment_id, plan) if scores_only else status_score_id(experiment_id)

    def _record(self, recorded: RecordedStatus, identity: str) -> None:
        score = status_score(recorded, self.run_spec.experiments[0].id, identity)
        self.journal.append(StatusRecorded(score=score))
        self.delivery.add_scores([score])

    async def _confirm(self) -> MissingRecords:
        """Count until Langfuse shows everything, and send again what stays missing.

        What is missing counts as lost when nothing new has been shown for the visibility delay; this takes about three
        times that delay at most, plus the time to read.

        Returns:
            What is missing in the end.

        Raises:
            BackendError: It cannot be counted.
        """
        least: int | None = None
        changed, pause, resends = CLOCK.monotonic(), MIN_PAUSE_S, 0
        while True:
            missing = await self.expected.find_missing(self.gateway)
            if not missing:
                return missing
            if least is None or len(missing) < least:
                least, changed, pause = len(missing), CLOCK.monotonic(), MIN_PAUSE_S
            is_overdue = CLOCK.monotonic() - changed >= self.run_spec.limits.visibility_delay
            if self.folder.cancel_requested() or (is_overdue and resends == MAX_RESENDS):
                return missing
            if is_overdue:
                await self._resend(missing)
                resends, changed = resends + 1, CLOCK.monotonic()
                continue
            await anyio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)

    async def _resend(self, missing: MissingRecords) -> None:
        state = await anyio.to_thread.run_sync(self._requeue, missing)
        self.delivery.add_scores(_unstored_scores(self.run_spec, state, missing.scores))
        await self.delivery.finish()
        await anyio.to_thread.run_sync(self.expected.update)

    def _requeue(self, missing: MissingRecords) -> RunState:
        """Undo the acknowledgement of what is missing, so that it is sent again; return the journal's new state."""
        state = self.expected.update()
        if missing.results:
            self.outbox.append(self._rebuild(missing, state))
        if missing.scores:
            self.journal.append(ScoresMissing(ids=tuple(sorted(missing.scores))))
        return self.expected.update()

    def _rebuild(self, missing: MissingRecords, state: RunState) -> bytes:
        provenance = state.accepted.provenance if state.accepted else Provenance()
        repeats = range(self.run_spec.repeats)
        spans = ItemSpans(self.run_spec, [provenance.experiment_metadata(self.run_spec, each) for each in repeats])
        resource, public_key = self.sdk.provider.resource, self.sdk.settings.langfuse_public_key or ""
        rebuilt = [
            span
            for item in self.folder.items(self.run_spec)
            for repeat in repeats
            if (repeat, item.id) in missing.results
            for span in spans.rebuild(item, state.ended[repeat, item.id], resource, public_key)
        ]
        return encode(rebuilt)

    def _give_up(self, missing: MissingRecords) -> str | None:
        """Keep what is missing for a resume, and return what that is.

        A score that its score config may forbid counts as refused instead.
        """
        state = self._requeue(missing)
        dropped = [
            WriteRefused(kind="score", id=score.id, name=score.name, message=DROPPED)
            for score, _, _ in state.unstored_scores()
            if score.id in missing.scores and score.config_id is not None
        ]
        self.journal.append(*dropped)
        kept = replace(missing, scores=missing.scores - {refusal.id for refusal in dropped})
        return NOT_SHOWN.format(missing=kept) if kept else None


async def deliver(folder: RunFolder, sdk: Sdk) -> None:
    """Send what a run has left behind, without running anything.

    Raises:
        LfexpError: The folder or Langfuse cannot be used.
    """
    run_spec, state = folder.run_spec(), folder.read_state()
    drop_unrecorded(folder.outbox_path, run_spec, state)
    journal, outbox = folder.open_journal(), Outbox(folder.outbox_path)
    async with connect(sdk.settings) as gateway, open_group() as group:
        settlement = Settlement.open(gateway, folder, run_spec, state, journal, outbox, sdk)
        group.start_soon(settlement.delivery.run)
        undelivered = await settlement.settle()
        is_done = state.executed and (state.run_ended is None or state.run_ended.cause == "undelivered")
        if undelivered is None:
            accepted = state.scorer if state.scores_only else state.accepted
            plan = accepted.provenance.plan if accepted else None
            plan = plan or RunPlan.of(run_spec)
            end = RunEnded(status="completed") if is_done else state.run_ended or DIED
            undelivered = None if await settlement.record_end(plan, end) else UNDELIVERED
        group.cancel_scope.cancel()
    if is_done:
        journal.append(end_of(undelivered))
    elif undelivered is None and state.run_ended is not None:
        journal.append(replace(state.run_ended, delivered=True))
    journal.close()


def end_of(undelivered: str | None) -> RunEnded:
    """Return how a run ended whose items are done.

    Args:
        undelivered: Why Langfuse does not have everything; None if it has.
    """
    if undelivered is None:
        return RunEnded(status="completed")
    return RunEnded(status="failed", cause="undelivered", reason=undelivered)


def _unstored_scores(run_spec: RunSpec, state: RunState, ids: Collection[str] | None = None) -> Iterator[Score]:
    """Yield the scores in the journal, or those of them with these ids, that Langfuse has not acknowledged."""
    for score, ended, repeat in state.unstored_scores():
        if ids is None or score.id in ids:
            yield (
                replace(score, trace_id=ended.trace_id, observation_id=ended.observation_id)
                if ended
                else replace(score, experiment_id=run_spec.experiments[repeat].id)
            )


def _scored(state: RunState, of: RunPlan | None) -> tuple[tuple[RunMaker, ...], dict[str, MissingScores]]:
    """Return who made the scores, and the failures, or those of the makers of a plan."""
    makers: dict[RunMaker, None] = {}
    counts: Counter[str] = Counter()
    listed: dict[str, list[ItemKey]] = {}
    for key, scored in state.scored.items():
        makers |= dict.fromkeys(score.maker for score in scored.scores if isinstance(score.maker, RUN_MAKERS))
        for failure in scored.unscored:
            if of is None or any(maker.is_same(failure.maker) for maker in of.makers):
                counts[failure.name] += 1
                if counts[failure.name] <= MAX_LISTED:
                    listed.setdefault(failure.name, []).append(key)
    return tuple(makers), {name: MissingScores(count, tuple(listed[name])) for name, count in counts.items()}
