"""What is asked of held-out items: the runs, the items, the looks so far, and the size that a look takes."""

import json
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset, confirmations_of
from lfexp_mcp.model import (
    Confirmation,
    DatasetItem,
    ExperimentHead,
    JudgeMaker,
    NextStep,
    Provenance,
    RunMaker,
    RunRecord,
    RunSpec,
    ScriptMaker,
)
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.runs.sources import changed_sources
from lfexp_mcp.services.confirmation.measured import MeasuredPair, read_measured
from lfexp_mcp.services.next_steps import add_items_step
from lfexp_mcp.services.requests import ConfirmRequest
from lfexp_mcp.services.runs.local_runs import find_run_folder
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import PairedResult, items_to_show
from lfexp_mcp.statistics.significance import ALPHA, Levels, spending_factor

MIN_HELD_OUT = 30
"""Held-out items below which no verdict is given: of fewer, it would tell too much of each."""
DELTA_STEP = 0.01
"""In which the smallest difference that a holdout can show is stated."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The runs over a dataset's held-out items, the oldest first."""

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
    # In steps: `low` cannot be shown, `high` can if anything can.
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


@dataclass(frozen=True)
class Case:
    """A request, and everything known about it."""

    request: ConfirmRequest
    dataset: Dataset
    held_out: int
    """Items that are held out."""
    items: list[DatasetItem]
    """Those of them to run; see `_unseen`."""
    measured: MeasuredPair
    baseline: Confirmation
    run: Confirmation
    looks: Looks

    @property
    def is_begun(self) -> bool:
        """Whether this very confirmation has been begun before."""
        return self.looks.find(self.run) is not None

    @cached_property
    def size(self) -> Size:
        """How many items it takes."""
        levels = levels_of(self.looks.number(self.run))
        return size_of(self.measured.result, len(self.items), self.min_delta, levels)

    @property
    def min_delta(self) -> float:
        """As stated; when planning, the smallest that is considered."""
        return self.run.min_delta or DELTA_STEP

    @property
    def plans(self) -> tuple[tuple[Confirmation, RunRecord], tuple[Confirmation, RunRecord]]:
        """Both runs over held-out items, each with the run that it is of; the baseline's first."""
        pair = self.measured.pair
        return (self.baseline, pair.baseline.record), (self.run, pair.run.record)

    def again(self, why: str, **changes: JsonValue) -> NextStep:
        """Propose this call again."""
        asked = self.request.model_copy(update=changes)
        return NextStep("confirm_run", asked.model_dump(mode="json", exclude_defaults=True), why)


async def read_case(ws: Workspace, request: ConfirmRequest) -> Case:
    """Read all that a request is about.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: Nothing is held out, or the runs cannot be compared.
    """
    dataset = await ws.gateway.datasets.get(request.dataset)
    if dataset.holdout is None:
        declare = NextStep("create_dataset", {"name": dataset.name, "holdout": 0.3}, "Set items aside for later runs.")
        raise UsageError(f"Dataset {dataset.name!r} has no held-out items to confirm a run on.", next=[declare])
    held_out = await ws.gateway.datasets.items(dataset, held_out=True)
    items = _unseen(held_out, await ws.gateway.datasets.items(dataset))
    measured, looks = await read_measured(ws, dataset, request), await read_looks(ws, dataset)
    baseline, run = measured.confirmations(items, request.min_delta)
    if (known := looks.find(run)) is not None:
        # Items and min_delta are those of the beginning.
        run, baseline = known, replace(baseline, items=known.items)
        folder = ws.runs.find(await ws.gateway.experiments.id_of(dataset.id, known.run_name))
        items = items if folder is None else list(folder.items(folder.run_spec()))
    return Case(request, dataset, len(held_out), items, measured, looks.find(baseline) or baseline, run, looks)


def _unseen(held_out: Sequence[DatasetItem], shown: Sequence[DatasetItem]) -> list[DatasetItem]:
    """The held-out items whose input no shown item has: to the others, the run may have been fitted.

    How many these are is said nowhere, since whoever adds an item would learn whether its input is held out.
    """
    seen = {_normal_form(item.input) for item in shown}
    return [item for item in held_out if _normal_form(item.input) not in seen]


def _normal_form(value: JsonValue) -> str:
    """An input as a text, regardless of case, spaces, the order of keys and how numbers are written."""
    # What is nested too deeply for that is compared as it is.
    with suppress(RecursionError):
        value = _normal(value)
    return json.dumps(value, sort_keys=True)


