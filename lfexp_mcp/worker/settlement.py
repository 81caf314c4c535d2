"""The end of a run whose items are done: everything is delivered, and Langfuse shows it."""

from collections.abc import Collection
from dataclasses import dataclass

import anyio.to_thread

from lfexp_mcp.gateway import Gateway
from lfexp_mcp.model import Provenance, RunSpec, Score
from lfexp_mcp.runs.events import Event, ScoresMissing, StatusRecorded, Warned, WriteRefused
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.worker.confirmation import Confirmation, Expected, Missing
from lfexp_mcp.worker.delivery import Delivery, Patience
from lfexp_mcp.worker.evaluation import attach_score
from lfexp_mcp.worker.sdk import Sdk, encode
from lfexp_mcp.worker.spans import ItemSpans

CANCELLED_PATIENCE_S = 5.0
"""How long a cancelled run waits for a Langfuse that takes nothing."""
LIMITED_FACTOR = 5
"""How many times longer a run waits for a Langfuse that answers 429: it is there, but not for ever."""
UNDELIVERED = (
    "Every item is done, but Langfuse has not acknowledged all scores and spans. They are kept on this machine; "
    "a resume sends them without running any task again."
)
NOT_SHOWN = (
    "Langfuse acknowledged everything, but does not show {missing} of this run. They are kept on this machine; "
    "a resume sends them again without running any task."
)
NOT_COUNTED = "Langfuse acknowledged everything; whether it shows all results could not be counted: {why}"
DROPPED = "acknowledged and not stored, as Langfuse does with a value that its score config does not allow"


@dataclass(frozen=True, slots=True)
class Settlement:
    """All that takes part in it."""

    gateway: Gateway
    delivery: Delivery
    folder: RunFolder
    run_spec: RunSpec
    journal: JournalWriter
    outbox: Outbox
    sdk: Sdk

    async def settle(self, expected: Expected) -> str | None:
        """Send what is left and count what Langfuse shows; what lacks is sent again from the journal.

        Args:
            expected: What Langfuse has to show.

        Returns:
            None when the run is completed, else why it is not.

        Raises:
            StateError: The run's folder cannot be read or written.
        """
        if not await self.delivery.finish(self.patience):
            cause = self.delivery.trouble
            return f"{UNDELIVERED} The last answer was: {cause}" if cause else UNDELIVERED
        expected.note(*self.delivery.refusals)

        async def resend(missing: Missing) -> None:
            await self._resend(missing)
            expected.note(*self.delivery.refusals)

        delay = self.run_spec.limits.visibility_delay
        outcome = await Confirmation(self.gateway, expected, delay, resend, self.folder.cancel_requested).run()
        if outcome.unknown is not None:
            self.journal.append(Warned(text=NOT_COUNTED.format(why=outcome.unknown)))
        if not outcome.missing:
            return None
        return await anyio.to_thread.run_sync(self._give_up, outcome.missing)

    async def tell(self, marked: StatusRecorded | None) -> bool:
        """Journal and send how the run stands; return whether everything is acknowledged.

        Args:
            marked: None where Langfuse has been told already.
        """
        if marked is not None:
            self.journal.append(marked)
            self.delivery.add_scores([attach_score(marked.score, None, self.run_spec.experiments[0].id)])
        return await self.delivery.finish(self.patience)

    def patience(self) -> Patience:
        """How long to wait for a Langfuse that takes nothing: less once the run is cancelled."""
        seconds = self.run_spec.limits.delivery_patience
        if self.folder.cancel_requested():
            return Patience(*[min(seconds, CANCELLED_PATIENCE_S)] * 2)
        return Patience(seconds, seconds * LIMITED_FACTOR)

    async def _resend(self, missing: Missing) -> None:
        state = await anyio.to_thread.run_sync(self._requeue, missing)
        self.delivery.add_scores(unstored_writes(self.run_spec, state, missing.scores))
        await self.delivery.finish(self.patience)

    def _requeue(self, missing: Missing) -> RunState:
        """Put what lacks where it waits to be sent, as if it had never been acknowledged; return the journal then."""
        state = self.folder.read_state()
        if missing.results:
            self.outbox.append(self._rebuild(missing, state))
        if missing.scores:
            event = ScoresMissing(ids=tuple(sorted(missing.scores)))
            self.journal.append(event)
            state.apply([event])
        return state

    def _rebuild(self, missing: Missing, state: RunState) -> bytes:
        provenance = state.accepted.provenance if state.accepted else Provenance()
        repeats = range(self.run_spec.repeats)
        spans = ItemSpans(self.run_spec, [provenance.experiment_metadata(self.run_spec, each) for each in repeats])
        resource, public_key = self.sdk.provider.resource, self.sdk.settings.langfuse_public_key or ""
        rebuilt = [
            span
            for item in self.folder.items()
            for repeat in repeats
            if (repeat, item.id) in missing.results
            for span in spans.rebuild(item, state.ended[repeat, item.id], resource, public_key)
        ]
        return encode(rebuilt)

    def _give_up(self, missing: Missing) -> str | None:
        """Keep what lacks for a resume, but count a score that its config may forbid as refused; say what is kept."""
        state = self._requeue(missing)
        dropped: list[Event] = [
            WriteRefused(kind="score", id=score.id, name=score.name, message=DROPPED)
            for score, _, _ in state.unstored_scores()
            if score.id in missing.scores and score.config_id is not None
        ]
        self.journal.append(*dropped)
        missing.scores.difference_update(event.id for event in dropped if isinstance(event, WriteRefused))
        return NOT_SHOWN.format(missing=missing) if missing else None


def unstored_writes(run_spec: RunSpec, state: RunState, ids: Collection[str] | None = None) -> list[Score]:
    """Return the scores that the journal has and Langfuse did not acknowledge.

    Args:
        run_spec: The run's order.
        state: The journal.
        ids: Only these.
    """
    return [
        attach_score(score, ended, None if ended else run_spec.experiments[repeat].id)
        for score, ended, repeat in state.unstored_scores()
        if ids is None or score.id in ids
    ]
