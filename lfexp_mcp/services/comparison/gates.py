"""Gates: whether runs pass conditions. A gate never passes because data is missing."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lfexp_mcp.answers.comparison import CheckOutcome, Gate, GateCheck, RunMetrics, ScoreComparison, ScoreVerdict
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import UNIT, RunStatus, Scale
from lfexp_mcp.scores.limits import Limit
from lfexp_mcp.services.comparison.conditions import ERROR_RATE, Comparator, Condition, NotWorse, Threshold
from lfexp_mcp.services.comparison.missing_data import (
    MAX_MISSING_SHARE,
    MissingData,
    missing_ended_pairs,
    missing_ends,
    missing_pairs,
    missing_scores,
)
from lfexp_mcp.services.comparison.run_metrics import error_rate_delta
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.statistics.paired import MIN_PAIRS
from lfexp_mcp.statistics.significance import ALPHA

COMPARED_DECIMALS = 9
"""Further decimals hold rounding errors of sums."""
_COMPARE: dict[Comparator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class GateInput:
    """What a gate checks of one run."""

    run: str
    status: RunStatus
    baseline_status: RunStatus
    values: Mapping[str, float]
    """Canonical mean per score, and `error_rate`."""
    scales: Mapping[str, Scale]
    """Per score that has one, and of `error_rate`."""
    deltas: Mapping[str, float]
    verdicts: Mapping[str, ScoreVerdict]
    """Per score, adjusted for the other scores: for a condition on any score."""
    verdicts_alone: Mapping[str, ScoreVerdict]
    """Per score, unadjusted: for a condition that names the score."""
    unusable: Mapping[str, str]
    """Scores that cannot be checked, and why."""
    missing: Mapping[str, MissingData]
    """Per value."""
    missing_pairs: Mapping[str, MissingData]
    """Per delta and verdict."""
    unfair: Mapping[str, str] = field(default_factory=dict)
    """Scores that cannot be compared with the baseline's, and why."""


def gate_input(pair: RunPair, scores: Sequence[ScoreComparison], metrics: RunMetrics) -> GateInput:
    """Collect what a gate checks of a run.

    Args:
        pair: The run and its baseline.
        scores: The comparisons of its scores.
        metrics: Of the run as a whole.
    """
    run, interpretations = pair.run, pair.run.interpretations
    values = {score: mean for score, mean in metrics.means.items() if run.has_scale(score)}
    missing = {score: missing_scores(run, score) for score in values}
    deltas = {one.score: one.delta for one in scores if one.delta is not None}
    pairs = {one.score: missing_pairs(pair, one.score) for one in scores}
    if metrics.error_rate is not None:
        values.setdefault(ERROR_RATE, metrics.error_rate)
        missing.setdefault(ERROR_RATE, missing_ends(run))
    error_delta = error_rate_delta(pair.baseline.record, run.record)
    if error_delta is not None:
        deltas.setdefault(ERROR_RATE, error_delta)
        pairs.setdefault(ERROR_RATE, missing_ended_pairs(pair))
    problems = {score: f"{one.problem}." for score, one in interpretations.items() if one.problem}
    mixed = {score: "it has several makers, and so no mean." for score, one in interpretations.items() if one.mixed}
    return GateInput(
        run=run.name,
        status=run.record.status,
        baseline_status=pair.baseline.record.status,
        values=values,
        scales={ERROR_RATE: UNIT, **{score: one.scale for score, one in interpretations.items() if one.scale}},
        deltas=deltas,
        verdicts={one.score: _tested(one, one.p_adjusted) for one in scores if _has_direction(pair, one.score)},
        verdicts_alone={one.score: _tested(one, one.p) for one in scores},
        unusable=problems | mixed,
        missing=missing,
        missing_pairs=pairs,
        unfair={one.score: one.reason for one in scores if one.verdict == "not comparable"},
    )


def _tested(compared: ScoreComparison, p: float | None) -> ScoreVerdict:
    """A significant loss is worse, whatever the interval: rare gains that may be unseen are no reason to pass it."""
    is_loss = compared.delta is not None and compared.delta < 0
    return "worse" if is_loss and p is not None and p < ALPHA else compared.verdict


