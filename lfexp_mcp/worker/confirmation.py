"""Whether Langfuse shows what it acknowledged: counted result by result before a run is called completed."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import anyio

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BackendError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, RunScored, WriteRefused
from lfexp_mcp.runs.run_state import ItemKey, RunState

READING_BUDGET_S = 30.0
"""How long one count may take."""
MOST_RESENDS = 2
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""Between two counts."""


class Expected:
    """What Langfuse has to show in the end: each item's newest result, and the scores that it did not refuse."""

    def __init__(self, run_spec: RunSpec, state: RunState) -> None:
        """Begin with what earlier workers recorded.

        Args:
            run_spec: The run's order.
            state: As they left it.
        """
        self.experiments = tuple(experiment.id for experiment in run_spec.experiments)
        self._results: dict[ItemKey, str] = {}
        self._scores: dict[ItemKey, tuple[str, ...]] = {}
        self._run_scores: dict[int, tuple[str, ...]] = {}
        self._refused: set[str] = set()
        self.note(*state.ended.values(), *state.scored.values(), *state.run_scored.values(), *state.refused)

    def note(self, *events: Event) -> None:
        """Take in what is recorded."""
        for event in events:
            match event:
                case ItemEnded():
                    self._results[event.repeat, event.item_id] = event.observation_id
                    self._scores.pop((event.repeat, event.item_id), None)
                case ItemScored():
                    self._scores[event.repeat, event.item_id] = tuple(score.id for score in event.scores)
                case RunScored():
                    self._run_scores[event.repeat] = tuple(score.id for score in event.scores)
                case WriteRefused():
                    self._refused.add(event.id)
                case _:
                    continue

    def has_run_scores(self, repeat: int) -> bool:
        """Tell whether a repetition has scores of its own."""
        return bool(self._run_scores.get(repeat))

    def missing(self, repeat: int, shown: "Shown") -> "Missing":
        """Compare with what Langfuse shows of one repetition."""
        missing = Missing()
        for key, observation_id in self._results.items():
            if key[0] != repeat or observation_id in self._refused:
                continue
            scores = shown.results.get(observation_id)
            if scores is None:
                missing.results.add(key)
            missing.scores.update(self._lacking(self._scores.get(key, ()), scores or frozenset()))
        missing.scores.update(self._lacking(self._run_scores.get(repeat, ()), shown.run_scores))
        return missing

    def _lacking(self, expected: tuple[str, ...], shown: frozenset[str]) -> Iterator[str]:
        return (score for score in expected if score not in shown and score not in self._refused)


@dataclass(frozen=True, slots=True)
class Shown:
    """What Langfuse shows of one repetition."""

    results: dict[str, frozenset[str]]
    """The ids of each result's scores, by the result's own."""
    run_scores: frozenset[str] = frozenset()


class Missing:
    """What Langfuse lacks."""

    def __init__(self) -> None:
        self.results: set[ItemKey] = set()
        self.scores: set[str] = set()
        """Their ids."""

    def __len__(self) -> int:
        return len(self.results) + len(self.scores)

    def __str__(self) -> str:
        return f"{len(self.results)} results and {len(self.scores)} scores"

    def add(self, other: "Missing") -> None:
        """Take in what another repetition lacks."""
        self.results |= other.results
        self.scores |= other.scores


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a confirmation ended: everything is shown, or some of it is not, or nobody knows."""

    missing: Missing | None = None
    unknown: str | None = None
    """Why it could not be counted."""


class Confirmation:
    """Counts until Langfuse shows everything that is expected, and has sent again what it lacks."""

    def __init__(
        self,
        gateway: Gateway,
        expected: Expected,
        visibility_delay: float,
        resend: Callable[[Missing], Awaitable[None]],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Prepare.

        Args:
            gateway: Where to look.
            expected: What is to be there.
            visibility_delay: Seconds without anything new to be seen after which what lacks counts as lost.
            resend: Sends again what lacks, and returns when that is acknowledged or given up.
            is_cancelled: Whether nobody wants to wait any longer.
        """
        self._gateway = gateway
        self._expected = expected
        self._delay = visibility_delay
        self._resend = resend
        self._is_cancelled = is_cancelled

    async def run(self) -> Outcome:
        """Count, wait and send again; takes at most about three times the visibility delay, and the time to read."""
        least, news, pause, resends = None, CLOCK.monotonic(), FIRST_PAUSE_S, 0
        while True:
            try:
                with anyio.fail_after(READING_BUDGET_S):
                    missing = await self._count()
            except TimeoutError:
                return Outcome(unknown=f"counting took longer than {READING_BUDGET_S:g} s")
            except BackendError as error:
                return Outcome(unknown=str(error))
            if not missing:
                return Outcome()
            if least is None or len(missing) < least:
                least, news, pause = len(missing), CLOCK.monotonic(), FIRST_PAUSE_S
            is_overdue = CLOCK.monotonic() - news >= self._delay
            if self._is_cancelled() or (is_overdue and resends == MOST_RESENDS):
                return Outcome(missing)
            if is_overdue:
                await self._resend(missing)
                resends, news = resends + 1, CLOCK.monotonic()
                continue
            await anyio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _count(self) -> Missing:
        missing = Missing()
        for repeat, experiment_id in enumerate(self._expected.experiments):
            results = await self._gateway.experiments.shown_scores(experiment_id)
            run_scores: frozenset[str] = frozenset()
            if self._expected.has_run_scores(repeat):
                scores = await self._gateway.scores.find(experiment_id=experiment_id)
                run_scores = frozenset(score.id for score in scores)
            missing.add(self._expected.missing(repeat, Shown(results, run_scores)))
        return missing