def _normal(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
        case dict():
            return {key: _normal(member) for key, member in value.items()}
        case list():
            return [_normal(member) for member in value]
        case float() if value.is_integer():
            return int(value)
    return value


def check_size(case: Case) -> None:
    """Refuse a look that could show nothing, or too much.

    Raises:
        UsageError: There are too few held-out items.
    """
    size, stated = case.size, case.min_delta
    if len(case.items) >= MIN_HELD_OUT and size.needed is not None and size.needed <= len(case.items):
        return
    needed = f"takes {size.needed} of them" if size.needed is not None else "takes an unknown number of them"
    planned = f"To show a difference of {stated:g} with power 0.8, look {case.looks.number(case.run)} {needed}."
    raise UsageError(f"{what_can_be_shown(case)} {planned} Nothing was run.", next=plans_of(case))


def what_can_be_shown(case: Case) -> str:
    """Say which difference the held-out items can show."""
    count, smallest = case.held_out, case.size.smallest
    if len(case.items) < MIN_HELD_OUT:
        return f"{count} items are held out. Of fewer than {MIN_HELD_OUT}, a verdict would tell too much about each."
    if smallest is None:
        return f"{count} items are held out, which can show no difference with power 0.8."
    return f"{count} items are held out, which show a difference of {smallest:g} or more with power 0.8."


def plans_of(case: Case) -> list[NextStep]:
    """Propose what to do with a holdout of this size."""
    add = add_items_step(case.dataset.name, "Add items: their share is set aside too.")
    smallest = case.size.smallest if len(case.items) >= MIN_HELD_OUT else None
    return [add] if smallest is None else [case.again("Ask for what they can show.", min_delta=smallest), add]


async def plan_run(ws: Workspace, case: Case, record: RunRecord, confirmation: Confirmation) -> RunSpec:
    """Plan to run the code of a measured run over held-out items, all as it was then.

    Raises:
        UsageError: Its code, or what scored it, is not on this machine.
    """
    folder = await find_run_folder(ws, record.dataset, record.run_name)
    if folder is None or folder.read_state().is_recorded:
        raise UsageError(
            f"Run {record.run_name!r} was not measured on this machine, or its folder was deleted since, so its code "
            "is not here. Call confirm_run where both runs were measured, or run it again here under a new name."
        )
    run_spec = folder.run_spec()
    versions = +folder.read_state().task_versions
    if len(versions) > 1:
        raise UsageError(
            f"Run {record.run_name!r} was resumed with an edited task: its results are of {len(versions)} versions."
        )
    items, maker = case.items, case.measured.maker
    own_script = record.provenance.evaluator_script if record.provenance else None
    if isinstance(maker, ScriptMaker) and (own_script is None or own_script.sha256 != maker.sha256):
        raise UsageError(
            f"{case.measured.score!r} of run {record.run_name!r} is by a script that scored it later, by score_run. "
            "Run it again with that script."
        )
    names = [repeat_name(confirmation.run_name, repeat) for repeat in range(run_spec.repeats)]
    id_of = ws.gateway.experiments.id_of
    return run_spec.model_copy(
        update={
            "created": datetime.now(UTC),
            "dataset_version": max((item.updated for item in items if item.updated), default=run_spec.dataset_version),
            "item_count": len(items),
            "part": None,
            "experiments": tuple(
                [ExperimentHead(id=await id_of(record.dataset_id, name), name=name) for name in names]
            ),
            "description": f"Run {record.run_name!r} over held-out items, for confirm_run. Do not read it.",
            "metadata": {},
            "variant_of": case.request.cancelled_by,
            **_scorers(folder, run_spec, maker),
            "warnings": (),
            "limits": run_spec.limits.model_copy(update={"fail_on_error": None, "run_timeout": None, "max_cost": None}),
            "batch": False,
            "recording": None,
            "stopping": None,
            "set_aside": None,
            "confirmation": confirmation,
            "measured": record.provenance.code if record.provenance else {},
            "kept_sources": changed_sources(folder),
        }
    )


def _scorers(folder: RunFolder, run_spec: RunSpec, maker: RunMaker) -> dict[str, object]:
    """What gives the score, which may have scored the run later, without other judges, whose calls would cost."""
    scoring = [one for one in (run_spec, folder.scoring()) if one is not None]
    judges = [judge for one in scoring for judge in one.judges if judge.maker.is_same(maker)]
    built_in = {repr(choice): choice for one in scoring for choice in one.evaluators}
    return {
        "judges": tuple(judges[:1]),
        "evaluators": () if isinstance(maker, JudgeMaker) else tuple(built_in.values()),
    }
