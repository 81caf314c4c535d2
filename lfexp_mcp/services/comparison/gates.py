"""Gates: conditions under which a run fails, such as `accuracy<0.8`, `quality<4/5`, `accuracy.delta<-2%` or `worse`."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lfexp_mcp.answers.comparison import CheckOutcome, Gate, GateCheck, ScoreVerdict
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import RunStatus, Scale
from lfexp_mcp.scores.limits import Limit, parse_limit
from lfexp_mcp.services.comparison.coverage import MOST_LACKING, Coverage
from lfexp_mcp.statistics.paired import MIN_PAIRS

Comparator = Literal["<", "<=", ">", ">="]
ERROR_RATE = "error_rate"
DIGITS = 9
"""Decimal places that are compared: further ones hold what rounding leaves of sums."""

_COMPARE: dict[Comparator, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WRITTEN: dict[str, Comparator] = {
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "≤": "<=",
    "≥": ">=",
}
_QUOTED = r"\"[^\"]*\"|'[^']*'|`[^`]*`"
_NAME = rf"(?:{_QUOTED}|[^<>=\"'`≤≥][^<>=≤≥]*?)"
_CONDITION = re.compile(
    rf"(?P<name>{_NAME})(?P<delta>\.delta)?\s*(?P<comparator><=|>=|[<>≤≥])\s*(?P<limit>[^<>=]+)", re.DOTALL
)
_NOT_WORSE = re.compile(rf"(?P<name>{_NAME})\.worse", re.DOTALL)
_FORMS = (
    "Write `<score>`, `<score>.delta` or `error_rate` with <, <=, > or >= and a limit, or `worse`, or `<score>.worse`."
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Fails where a measure is on the wrong side of a limit."""

    expression: str
    name: str
    """A score's name, or `error_rate`."""
    delta: bool
    """Whether the difference to the baseline is meant."""
    comparator: Comparator
    limit: Limit
    whole_name: str | None = None
    """The text before the comparator where it ends in `.delta` without quotes, which may be a score's own name."""

    def among(self, known: Sequence[str]) -> "Threshold":
        """Tell a difference from a score whose own name ends in `.delta`, given the names that there are."""
        if self.whole_name is not None and self.whole_name in known and self.name not in known:
            return Threshold(self.expression, self.whole_name, False, self.comparator, self.limit)
        return self


@dataclass(frozen=True, slots=True)
class NotWorse:
    """Fails where a score is shown to be worse than the baseline's."""

    expression: str
    name: str | None
    """The score's; None: any score."""


Condition = Threshold | NotWorse


@dataclass(frozen=True, slots=True)
class RunMeasures:
    """What a gate knows of one run."""

    run: str
    status: RunStatus
    baseline_status: RunStatus
    values: Mapping[str, float]
    """Canonical mean per score, and `error_rate`."""
    scales: Mapping[str, Scale]
    """Of each of the scores that have one, and of `error_rate`."""
    deltas: Mapping[str, float]
    verdicts: Mapping[str, ScoreVerdict]
    """Of the scores that are judged together, each adjusted for the others: for a condition on any score."""
    verdicts_alone: Mapping[str, ScoreVerdict]
    """Each at its own level, for a condition that names the score."""
    unusable: Mapping[str, str]
    """Scores that no gate can use, and why."""
    coverage: Mapping[str, Coverage]
    """Of each of the values."""
    pairs: Mapping[str, Coverage]
    """Of each of the deltas and verdicts."""
    unfair: Mapping[str, str] = field(default_factory=dict)
    """Scores that cannot be compared with the baseline's, and why."""


def parse_condition(expression: str) -> Condition:
    """Read one condition.

    Raises:
        UsageError: It cannot be read; the text names it and says which forms there are.
    """
    text = expression.strip()
    if text == "worse":
        return NotWorse(expression, None)
    named = _NOT_WORSE.fullmatch(text)
    if named is not None and (score := _unquoted(named["name"])):
        return NotWorse(expression, score)
    match = _CONDITION.fullmatch(text)
    name = _unquoted(match["name"]) if match is not None else ""
    if match is None or not name:
        raise UsageError(f"fail_if {expression!r} is not a condition. {_FORMS}")
    try:
        limit = parse_limit(match["limit"])
    except ValueError as error:
        raise UsageError(f"fail_if {expression!r}: {error}.") from None
    is_bare = name == match["name"].strip()
    whole_name = f"{name}.delta" if match["delta"] and is_bare else None
    return Threshold(expression, name, bool(match["delta"]), _WRITTEN[match["comparator"]], limit, whole_name)


