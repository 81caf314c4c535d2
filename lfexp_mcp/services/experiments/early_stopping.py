"""Giving a run a stopping rule: by which score and against what its looks test, in which order its items run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.gateway import SpooledItems
from lfexp_mcp.model import JudgeMaker, RunSpec, StoppingRule, are_mixed
from lfexp_mcp.scores.interpretation import OBSERVED
from lfexp_mcp.services.comparison.candidates import Candidate, family_of, read_candidates
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.runs.completeness import check_measured
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results, interpret_with_configs, same_content
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.paired import DEFAULT_MIN_DELTA
from lfexp_mcp.statistics.sequential import look_sizes, place_in_order
from lfexp_mcp.statistics.significance import ALPHA

BASELINE_WARNING = (
    "Baseline {name!r} is {status}: the looks compare with {values} of the run's {items} items, those that it has "
    "results of."
)
UNPAIRED = (
    "The looks compare {values} of the run's {items} items: baseline {name!r} has no value of the others, or their "
    "content has changed."
)


@dataclass(frozen=True, slots=True)
class StoppableRun:
    """A run that has a stopping rule."""

    run_spec: RunSpec
    items: SpooledItems
    """In random order, in which they run."""
    values: Mapping[str, float]
    """The baseline's, by item id."""


async def make_stoppable(ws: Workspace, request: RunRequest, run_spec: RunSpec, items: SpooledItems) -> StoppableRun:
    """Give a new run its stopping rule, and its items their order.

    Raises:
        NotFoundError: There is no such baseline, or it has no such score.
        UsageError: The runs' values of the score could not be compared, or it is not clear which score decides.
    """
    name = request.compare_with or ""
    record = await read_run(ws, run_spec.dataset_name, name)
    check_measured(record, "as the baseline of a run that is measured")
    baseline = await interpret_with_configs(ws, record)
    score = _deciding_score(request, baseline, run_spec)
    results, numbers = first_results(record), baseline.numbers[score]
    same = {item.id for item in items if item.id in results and same_content(item, results[item.id])}
    values = {item_id: value for item_id, value in numbers.items() if item_id in same}
    if not values:
        raise UsageError(f"compare_with: run {name!r} has no value of {score!r} of any of these items.")
    seed = run_spec.experiments[0].id
    # The run is begun later than all others, so that its place is known.
    begins = Candidate(datetime.now(UTC), seed, family_of(run_spec.metadata), sweep=run_spec.sweep)
    candidates = (await read_candidates(ws, run_spec.dataset_id)).including(record, begins)
    place = candidates.place(record.experiment_ids[0], seed, score)
    rule = StoppingRule(
        baseline=name,
        score=score,
        sizes=look_sizes(len(values)),
        rise=ALPHA / place.factor,
        fall=ALPHA,
        min_delta=request.min_delta or DEFAULT_MIN_DELTA,
        seed=seed,
    )
    warnings = list(run_spec.warnings)
    counts = {"name": name, "values": len(values), "items": len(items)}
    if record.status != "completed":
        warnings.append(BASELINE_WARNING.format(status=record.status, **counts))
    elif len(values) < len(items):
        warnings.append(UNPAIRED.format(**counts))
    changed = run_spec.model_copy(update={"stopping": rule, "warnings": tuple(warnings)})
    keys = [place_in_order(seed, item.id) for item in items]
    return StoppableRun(changed, items.choose(sorted(range(len(items)), key=keys.__getitem__)), values)


def _deciding_score(request: RunRequest, baseline: ScoredRun, run_spec: RunSpec) -> str:
    """The score that decides: the one that is named, else the only one."""
    named, known = request.primary_score, sorted(name for name in baseline.numbers if baseline.has_scale(name))
    if named is None and len(known) != 1:
        listed = ", ".join(known) or "none"
        raise UsageError(
            f"stop_when needs one score that decides: name it as primary_score. On a scale, {baseline.name!r} has "
            f"{listed}.",
            next=[request.step(f"Let {score!r} decide.", primary_score=score) for score in known[:3]],
        )
    score = named or known[0]
    if score not in known:
        raise NotFoundError.of(f"score on a scale in run {baseline.name!r}", score, known)
    how = baseline.interpretations[score]
    if how.scale_source == OBSERVED:
        raise UsageError(
            f"{score!r} has no declared scale: its values in {baseline.name!r} are read by all of them, which a look "
            "at some cannot do. Declare the scale in its evaluator, and run the baseline again."
        )
    makers = how.makers
    judge = next((judge for judge in run_spec.judges if judge.score_name == score), None)
    is_judged = any(isinstance(maker, JudgeMaker) for maker in makers)
    if are_mixed([*makers, judge.maker] if judge is not None else makers) or (is_judged and judge is None):
        labels = ", ".join(dict.fromkeys(maker.label for maker in makers))
        mine = judge.maker.label if judge is not None else "no judge"
        raise UsageError(
            f"{score!r} is by {labels} in {baseline.name!r} and by {mine} in this run, so it cannot decide: score both "
            "with the same judge, or name another primary_score."
        )
    return score


def check_rule(request: RunRequest, rule: StoppingRule | None) -> None:
    """Refuse to resume a run with another stopping rule than it was begun with.

    Raises:
        UsageError: The request names another.
    """
    if request.compare_with is None:
        return
    asked = (request.compare_with, request.primary_score, request.min_delta)
    own = (rule.baseline, rule.score, rule.min_delta) if rule is not None else (None, None, None)
    if any(new is not None and new != old for new, old in zip(asked, own, strict=True)):
        raise UsageError(
            f"Run {request.run_name!r} was begun {'with another' if rule else 'without a'} stopping rule, which cannot "
            "be changed after results were seen: omit compare_with and stop_when, or use another run name.",
            next=[request.step("Go on.", compare_with=None, stop_when=None, min_delta=None, primary_score=None)],
        )
