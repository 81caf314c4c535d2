"""Gates: whether runs pass conditions. A gate never passes because data is missing."""

import operator
from collections.abc import Callable, Sequence

from lfexp_mcp.answers.comparison import CheckOutcome, Gate, GateCheck, ScoreVerdict
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import Scale
from lfexp_mcp.scores.limits import Limit
from lfexp_mcp.services.comparison.conditions import ERROR_RATE, Comparator, Condition, NotWorse, Threshold
from lfexp_mcp.services.comparison.gate_input import GateInput, Measure
from lfexp_mcp.services.comparison.missing_data import MAX_MISSING_SHARE, MissingData
from lfexp_mcp.statistics.paired import MIN_PAIRS

COMPARED_DECIMALS = 9
"""Further decimals hold rounding errors of sums."""
_COMPARE: dict[Comparator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_gate(conditions: Sequence[Condition], runs: Sequence[GateInput], known: Sequence[str]) -> Gate:
    """Check every condition for every run.

    A run that its stopping rule ended has a verdict by one score: conditions on that verdict follow it, and one that it
    is worse fails the gate. All others are undecided, as of any part of a run.

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
    # Only now it is known which scores there are, whose names may end in `.delta`.
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
        if any(not _has_scores(run) for run in runs):
            return
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"fail_if {condition.expression!r}: no run has a score {name!r}. Scores: {listed}.")
    if isinstance(condition, NotWorse):
        raise UsageError(
            f"fail_if {condition.expression!r}: there is no verdict on the error rate. "
            f"Write `{ERROR_RATE}.delta>0`, with the rise that is too much."
        )


def _has_scores(run: GateInput) -> bool:
    scores = (measure for score, measure in run.measures.items() if score != ERROR_RATE)
    return any(measure.value is not None or measure.problem for measure in scores)


def _check_limit(condition: Threshold, runs: Sequence[GateInput]) -> None:
    """Refuse a limit that fits the score's scale in no run."""
    scales = [measure.scale for run in runs if (measure := run.measures.get(condition.name)) and measure.scale]
    wrong = [_misfit(condition, scale) for scale in scales]
    if wrong and None not in wrong:
        raise UsageError(f"fail_if {condition.expression!r}: {wrong[0]}.")


def _misfit(condition: Threshold, scale: Scale) -> str | None:
    """Say why the limit does not fit a score's scale; None if it does."""
    try:
        condition.limit.check_difference(scale) if condition.delta else condition.limit.check(scale)
    except ValueError as error:
        return str(error)
    return None


def _check(condition: Condition, run: GateInput) -> GateCheck:
    is_decided = run.status == "stopped" and run.decided is not None and isinstance(condition, NotWorse)
    if run.status != "completed" and not is_decided:
        return _undecided(condition, run, f"the run is {run.status}; a gate needs a completed one.")
    is_relative = isinstance(condition, NotWorse) or condition.delta
    if is_relative and run.baseline_status != "completed":
        return _undecided(condition, run, f"the baseline is {run.baseline_status}; a gate needs a completed one.")
    return _check_worse(condition, run) if isinstance(condition, NotWorse) else _check_threshold(condition, run)


def _check_threshold(condition: Threshold, run: GateInput) -> GateCheck:
    name, limit = condition.name, condition.limit
    what = f"{name}{' delta' if condition.delta else ''}"
    measure = run.measures.get(name, Measure())
    canonical = measure.delta if condition.delta else measure.value
    missing = measure.missing_pairs if condition.delta else measure.missing
    problem = (measure.unfair if condition.delta else None) or measure.problem
    if problem is not None:
        return _undecided(condition, run, f"{what}: {problem}")
    scale = measure.scale
    if canonical is None or missing is None or scale is None:
        return _undecided(condition, run, f"{what} has no value in {run.run!r}.")
    if (misfit := _misfit(condition, scale)) is not None:
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
    # Rounded to the limit, a value would not differ from it.
    shown = f"{rounded:.4f}" if round(rounded, 4) != round(limit.value, 4) else f"{rounded:.{COMPARED_DECIMALS}g}"
    message = f"{what} {shown} {relation} {limit.value:g} ({unit}{own}), over {missing.share}."
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
    value = (own.measure_difference if condition.delta else own.measure)(canonical, scale)
    return f", where 1 is best; {round(value, COMPARED_DECIMALS) + 0.0:.4g} on {scale.name}"


def _check_worse(condition: NotWorse, run: GateInput) -> GateCheck:
    if condition.name is not None:
        measure = run.measures.get(condition.name, Measure())
        measures = {condition.name: measure}
        verdicts = {condition.name: measure.verdict_alone}
    else:
        measures = {score: one for score, one in sorted(run.measures.items()) if one.verdict is not None}
        verdicts = {score: one.verdict for score, one in measures.items()}
    if not measures:
        return _undecided(condition, run, f"there is no score of {run.run!r} to compare.")
    doubts = {score: _no_verdict(one, verdicts[score]) for score, one in measures.items()}
    worse = [score for score, verdict in verdicts.items() if verdict == "worse" and doubts[score] is None]
    undecided = [f"{score} {doubt}" for score, doubt in doubts.items() if doubt is not None]
    if undecided and not worse:
        return _undecided(condition, run, " ".join(undecided))
    over = ", ".join(f"{score}{_shown_delta(measures[score])}" for score in worse or measures)
    message = f"Worse than the baseline: {over}." if worse else f"No score is shown to be worse: {over}."
    return _checked(condition, run, "failed" if worse else "passed", message)


def _shown_delta(measure: Measure) -> str:
    delta = f" (delta {measure.delta:+.4f})" if measure.delta is not None else ""
    return f"{delta} over {measure.missing_pairs.share}" if measure.missing_pairs else delta


def _no_verdict(measure: Measure, verdict: ScoreVerdict | None) -> str | None:
    """Say why there is no verdict on a score; None if there is."""
    problem, missing = measure.unfair or measure.problem, measure.missing_pairs
    if problem is not None:
        return f"cannot be compared: {problem}"
    if missing is None or verdict in (None, "not comparable"):
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
    is_relative = isinstance(condition, NotWorse) or condition.delta
    part = run.part or (run.baseline_part if is_relative else None)
    return GateCheck(
        expression=condition.expression,
        run=run.run,
        outcome=outcome,
        value=value,
        unit=unit,
        message=f"{message} On a part of the dataset: {part}." if part else message,
        part=part,
    )