def _has_direction(pair: RunPair, score: str) -> bool:
    """Whether it is known which values are better: not for labels, text, and numbers in a unit of their own."""
    interpretations = [run.interpretations[score] for run in (pair.baseline, pair.run) if score in run.interpretations]
    return any(one.scale is not None or (one.problem and not one.own_unit) for one in interpretations)


def check_gate(conditions: Sequence[Condition], runs: Sequence[GateInput], known: Sequence[str]) -> Gate:
    """Check every condition for every run.

    A condition is undecided, and the gate does not pass, if the run (or the baseline, for a difference) is not
    completed, if the value does not exist or cannot be compared fairly, if a result is pending, if more than
    `MAX_MISSING_SHARE` of the values are missing because results failed, were not scored or are not in both runs, or if
    there are too few pairs for a verdict.

    Args:
        conditions: What makes a run fail.
        runs: The runs to check, without the baseline.
        known: All score names.

    Raises:
        UsageError: A condition names a score that no run has, asks for a verdict on the error rate, or has a limit on
            another scale than the score, or that no value can reach.
    """
    meant = [one.among(known) if isinstance(one, Threshold) else one for one in conditions]
    for condition in meant:
        _check_name(condition, runs, known)
        if isinstance(condition, Threshold):
            _check_limit(condition, runs)
    checks = [_check(condition, run) for condition in meant for run in runs]
    return Gate(passed=all(check.outcome == "passed" for check in checks), checks=checks)


def _check_name(condition: Condition, runs: Sequence[GateInput], known: Sequence[str]) -> None:
    name = condition.name
    if name is None or name in known:
        return
    if name != ERROR_RATE:
        # A run without any score may have been planned to have this one.
        if any(not run.values.keys() - {ERROR_RATE} and not run.unusable for run in runs):
            return
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"fail_if {condition.expression!r}: no run has a score {name!r}. Scores: {listed}.")
    if isinstance(condition, NotWorse):
        raise UsageError(
            f"fail_if {condition.expression!r}: there is no verdict on the error rate. "
            f"Write `{ERROR_RATE}.delta>0`, with the rise that is too much."
        )


def _check_limit(condition: Threshold, runs: Sequence[GateInput]) -> None:
    """Refuse a limit that fits the score's scale in no run."""
    wrong = [_misfit(condition, run) for run in runs if condition.name in run.scales]
    if wrong and None not in wrong:
        raise UsageError(f"fail_if {condition.expression!r}: {wrong[0]}.")


def _misfit(condition: Threshold, run: GateInput) -> str | None:
    """Why the limit does not fit the score's scale in a run; None where it does."""
    scale, limit = run.scales[condition.name], condition.limit
    try:
        limit.check_difference(scale) if condition.delta else limit.check(scale)
    except ValueError as error:
        return str(error)
    return None


def _check(condition: Condition, run: GateInput) -> GateCheck:
    if run.status != "completed":
        return _undecided(condition, run, f"the run is {run.status}; a gate needs a completed one.")
    if (isinstance(condition, NotWorse) or condition.delta) and run.baseline_status != "completed":
        return _undecided(condition, run, f"the baseline is {run.baseline_status}; a gate needs a completed one.")
    return _check_worse(condition, run) if isinstance(condition, NotWorse) else _check_threshold(condition, run)


