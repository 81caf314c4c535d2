"""A run and its baseline, paired item by item."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio.to_thread

from lfexp_mcp.errors import NotFoundError
from lfexp_mcp.groups import for_each
from lfexp_mcp.model import ItemResult, JudgeMaker, RunRecord
from lfexp_mcp.scores.score_names import name_alike
from lfexp_mcp.services.runs.read_run import read_recorded_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results, same_content
from lfexp_mcp.services.workspace import Workspace

READ_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class RunPair:
    """A run and the baseline that it is compared with."""

    baseline: ScoredRun
    run: ScoredRun
    before: dict[str, ItemResult]
    """The baseline's results to show, by item id; see `first_results`."""
    after: dict[str, ItemResult]
    """The run's."""
    item_ids: tuple[str, ...]
    """Items that both runs have with the same content, sorted."""
    changed_ids: tuple[str, ...]
    """Items whose input or expected output differs between the runs; not compared."""

    def has_scale(self, score: str) -> bool:
        """Whether both runs have the score on the canonical 0-1."""
        return self.baseline.has_scale(score) and self.run.has_scale(score)

    def values(self, score: str) -> dict[str, tuple[float, float]]:
        """Return (baseline's value, run's value) of each compared item that has both."""
        first, second = self.baseline.numbers.get(score, {}), self.run.numbers.get(score, {})
        return {
            item_id: (first[item_id], second[item_id])
            for item_id in self.item_ids
            if item_id in first and item_id in second
        }


def pair_runs(baseline: ScoredRun, run: ScoredRun) -> RunPair:
    """Pair the items of two runs.

    A pairwise judge's verdicts about the run against this very baseline are scores of the run alone; the baseline's
    value beside them is that of a tie.
    """
    preferences = {
        name: how
        for name, how in run.interpretations.items()
        if name not in baseline.interpretations
        and how.makers
        and all(isinstance(maker, JudgeMaker) and maker.against == baseline.name for maker in how.makers)
    }
    if preferences:
        baseline = replace(
            baseline,
            interpretations=baseline.interpretations | preferences,
            even={name: run.numbers.get(name, {}).keys() for name in preferences},
        )
    before, after = first_results(baseline.record), first_results(run.record)
    kept, changed = list[str](), list[str]()
    for item_id in sorted(before.keys() & after.keys()):
        (kept if same_content(before[item_id], after[item_id]) else changed).append(item_id)
    return RunPair(baseline, run, before, after, tuple(kept), tuple(changed))


async def read_alike(ws: Workspace, dataset: str, names: Sequence[str], *, held_out: bool = False) -> list[RunRecord]:
    """Read runs, with the scores of the same maker under the same name.

    Some are read at a time, so that one does not use up the time of the others.

    Raises:
        NotFoundError: There is no such run; of several, the first is named.
        UsageError: One is over held-out items and not asked for as such, or the other way round.
    """
    read: dict[str, RunRecord] = {}
    unknown: dict[str, NotFoundError] = {}

    async def one(name: str) -> None:
        try:
            read[name] = await read_recorded_run(ws, dataset, name, held_out=held_out)
        except NotFoundError as error:
            unknown[name] = error

    await for_each(names, one, min(len(names), READ_AT_ONCE))
    for name in names:
        if name in unknown:
            raise unknown[name]
    records = [read[name] for name in names]
    return await anyio.to_thread.run_sync(name_alike, records, abandon_on_cancel=True)
