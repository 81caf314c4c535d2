"""Gates: conditions under which a run fails, such as `accuracy<0.8`, `accuracy.delta<-0.02` or `worse`."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lfexp_mcp.answers.comparison import ComparedVerdict, Gate, GateCheck
from lfexp_mcp.errors import UsageError

Comparator = Literal["<", "<=", ">", ">="]
ERROR_RATE = "error_rate"

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
    values: Mapping[str, float]
    """Canonical mean per score, and `error_rate`."""
    deltas: Mapping[str, float]
    verdicts: Mapping[str, ComparedVerdict]
    unusable: Mapping[str, str]
    """Scores that no gate can use, and why."""


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
    return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def check_gate(conditions: Sequence[Condition], runs: Sequence[RunMeasures], known: Sequence[str]) -> Gate:
    """Check every condition for every run.

    A gate never passes for want of numbers: a condition fails where the run lacks its measure, where that cannot be
    compared fairly, and where no score can be said to be worse or not.

    Args:
        conditions: What makes a run fail.
        runs: The runs that are checked, without the baseline.
        known: All score names, for the error.

    Raises:
        UsageError: A condition names a score that no run has, or asks for a verdict on the error rate.
    """
    for condition in conditions:
        name = condition.measure if isinstance(condition, Threshold) else condition.score
        if name is None or name in known:
            continue
        if name != ERROR_RATE:
            listed = ", ".join(sorted(known)) or "none"
            raise UsageError(f"fail_if {condition.expression!r}: no run has a score {name!r}. Scores: {listed}.")
        if isinstance(condition, NotWorse):
            raise UsageError(
                f"fail_if {condition.expression!r}: there is no verdict on the error rate. "
                f"Write `{ERROR_RATE}.delta>0`, with the rise that is too much."
            )
    checks = [_check(condition, run) for condition in conditions for run in runs]
    return Gate(passed=all(check.passed for check in checks), checks=checks)


def _check(condition: Condition, run: RunMeasures) -> GateCheck:
    if isinstance(condition, NotWorse):
        return _check_worse(condition, run)
    measures = run.deltas if condition.delta else run.values
    value = measures.get(condition.measure)
    what = f"{condition.measure}{' delta' if condition.delta else ''}"
    if condition.measure in run.unusable:
        return _checked(condition, run, passed=False, message=f"{what}: {run.unusable[condition.measure]}")
    if value is None:
        return _checked(condition, run, passed=False, message=f"{what} has no value in {run.run!r}.")
    failed = _COMPARE[condition.comparator](value, condition.limit)
    relation = f"is {condition.comparator}" if failed else f"is not {condition.comparator}"
    return _checked(
        condition, run, passed=not failed, value=value, message=f"{what} {value:.4f} {relation} {condition.limit:g}."
    )


def _check_worse(condition: NotWorse, run: RunMeasures) -> GateCheck:
    scores = [condition.score] if condition.score else sorted(run.verdicts)
    if not scores:
        return _checked(condition, run, passed=False, message=f"There is no score of {run.run!r} to compare.")
    unusable = [score for score in scores if score not in run.verdicts or run.verdicts[score] == "not comparable"]
    if unusable:
        return _checked(condition, run, passed=False, message=f"Cannot be compared: {', '.join(unusable)}.")
    worse = [score for score in scores if run.verdicts[score] == "worse"]
    message = f"Worse than the baseline: {', '.join(worse)}." if worse else "No score is shown to be worse."
    return _checked(condition, run, passed=not worse, message=message)


def _checked(
    condition: Condition, run: RunMeasures, *, passed: bool, message: str, value: float | None = None
) -> GateCheck:
    return GateCheck(expression=condition.expression, run=run.run, passed=passed, value=value, message=message)
