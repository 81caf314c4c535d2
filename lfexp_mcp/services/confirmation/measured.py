"""The two runs as they were measured on the shown items, and whether their difference can be confirmed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import (
    RUN_MAKERS,
    Confirmation,
    DatasetItem,
    NextStep,
    RunMaker,
    RunRecord,
    digest_of_code,
)
from lfexp_mcp.services.comparison.comparability import find_issues
from lfexp_mcp.services.comparison.run_pair import RunPair, pair_runs, read_alike
from lfexp_mcp.services.next_steps import resume_step
from lfexp_mcp.services.requests import ConfirmRequest
from lfexp_mcp.services.runs.completeness import check_measured
from lfexp_mcp.services.runs.scored_run import interpret_with_configs
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import PairedResult, compare_pairs


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """A run and its baseline on the shown items."""

    pair: RunPair
    score: str
    maker: RunMaker
    """Of the score, in both runs."""
    result: PairedResult

    def confirmations(self, items: Sequence[DatasetItem], min_delta: float | None) -> tuple[Confirmation, Confirmation]:
        """Return what the runs over the held-out items are: that of the baseline, and that of the run."""
        baseline, run = self.pair.baseline.record, self.pair.run.record
        judged_by, digest = self.maker.label, _digest_of(items)
        first = Confirmation(of=baseline.run_name, code=code_of(baseline), judged_by=judged_by, items=digest)
        second = Confirmation(
            of=run.run_name,
            code=code_of(run),
            judged_by=judged_by,
            items=digest,
            baseline=baseline.run_name,
            against=first.code,
            score=self.score,
            min_delta=min_delta,
        )
        return first, second


def code_of(record: RunRecord) -> str:
    """Digest the code that a run measured."""
    return digest_of_code(record.provenance.code if record.provenance else {})


def _digest_of(items: Sequence[DatasetItem]) -> str:
    """Digest items with their contents."""
    contents = {item.id: [item.input, item.expected_output, item.metadata] for item in items}
    return digest_of_code({item_id: json.dumps(each, sort_keys=True) for item_id, each in contents.items()})


async def read_pair(ws: Workspace, dataset: str, names: Sequence[str], *, held_out: bool) -> RunPair:
    """Read a baseline and a run, with the same scores under the same names.

    Raises:
        NotFoundError: There is no such run.
        UsageError: One is over held-out items and not asked for as such, or the other way round.
    """
    records = await read_alike(ws, dataset, names, held_out=held_out)
    runs = [await interpret_with_configs(ws, record) for record in records]
    return pair_runs(runs[0], runs[1])


async def read_measured(ws: Workspace, dataset: Dataset, request: ConfirmRequest) -> MeasuredPair:
    """Read the two runs, and check that their difference can be confirmed.

    Raises:
        NotFoundError: There is no such run or score.
        UsageError: It cannot; the text says why.
    """
    pair = await read_pair(ws, dataset.name, (request.baseline, request.run_name), held_out=False)
    for record in (pair.baseline.record, pair.run.record):
        _check_run(record)
    if code_of(pair.baseline.record) == code_of(pair.run.record):
        raise UsageError(f"Runs {request.baseline!r} and {request.run_name!r} have the same code: nothing to confirm.")
    score = _score(pair, request)
    for issue in find_issues(pair):
        if issue.unfair and issue.score in (None, score):
            raise UsageError(f"The runs cannot be compared fairly: {issue.message}")
    makers = [maker for run in (pair.run, pair.baseline) for maker in run.interpretations[score].makers]
    own = [maker for maker in makers if isinstance(maker, RUN_MAKERS) and maker.is_same(makers[0])]
    if len(own) < len(makers):
        labels = " and ".join(dict.fromkeys(maker.label for maker in makers))
        raise UsageError(f"{score!r} is by {labels}. It takes one judge or evaluator that has scored both runs.")
    if not pair.has_scale(score):
        raise UsageError(f"{score!r} has no scale, so missing values have no bounds. Declare its scale.")
    result = compare_pairs(list(pair.values(score).values()), 1.0)
    if result is None:
        raise UsageError(f"No item has {score!r} in both runs.")
    return MeasuredPair(pair, score, own[0], result)


def _check_run(record: RunRecord) -> None:
    name = record.run_name
    check_measured(record, "to be confirmed")
    # One that its stopping rule ended has a verdict, which its held-out items can confirm as well.
    if record.status not in ("completed", "stopped"):
        raise UsageError(
            f"Run {name!r} is {record.status}: only a complete run is confirmed.",
            next=[resume_step(record.dataset, name)],
        )
    if record.provenance is None or not record.provenance.code:
        again: dict[str, JsonValue] = {"dataset": record.dataset, "run_name": "<new name>", "task_script": "<path>.py"}
        raise UsageError(
            f"It is not known which code made run {name!r}, so it cannot be run again.",
            next=[NextStep("run_experiment", again, "Measure it so that its code is known.")],
        )


def _score(pair: RunPair, request: ConfirmRequest) -> str:
    shared = sorted(pair.baseline.interpretations.keys() & pair.run.interpretations.keys())
    if request.score_name is not None:
        if request.score_name not in shared:
            raise NotFoundError.of("score in both runs", request.score_name, shared)
        return request.score_name
    if len(shared) != 1:
        raise UsageError(
            f"The runs share {len(shared)} scores ({', '.join(map(repr, shared))}), and a verdict is about one. Pass "
            "score_name, the score that the run was chosen for."
        )
    return shared[0]