def _unquoted(name: str) -> str:
    name = name.strip()
    return name[1:-1] if re.fullmatch(_QUOTED, name) else name


def check_gate(conditions: Sequence[Condition], runs: Sequence[RunMeasures], known: Sequence[str]) -> Gate:
    """Check every condition for every run.

    A gate never passes for want of numbers. A condition is undecided, and the gate does not pass, where the run (or
    the baseline, for a difference) is not completed, where it lacks the measure or that cannot be compared fairly,
    where a result is still pending or more than `MOST_LACKING` of them lack a value because they failed, were not
    scored or are not in both runs, and where too few pairs allow no verdict.

    Args:
        conditions: What makes a run fail.
        runs: The runs that are checked, without the baseline.
        known: All score names.

    Raises:
        UsageError: A condition names a score that no run has, asks for a verdict on the error rate, or names a limit
            that is on another scale than the score, or that no value can reach.
    """
    meant = [one.among(known) if isinstance(one, Threshold) else one for one in conditions]
    for condition in meant:
        _check_name(condition, runs, known)
        if isinstance(condition, Threshold):
            _check_limit(condition, runs)
    checks = [_check(condition, run) for condition in meant for run in runs]
    return Gate(passed=all(check.outcome == "passed" for check in checks), checks=checks)


def _check_name(condition: Condition, runs: Sequence[RunMeasures], known: Sequence[str]) -> None:
    name = condition.name
    if name is None or name in known:
        return
    if name != ERROR_RATE:
        # A run without any score may have been meant to have this one.
        if any(not run.values.keys() - {ERROR_RATE} and not run.unusable for run in runs):
            return
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"fail_if {condition.expression!r}: no run has a score {name!r}. Scores: {listed}.")
    if isinstance(condition, NotWorse):
        raise UsageError(
            f"fail_if {condition.expression!r}: there is no verdict on the error rate. "
            f"Write `{ERROR_RATE}.delta>0`, with the rise that is too much."
        )


def _check_limit(condition: Threshold, runs: Sequence[RunMeasures]) -> None:
    """Refuse a limit that fits the score's scale in no run."""
    wrong = [_misfit(condition, run) for run in runs if condition.name in run.scales]
    if wrong and None not in wrong:
        raise UsageError(f"fail_if {condition.expression!r}: {wrong[0]}.")


def _misfit(condition: Threshold, run: RunMeasures) -> str | None:
    """Why the limit does not fit the score's scale in a run; None where it does."""
    scale, limit = run.scales[condition.name], condition.limit
    try:
        limit.check_difference(scale) if condition.delta else limit.check(scale)
    except ValueError as error:
        return str(error)
    return None


def _check(condition: Condition, run: RunMeasures) -> GateCheck:
    if run.status != "completed":
        return _undecided(condition, run, f"the run is {run.status}; a gate needs a completed one.")
    if (isinstance(condition, NotWorse) or condition.delta) and run.baseline_status != "completed":
        return _undecided(condition, run, f"the baseline is {run.baseline_status}; a gate needs a completed one.")
    return _check_worse(condition, run) if isinstance(condition, NotWorse) else _check_threshold(condition, run)


