"""Runs of ours in a store, whose scores are drawn anew for each loop, and what `compare_runs` says of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import (
    PROVENANCE_KEY,
    FileVersion,
    JudgeMaker,
    Provenance,
    RecordedStatus,
    RunMaker,
    RunPlan,
    Scale,
    Score,
    ScriptMaker,
)
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.workspace import Workspace
from tests.services.recording import Recorded, RecordedRun, make_dataset, record_run, score_of

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
SCORE = "accuracy"
WIDTH = Scale(0, 1)
CHECK = ScriptMaker(SCORE, "checks.py", "0" * 64, WIDTH, "its evaluator")
"""An evaluator of a script."""
JUDGE = JudgeMaker("judge-accuracy", 1, "openai", "gpt-5-mini", WIDTH, "prompt config")
SCORES_AT_ONCE = 100
WRITERS = 4
RUNS_AT_ONCE = 24
"""As many as an answer has room for."""

Values = npt.NDArray[np.float64]
"""One row per run, one column per item."""


def item_id(number: int) -> str:
    """The id of an item, as `tests.statistics.simulated.run_of` names it too."""
    return f"item-{number:04}"


async def record(
    ws: Workspace, dataset: str, name: str, values: dict[str, float], maker: RunMaker, status: RecordedStatus | None
) -> RecordedRun:
    """Record a run as a worker of ours leaves it in Langfuse: spans, scores with their maker, plan and status.

    Args:
        ws: The workspace.
        dataset: The dataset, which is made if it does not exist.
        name: The run's; runs are begun in the order of their names.
        values: The scores by item id; the run has no other items.
        maker: Of the scores.
        status: How it ended; None for a run that got through all its items.
    """
    scores = (SCORE,) if isinstance(maker, JudgeMaker) else ()
    plan = status.plan if status else RunPlan(len(values), scores=scores, makers=(maker,))
    script = FileVersion("checks.py", CHECK.sha256) if isinstance(maker, ScriptMaker) else None
    place = int("".join(filter(str.isdigit, name)) or 0)
    return await record_run(
        ws,
        await make_dataset(ws, dataset),
        name,
        [
            Recorded(each, scores={SCORE: value}, started=BEGUN + timedelta(minutes=place))
            for each, value in values.items()
        ],
        metadata={PROVENANCE_KEY: Provenance(plan=plan, evaluator_script=script).as_json()},
        makers={SCORE: maker},
        mark=status,
    )


@dataclass(frozen=True)
class StoredLoop:
    """A baseline and its variants in a store."""

    ws: Workspace
    dataset: str
    scores: list[list[Score]]
    """Per run, those that it has."""

    @classmethod
    async def ask_one_by_one(
        cls, ws: Workspace, dataset: str, maker: RunMaker, values: Values
    ) -> tuple["StoredLoop", list[ScoreComparison]]:
        """Record a loop as an agent goes through it: each variant is compared before the next one is begun."""
        loop, lines = cls(ws, dataset, []), list[ScoreComparison]()
        for run, row in enumerate(values):
            given = {item_id(number): value for number, value in enumerate(row.tolist())}
            recorded = await record(ws, dataset, run_name(run), given, maker, None)
            loop.scores.append([score_of(recorded, each, SCORE, value, maker) for each, value in given.items()])
            if run:
                lines += await loop.compare([run])
        return loop, lines

    async def score(self, values: Values) -> None:
        """Give the runs the scores of another loop, in the place of those that they have."""
        scores = [
            replace(score, value=value)
            for scored, row in zip(self.scores, values, strict=True)
            for score, value in zip(scored, row.tolist(), strict=True)
        ]

        async def write(start: int) -> None:
            assert await self.ws.gateway.scores.write(scores[start : start + SCORES_AT_ONCE]) == {}

        await for_each(range(0, len(scores), SCORES_AT_ONCE), write, WRITERS)

    async def ask(self, variants: Sequence[int]) -> list[ScoreComparison]:
        """Compare variants with the baseline, each as if it were the last: later runs do not count for a verdict."""
        starts = range(0, len(variants), RUNS_AT_ONCE)
        return [line for start in starts for line in await self.compare(variants[start : start + RUNS_AT_ONCE])]

    async def compare(self, variants: Sequence[int]) -> list[ScoreComparison]:
        """Compare some variants with the baseline."""
        ask = partial(CompareRequest, dataset=self.dataset, limit=1, detail="full")
        lines = (await compare_runs(self.ws, ask(runs=[run_name(0), *map(run_name, variants)]))).scores
        assert [line.run for line in lines] == [run_name(run) for run in variants]
        assert [line.candidate for line in lines] == list(variants)
        return lines


def run_name(run: int) -> str:
    """The name of the run that is begun in this place."""
    return f"v{run:02}"
