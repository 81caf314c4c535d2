"""The looks that held-out items have had, by Langfuse's list of runs, and how many items the next one takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from lfexp_mcp.gateway import Dataset, confirmations_of
from lfexp_mcp.model import Confirmation, Provenance
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import PairedResult, items_to_show
from lfexp_mcp.statistics.significance import ALPHA, Levels, spending_factor

MIN_HELD_OUT = 30
"""Held-out items below which no verdict is given: of fewer, it would tell too much of each."""
DELTA_STEP = 0.01
"""In which the smallest difference that a holdout can show is stated."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The runs over a dataset's held-out items, those begun first first."""

    confirmations: Sequence[Confirmation]
    runs_before: int = 0
    """Runs that began before the items were set aside, and went over them as over all others."""

    def find(self, asked: Confirmation) -> Confirmation | None:
        """Return the one that has been begun for the same; None if there is none."""
        return next((one for one in self.confirmations if one.identity == asked.identity), None)

    def number(self, asked: Confirmation) -> int:
        """Return which look at the items a confirmation is, or would be, from 1. Runs of baselines are none."""
        looks = list(dict.fromkeys(one.identity for one in self.confirmations if one.against is not None))
        return looks.index(asked.identity) + 1 if asked.identity in looks else len(looks) + 1


def levels_of(look: int) -> Levels:
    """The levels of a look, on both sides: see `spending_factor`. Those of earlier looks stay as they were."""
    level = ALPHA / spending_factor(look)
    return Levels(level, level)


async def read_looks(ws: Workspace, dataset: Dataset) -> Looks:
    """Read the confirmations in Langfuse, and those that were begun here and of which it does not show anything yet."""
    runs = await ws.gateway.experiments.all_of(dataset.id)
    found = [(each.created, each.name, one) for each, one in confirmations_of(runs)]
    declared = dataset.holdout.declared if dataset.holdout else None
    known = {name for _, name, _ in found}
    found += [
        (run_spec.created, run_spec.run_name, run_spec.confirmation)
        for _, run_spec in ws.runs.started()
        if run_spec.confirmation is not None and run_spec.dataset_id == dataset.id and run_spec.run_name not in known
    ]
    heads = (run for run in runs if (made := Provenance.of(run.metadata)) is None or not made.is_repetition)
    before = sum(declared is not None and run.created < declared for run in heads)
    return Looks([one for _, _, one in sorted(found, key=lambda each: each[:2])], before)


@dataclass(frozen=True, slots=True)
class Size:
    """How many held-out items a look takes."""

    needed: int | None
    """To show the smallest difference of interest with power 0.8; None where that is not known."""
    smallest: float | None
    """The smallest difference that the held-out items can show with that power; None for none."""


def size_of(measured: PairedResult, held_out: int, min_delta: float, levels: Levels) -> Size:
    """Work out the size of a look from what the shown items told; the held-out ones are not used.

    It is that for `min_delta`, not for the difference seen, which is too large where the run was chosen for it.

    Args:
        measured: The difference on the shown items.
        held_out: How many items are held out.
        min_delta: The smallest difference of interest.
        levels: Of the look.
    """
    needed = items_to_show(measured, min_delta, levels, for_others=True)
    if needed is not None and needed <= held_out:
        return Size(needed, min_delta)
    low, high = int(min_delta / DELTA_STEP), round(1 / DELTA_STEP)
    if not _can_show(measured, held_out, 1.0, levels):
        return Size(needed, None)
    while high - low > 1:
        middle = (low + high) // 2
        if _can_show(measured, held_out, middle * DELTA_STEP, levels):
            high = middle
        else:
            low = middle
    return Size(needed, round(high * DELTA_STEP, 2))


def _can_show(measured: PairedResult, held_out: int, delta: float, levels: Levels) -> bool:
    needed = items_to_show(measured, delta, levels, for_others=True) if delta > 0 else None
    return needed is not None and needed <= held_out