def _check_threshold(condition: Threshold, run: GateInput) -> GateCheck:
    name, limit = condition.name, condition.limit
    what = f"{name}{' delta' if condition.delta else ''}"
    canonical = (run.deltas if condition.delta else run.values).get(name)
    missing = (run.missing_pairs if condition.delta else run.missing).get(name)
    reasons = {**run.unusable, **run.unfair} if condition.delta else run.unusable
    if name in reasons:
        return _undecided(condition, run, f"{what}: {reasons[name]}")
    scale = run.scales.get(name)
    if canonical is None or missing is None or scale is None:
        return _undecided(condition, run, f"{what} has no value in {run.run!r}.")
    if (misfit := _misfit(condition, run)) is not None:
        return _undecided(condition, run, f"{what}: {misfit}.")
    value = (limit.measure_difference if condition.delta else limit.measure)(canonical, scale)
    unit = _unit(condition, scale)
    if not missing.is_tolerable:
        return _undecided(condition, run, f"{what} {_too_much_missing(missing)}", value, unit)
    # Adding 0.0 turns -0.0 into 0.0.
    rounded = round(value, COMPARED_DECIMALS) + 0.0
    failed = _COMPARE[condition.comparator](rounded, round(limit.value, COMPARED_DECIMALS))
    relation = f"is {condition.comparator}" if failed else f"is not {condition.comparator}"
    own = _own_value(condition, canonical, scale)
    message = f"{what} {rounded:.4f} {relation} {limit.value:g} ({unit}{own}), over {missing.share}."
    return _checked(condition, run, "failed" if failed else "passed", message, value, unit)


def _unit(condition: Threshold, scale: Scale) -> str:
    if condition.name == ERROR_RATE and condition.limit.is_canonical:
        return "share of items"
    return "canonical 0-1" if condition.limit.is_canonical else f"own scale {scale.name}"


def _own_value(condition: Threshold, canonical: float, scale: Scale) -> str:
    """Explain the value on the score's own scale, if lower is better there."""
    if not (condition.limit.is_canonical and scale.lower_is_better):
        return ""
    own = Limit(condition.limit.value, scale.high)
    value = (own.measure_difference if condition.delta else own.measure)(canonical, scale) + 0.0
    return f", where 1 is best; {value:.4g} on {scale.name}"


def _check_worse(condition: NotWorse, run: GateInput) -> GateCheck:
    verdicts = run.verdicts_alone if condition.name else run.verdicts
    scores = [condition.name] if condition.name else sorted(verdicts)
    if not scores:
        return _undecided(condition, run, f"there is no score of {run.run!r} to compare.")
    worse = [score for score in scores if verdicts.get(score) == "worse" and _no_verdict(score, verdicts, run) is None]
    undecided = [f"{score} {why}" for score in scores if (why := _no_verdict(score, verdicts, run))]
    if undecided and not worse:
        return _undecided(condition, run, " ".join(undecided))
    over = ", ".join(f"{score}{_delta(score, run)} over {run.missing_pairs[score].share}" for score in worse or scores)
    message = f"Worse than the baseline: {over}." if worse else f"No score is shown to be worse: {over}."
    return _checked(condition, run, "failed" if worse else "passed", message)


def _delta(score: str, run: GateInput) -> str:
    return f" (delta {run.deltas[score]:+.4f})" if score in run.deltas else ""


def _no_verdict(score: str, verdicts: Mapping[str, ScoreVerdict], run: GateInput) -> str | None:
    """Say why there is no verdict on a score; None if there is."""
    missing = run.missing_pairs.get(score)
    reasons = {**run.unusable, **run.unfair}
    if score in reasons:
        return f"cannot be compared: {reasons[score]}"
    if missing is None or verdicts.get(score) in (None, "not comparable"):
        return "cannot be compared."
    if not missing.is_tolerable:
        return _too_much_missing(missing)
    if missing.present < MIN_PAIRS:
        return f"is compared on {missing.share}; at least {MIN_PAIRS} are needed."
    return None


def _too_much_missing(missing: MissingData) -> str:
    return (
        f"has a value on {missing.share} only ({missing.reasons}): a gate needs all results, of which at most "
        f"{MAX_MISSING_SHARE:.0%} may have no value."
    )


def _undecided(
    condition: Condition, run: GateInput, why: str, value: float | None = None, unit: str | None = None
) -> GateCheck:
    return _checked(condition, run, "undecided", f"Cannot be decided: {why}", value, unit)


def _checked(
    condition: Condition,
    run: GateInput,
    outcome: CheckOutcome,
    message: str,
    value: float | None = None,
    unit: str | None = None,
) -> GateCheck:
    return GateCheck(
        expression=condition.expression, run=run.run, outcome=outcome, value=value, unit=unit, message=message
    )
