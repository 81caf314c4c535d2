"""Gates: conditions under which a run fails, such as `accuracy<0.8`, `accuracy.delta<-0.02` or `worse`."""

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lfexp_mcp.answers.comparison import ComparedVerdict, Gate, GateCheck
from lfexp_mcp.errors import UsageError
from lfexp_mcp.records import RunStatus
from lfexp_mcp.scores.pass_mark import on_unit
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
_CONDITION = re.compile(r"(?P<measure>.*?)\s*(?P<comparator><=|>=|<|>)\s*(?P<limit>\S+)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
_FORMS = (
    "Write `<score>`, `<score>.delta` or `error_rate` with <, <=, > or >= and a number, or `worse`, or `<score>.worse`."
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Fails where a measure is on the wrong side of a number."""

    expression: str
    measure: str
    """A score's name, or `error_rate`."""
    delta: bool
    """Whether the difference to the baseline is meant."""
    comparator: Comparator
    limit: float
    """As it was written, a percentage divided by 100."""


@dataclass(frozen=True, slots=True)
class NotWorse:
    """Fails where a score is shown to be worse than the baseline's."""

    expression: str
    score: str | None
    """None: any score."""


Condition = Threshold | NotWorse


@dataclass(frozen=True, slots=True)
class RunMeasures:
    """What a gate knows of one run."""

    run: str
    status: RunStatus
    values: Mapping[str, float]
    """Canonical mean per score, and `error_rate`."""
    deltas: Mapping[str, float]
    verdicts: Mapping[str, ComparedVerdict]
    """Each adjusted for the others, for a condition on any score."""
    verdicts_alone: Mapping[str, ComparedVerdict]
    """Each at its own level, for a condition that names the score."""
    unusable: Mapping[str, str]
    """Scores that no gate can use, and why."""
    coverage: Mapping[str, Coverage]
    """Of each of the values."""
    pairs: Mapping[str, Coverage]
    """Of each of the deltas and verdicts."""


def parse_condition(expression: str) -> Condition:
    """Read one condition.

    Raises:
        UsageError: It is none; the text names it and says which forms there are.
    """
    text = expression.strip()
    if text == "worse":
        return NotWorse(expression, None)
    match = _CONDITION.fullmatch(text)
    if match is None:
        score = _unquoted(text.removesuffix(".worse"))
        if text.endswith(".worse") and score:
            return NotWorse(expression, score)
        raise UsageError(f"fail_if {expression!r} is no condition. {_FORMS}")
    measure = match["measure"]
    delta = measure.endswith(".delta")
    name = _unquoted(measure.removesuffix(".delta"))
    if not name:
        raise UsageError(f"fail_if {expression!r} names no score before {match['comparator']!r}. {_FORMS}")
    comparator: Comparator = next(known for known in _COMPARE if known == match["comparator"])
    return Threshold(expression, name, delta, comparator, _number(match["limit"], expression))


def _unquoted(name: str) -> str:
    name = name.strip()
    quoted = len(name) >= 2 and name[0] == name[-1] and name[0] in "\"'`"
    return name[1:-1] if quoted else name


def _number(text: str, expression: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise UsageError(f"fail_if {expression!r}: {text!r} is no number. {_FORMS}")
    number = float(text.removesuffix("%"))
    if text.endswith("%") and abs(number) > 100:
        raise UsageError(f"fail_if {expression!r}: {text} is beyond 100%.")
    return number / (100 if text.endswith("%") else 1)


def check_gate(conditions: Sequence[Condition], runs: Sequence[RunMeasures], known: Sequence[str]) -> Gate:
    """Check every condition for every run.

    A gate never passes for want of numbers. A condition cannot be decided, and fails, where the run is not completed,
    where it lacks the measure or that cannot be compared fairly, where more than `MOST_LACKING` of the results lack a
    value because they failed, were not run or were not scored, and where too few pairs allow no verdict.

    Args:
        conditions: What makes a run fail.
        runs: The runs that are checked, without the baseline.
        known: All score names, for the error.

    Raises:
        UsageError: A condition names a score that no run has, asks for a verdict on the error rate, or names a limit
            that no value can reach.
    """
    unusable = {score for run in runs for score in run.unusable}
    for condition in conditions:
        _check_name(condition, known)
    limits = [None if isinstance(condition, NotWorse) else _limit(condition, unusable) for condition in conditions]
    checks = [
        _check(condition, limit, run) for condition, limit in zip(conditions, limits, strict=True) for run in runs
    ]
    return Gate(passed=all(check.passed for check in checks), checks=checks)


def _check_name(condition: Condition, known: Sequence[str]) -> None:
    name = condition.measure if isinstance(condition, Threshold) else condition.score
    if name is None or name in known:
        return
    if name != ERROR_RATE:
        listed = ", ".join(sorted(known)) or "none"
        raise UsageError(f"fail_if {condition.expression!r}: no run has a score {name!r}. Scores: {listed}.")
    if isinstance(condition, NotWorse):
        raise UsageError(
            f"fail_if {condition.expression!r}: there is no verdict on the error rate. "
            f"Write `{ERROR_RATE}.delta>0`, with the rise that is too much."
        )


def _limit(condition: Threshold, unusable: Collection[str]) -> float:
    """The limit on 0-1: that of a mean is read as `score_threshold` is, above 1 on 0-10."""
    limit = condition.limit
    if condition.measure in unusable:
        return limit
    if condition.delta and abs(limit) > 1:
        raise _out_of_reach(condition, "a difference lies between -1 and 1: write -0.02 or -2%, say")
    if condition.delta:
        return limit
    if condition.measure == ERROR_RATE and not 0 <= limit <= 1:
        raise _out_of_reach(condition, "a rate lies between 0 and 1: write 0.05 or 5%, say")
    try:
        return on_unit(limit)
    except ValueError:
        raise _out_of_reach(condition, "scores lie between 0 and 1: write 0.8 or 80%, or 8 on 0-10, say") from None


def _out_of_reach(condition: Threshold, why: str) -> UsageError:
    return UsageError(f"fail_if {condition.expression!r}: {condition.limit:g} is no limit here; {why}.")


def _check(condition: Condition, limit: float | None, run: RunMeasures) -> GateCheck:
    if run.status != "completed":
        return _undecided(condition, run, f"the run is {run.status}; a gate needs a completed one.")
    if isinstance(condition, NotWorse) or limit is None:
        return _check_worse(condition, run)
    return _check_threshold(condition, limit, run)


def _check_threshold(condition: Threshold, limit: float, run: RunMeasures) -> GateCheck:
    name = condition.measure
    what = f"{name}{' delta' if condition.delta else ''}"
    value = (run.deltas if condition.delta else run.values).get(name)
    coverage = (run.pairs if condition.delta else run.coverage).get(name)
    if name in run.unusable:
        return _undecided(condition, run, f"{what}: {run.unusable[name]}")
    if value is None or coverage is None:
        return _undecided(condition, run, f"{what} has no value in {run.run!r}.")
    if not coverage.is_enough:
        return _undecided(condition, run, f"{what} {_too_little(coverage)}", value)
    # What is left of a zero may be a negative one.
    rounded = round(value, DIGITS) + 0.0
    failed = _COMPARE[condition.comparator](rounded, round(limit, DIGITS))
    relation = f"is {condition.comparator}" if failed else f"is not {condition.comparator}"
    read = "" if limit == condition.limit else f" ({condition.limit:g} on 0-10)"
    message = f"{what} {rounded:.4f} {relation} {limit:g}{read}, over {coverage.share}."
    return GateCheck(
        expression=condition.expression, run=run.run, passed=not failed, decided=True, value=value, message=message
    )


def _check_worse(condition: Condition, run: RunMeasures) -> GateCheck:
    named = condition.score if isinstance(condition, NotWorse) else None
    verdicts = run.verdicts_alone if named else run.verdicts
    scores = [named] if named else sorted(verdicts)
    if not scores:
        return _undecided(condition, run, f"there is no score of {run.run!r} to compare.")
    worse = [score for score in scores if verdicts.get(score) == "worse"]
    undecided = [f"{score} {why}" for score in scores if (why := _no_verdict(score, verdicts, run))]
    if undecided and not worse:
        return _undecided(condition, run, " ".join(undecided))
    over = ", ".join(f"{score} over {run.pairs[score].share}" for score in worse or scores)
    message = f"Worse than the baseline: {over}." if worse else f"No score is shown to be worse: {over}."
    return GateCheck(
        expression=condition.expression, run=run.run, passed=not worse, decided=True, value=None, message=message
    )


def _no_verdict(score: str, verdicts: Mapping[str, ComparedVerdict], run: RunMeasures) -> str | None:
    """Why nothing can be said of a score; None where something can."""
    coverage = run.pairs.get(score)
    if coverage is None or verdicts.get(score) in (None, "not comparable"):
        return "cannot be compared."
    if not coverage.is_enough:
        return _too_little(coverage)
    if coverage.have < MIN_PAIRS:
        return f"is compared on {coverage.share}; at least {MIN_PAIRS} are needed."
    return None


def _too_little(coverage: Coverage) -> str:
    return (
        f"has a value on {coverage.share} only ({coverage.lacking}): "
        f"a gate lets {MOST_LACKING:.0%} of them be without one."
    )


def _undecided(condition: Condition, run: RunMeasures, why: str, value: float | None = None) -> GateCheck:
    message = f"Cannot be decided: {why}"
    return GateCheck(
        expression=condition.expression, run=run.run, passed=False, decided=False, value=value, message=message
    )
