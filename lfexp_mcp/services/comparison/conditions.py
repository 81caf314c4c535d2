"""Conditions of a gate, such as `accuracy<0.8`, `quality<4/5`, `accuracy.delta<-2%`, `error_rate>5%` or `worse`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lfexp_mcp.errors import UsageError
from lfexp_mcp.scores.limits import Limit, parse_limit

Comparator = Literal["<", "<=", ">", ">="]
ERROR_RATE = "error_rate"

_COMPARATORS: dict[str, Comparator] = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "≤": "<=", "≥": ">="}
_QUOTED = r"\"[^\"]*\"|'[^']*'|`[^`]*`"
_NAME = rf"(?:{_QUOTED}|[^<>=\"'`≤≥][^<>=≤≥]*?)"
_THRESHOLD = re.compile(
    rf"(?P<name>{_NAME})(?P<delta>\.delta)?\s*(?P<comparator><=|>=|[<>≤≥])\s*(?P<limit>[^<>=]+)", re.DOTALL
)
_NOT_WORSE = re.compile(rf"(?P<name>{_NAME})\.worse", re.DOTALL)
_FORMS = (
    "Write `<score>`, `<score>.delta` or `error_rate` with <, <=, > or >= and a limit, or `worse`, or `<score>.worse`."
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Fails a run if its mean, or its difference to the baseline, is on the wrong side of a limit."""

    expression: str
    name: str
    """A score's name, or `error_rate`."""
    delta: bool
    """Whether the difference to the baseline is meant."""
    comparator: Comparator
    limit: Limit
    whole_name: str | None = None
    """`<name>.delta` if written without quotes, since that may be a score's own name."""

    def among(self, known: Sequence[str]) -> "Threshold":
        """Tell a score whose own name ends in `.delta` from the difference of a score, given all score names."""
        if self.whole_name is not None and self.whole_name in known and self.name not in known:
            return replace(self, name=self.whole_name, delta=False, whole_name=None)
        return self


@dataclass(frozen=True, slots=True)
class NotWorse:
    """Fails a run if a score is shown to be worse than the baseline's."""

    expression: str
    name: str | None
    """The score's; None for any score."""


Condition = Threshold | NotWorse


def parse_condition(expression: str) -> Condition:
    """Parse a condition.

    Example:
        >>> parse_condition("accuracy.delta<-2%").limit.value
        -0.02

    Raises:
        UsageError: It is not a condition; the text lists the forms.
    """
    text = expression.strip()
    if text == "worse":
        return NotWorse(expression, None)
    named = _NOT_WORSE.fullmatch(text)
    if named is not None and (score := _unquoted(named["name"])):
        return NotWorse(expression, score)
    match = _THRESHOLD.fullmatch(text)
    name = _unquoted(match["name"]) if match is not None else ""
    if match is None or not name:
        raise UsageError(f"fail_if {expression!r} is not a condition. {_FORMS}")
    try:
        limit = parse_limit(match["limit"])
    except ValueError as error:
        raise UsageError(f"fail_if {expression!r}: {error}.") from None
    is_bare = name == match["name"].strip()
    whole_name = f"{name}.delta" if match["delta"] and is_bare else None
    return Threshold(expression, name, bool(match["delta"]), _COMPARATORS[match["comparator"]], limit, whole_name)


def _unquoted(name: str) -> str:
    name = name.strip()
    return name[1:-1] if re.fullmatch(_QUOTED, name) else name