def _check_threshold(condition: Threshold, run: RunMeasures) -> GateCheck:
    name, limit = condition.name, condition.limit
    what = f"{name}{' delta' if condition.delta else ''}"
    canonical = (run.deltas if condition.delta else run.values).get(name)
    coverage = (run.pairs if condition.delta else run.coverage).get(name)
    reasons = {**run.unusable, **run.unfair} if condition.delta else run.unusable
    if name in reasons:
        return _undecided(condition, run, f"{what}: {reasons[name]}")
    scale = run.scales.get(name)
    if canonical is None or coverage is None or scale is None:
        return _undecided(condition, run, f"{what} has no value in {run.run!r}.")
    if (misfit := _misfit(condition, run)) is not None:
        return _undecided(condition, run, f"{what}: {misfit}.")
    value = (limit.measure_difference if condition.delta else limit.measure)(canonical, scale)
    unit = _unit(condition, scale)
    if not coverage.is_enough:
        return _undecided(condition, run, f"{what} {_too_little(coverage)}", value, unit)
    # What is left of a zero may be a negative one.
    rounded = round(value, DIGITS) + 0.0
    failed = _COMPARE[condition.comparator](rounded, round(limit.value, DIGITS))
    relation = f"is {condition.comparator}" if failed else f"is not {condition.comparator}"
    own = _own_value(condition, canonical, scale)
    message = f"{what} {rounded:.4f} {relation} {limit.value:g} ({unit}{own}), over {coverage.share}."
    return _checked(condition, run, "failed" if failed else "passed", message, value, unit)


def _unit(condition: Threshold, scale: Scale) -> str:
    if condition.name == ERROR_RATE and condition.limit.is_canonical:
        return "share of items"
    return "canonical 0-1" if condition.limit.is_canonical else f"own scale {scale.name}"


def _own_value(condition: Threshold, canonical: float, scale: Scale) -> str:
    """What a canonical value is on the score's own scale, for scores of which more is worse."""
    if not (condition.limit.is_canonical and scale.lower_is_better):
        return ""
    own = Limit(condition.limit.value, scale.high)
    value = (own.measure_difference if condition.delta else own.measure)(canonical, scale) + 0.0
    return f", where 1 is best; {value:.4g} on {scale.name}"


def _check_worse(condition: NotWorse, run: RunMeasures) -> GateCheck:
    verdicts = run.verdicts_alone if condition.name else run.verdicts
    scores = [condition.name] if condition.name else sorted(verdicts)
    if not scores:
        return _undecided(condition, run, f"there is no score of {run.run!r} to compare.")
    worse = [score for score in scores if verdicts.get(score) == "worse" and _no_verdict(score, verdicts, run) is None]
    undecided = [f"{score} {why}" for score in scores if (why := _no_verdict(score, verdicts, run))]
    if undecided and not worse:
        return _undecided(condition, run, " ".join(undecided))
    over = ", ".join(f"{score}{_delta(score, run)} over {run.pairs[score].share}" for score in worse or scores)
    message = f"Worse than the baseline: {over}." if worse else f"No score is shown to be worse: {over}."
    return _checked(condition, run, "failed" if worse else "passed", message)


def _delta(score: str, run: RunMeasures) -> str:
    return f" (delta {run.deltas[score]:+.4f})" if score in run.deltas else ""


def _no_verdict(score: str, verdicts: Mapping[str, ScoreVerdict], run: RunMeasures) -> str | None:
    """Why nothing can be said of a score; None where something can."""
    coverage = run.pairs.get(score)
    reasons = {**run.unusable, **run.unfair}
    if score in reasons:
        return f"cannot be compared: {reasons[score]}"
    if coverage is None or verdicts.get(score) in (None, "not comparable"):
        return "cannot be compared."
    if not coverage.is_enough:
        return _too_little(coverage)
    if coverage.have < MIN_PAIRS:
        return f"is compared on {coverage.share}; at least {MIN_PAIRS} are needed."
    return None


def _too_little(coverage: Coverage) -> str:
    return (
        f"has a value on {coverage.share} only ({coverage.lacking}): a gate needs all results, of which "
        f"{MOST_LACKING:.0%} may lack a value."
    )


def _undecided(
    condition: Condition, run: RunMeasures, why: str, value: float | None = None, unit: str | None = None
) -> GateCheck:
    return _checked(condition, run, "undecided", f"Cannot be decided: {why}", value, unit)


def _checked(
    condition: Condition,
    run: RunMeasures,
    outcome: CheckOutcome,
    message: str,
    value: float | None = None,
    unit: str | None = None,
) -> GateCheck:
    return GateCheck(
        expression=condition.expression, run=run.run, outcome=outcome, value=value, unit=unit, message=message
    )
