"""What is asked of held-out items: the two runs, the items, the looks so far, and the size that it takes."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import Confirmation, DatasetItem, NextStep, RunRecord
from lfexp_mcp.services.confirmation.looks import DELTA_STEP, MIN_HELD_OUT, Looks, Size, levels_of, read_looks, size_of
from lfexp_mcp.services.confirmation.measured import MeasuredPair, read_measured
from lfexp_mcp.services.next_steps import add_items_step
from lfexp_mcp.services.requests import ConfirmRequest
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, and what is known of it."""

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
        """Whether the items have been asked this before."""
        return self.looks.find(self.run) is not None

    @property
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
        """Propose this very call."""
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
    """The held-out items whose input no shown item has as well: the run may have been fitted to the others.

    How many these are is said nowhere, since whoever adds an item would learn whether its input is held out.
    """
    seen = {_normal_form(item.input) for item in shown}
    return [item for item in held_out if _normal_form(item.input) not in seen]


def _normal_form(value: JsonValue) -> str:
    """An input as a text in which case, spaces, the order of keys and how a number is written make no difference."""
    return json.dumps(_normal(value), sort_keys=True)


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
