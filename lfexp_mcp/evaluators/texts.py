"""Evaluators of texts: equality, parts, patterns and similarity."""

import re
import warnings
from typing import ClassVar

from pydantic import Field, JsonValue, field_validator

from lfexp_mcp.evaluators.base import BuiltIn, UnscoredError, require
from lfexp_mcp.evaluators.numbers import find_numbers
from lfexp_mcp.evaluators.values import as_decimal, descend, equal, kind_of, normalise, parse_text, same, show, to_text
from lfexp_mcp.model import Evaluation

MAX_PATTERN_CHARS = 1000
MATCH_TIMEOUT_S = 1.0
MAX_COMPARED_CHARS = 100_000
"""Of two texts whose similarity is measured: that takes time by the product of their lengths."""


class ExactMatch(BuiltIn):
    """Whether the output is the expected one; see `values` for what is the same."""

    evaluator: ClassVar[str] = "exact_match"

    ignore_case: bool = False
    any_of: bool = False
    """Whether the expected output is a list of which any member may be the output."""

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        expected = require(expected_output)
        if self.any_of and (not isinstance(expected, list) or not expected):
            raise UnscoredError(f"With any_of, the expected_output must be a list, not {show(expected)}.")
        allowed = expected if self.any_of and isinstance(expected, list) else [expected]
        if output is not None and any(same(output, one, ignore_case=self.ignore_case) for one in allowed):
            return self.evaluation(True)
        return self.evaluation(False, f"{show(output)} where {show(expected)} is expected")


class Contains(BuiltIn):
    """Whether the output contains the expected output: a text, or all texts of a list.

    A number is contained only as a number of its own: 5 is not in `15` or `5.75`. In objects and lists, the values are
    searched, not the names of members; an object is contained in one that has its members.
    """

    evaluator: ClassVar[str] = "contains"
    main_option: ClassVar[str | None] = "value"

    value: str | list[str] | None = None
    """What to look for, in the place of the expected output."""
    ignore_case: bool = True

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        wanted: JsonValue = require(expected_output) if self.value is None else self.value  # type: ignore[assignment]
        parts = wanted if isinstance(wanted, list) else [wanted]
        if not parts or any(isinstance(part, str) and not part.strip() for part in parts):
            raise UnscoredError("There is nothing to look for: what is to be contained is empty.")
        missing = [part for part in parts if output is None or not self._is_in(output, part)]
        return self.evaluation(not missing, f"It lacks {', '.join(map(show, missing[:5]))}." if missing else None)

    def _is_in(self, output: JsonValue, part: JsonValue) -> bool:
        values = descend(output)
        if isinstance(part, dict):
            return any(
                isinstance(value, dict) and all(name in value and equal(value[name], part[name]) for name in part)
                for value in values
            )
        if isinstance(part, int | float) and not isinstance(part, bool):
            number = as_decimal(part)
            return any(
                equal(value, part)
                or (isinstance(value, str) and any(found.value == number for found in find_numbers(value)))
                for value in values
            )
        text = normalise(to_text(part), ignore_case=self.ignore_case)
        return any(
            text in normalise(to_text(value), ignore_case=self.ignore_case)
            for value in values
            if value is not None and not isinstance(value, list | dict)
        )


class Regex(BuiltIn):
    """Whether a pattern is found in the output: Python's syntax, searched for anywhere, NFC on both sides.

    The pattern is the option, else the item's expected output. Outputs other than texts are searched as JSON.
    """

    evaluator: ClassVar[str] = "regex"
    main_option: ClassVar[str | None] = "pattern"

    pattern: str | None = None

    @field_validator("pattern")
    @classmethod
    def _is_valid(cls, pattern: str | None) -> str | None:
        return None if pattern is None else checked_pattern(pattern)

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        pattern = self.pattern
        if pattern is None:
            given = require(expected_output)
            if not isinstance(given, str):
                raise UnscoredError(f"The expected_output must be a pattern, not {kind_of(given)}.")
            try:
                pattern = checked_pattern(given)
            except ValueError as error:
                raise UnscoredError(f"The expected_output is not a pattern: {error}.") from None
        if output is None:
            return self.evaluation(False, "The output is null.")
        text = to_text(output)
        found = search(normalise_form(pattern), normalise_form(text))
        return self.evaluation(found, None if found else f"{show(pattern)} is not in {show(text)}.")


class EditSimilarity(BuiltIn):
    """How alike output and expected output are: 1 - Levenshtein distance / length of the longer, in code points."""

    evaluator: ClassVar[str] = "edit_similarity"
    main_option: ClassVar[str | None] = "threshold"

    threshold: float | None = Field(default=None, gt=0, le=1)
    """The similarity from which the item passes; the score is then whether it does."""
    ignore_case: bool = False

    @property
    def scale(self) -> str | None:
        """See `BuiltIn`."""
        return "0-1" if self.threshold is None else "true/false"

    def __call__(self, *, output: JsonValue, expected_output: JsonValue) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        expected = require(expected_output)
        one, other = (normalise(text, ignore_case=self.ignore_case) for text in _comparable(output, expected))
        # Time grows with the product: a short text may be compared with a very long one.
        if len(one) * len(other) > MAX_COMPARED_CHARS**2:
            raise UnscoredError(f"Texts of {len(one):,} and {len(other):,} characters are too long to compare.")
        from rapidfuzz.distance import Levenshtein

        similarity = 0.0 if output is None else Levenshtein.normalized_similarity(one, other)
        if self.threshold is None:
            return self.evaluation(similarity)
        return self.evaluation(similarity >= self.threshold, f"similarity {similarity:.3f}")


def _comparable(output: JsonValue, expected: JsonValue) -> tuple[str, str]:
    """Return two values as texts in which the spelling of JSON makes no difference."""
    if isinstance(output, str) and isinstance(expected, list | dict):
        return _respelled(output), to_text(expected)
    if isinstance(expected, str) and isinstance(output, list | dict):
        return to_text(output), _respelled(expected)
    return to_text(output), to_text(expected)


def _respelled(text: str) -> str:
    try:
        return to_text(parse_text(text))
    except ValueError:
        return text


def normalise_form(text: str) -> str:
    """Return a text in NFC, with everything else as it is."""
    import unicodedata

    return unicodedata.normalize("NFC", text)


def checked_pattern(pattern: str) -> str:
    """Return a pattern that Python's `re` compiles.

    Raises:
        ValueError: It does not, or the pattern is empty or very long.
    """
    if not pattern:
        raise ValueError("an empty pattern is found in every text")
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"a pattern has at most {MAX_PATTERN_CHARS} characters")
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern {show(pattern)} cannot be compiled: {error}") from None
    return pattern


_BRACE = re.compile(r"\\.|\{(?!\d+(?:,\d*)?\}|,\d+\})", re.DOTALL)


def search(pattern: str, text: str) -> bool:
    """Whether a pattern of Python's `re` is found in a text.

    It is searched for by the package `regex`, which, unlike `re`, stops after a time and lets other threads run: there
    are patterns that take `re` longer than the age of the universe.

    Raises:
        UnscoredError: It took longer than `MATCH_TIMEOUT_S`.
    """
    import regex

    # Braces that do not repeat anything would be read as approximate matches, which `re` does not know.
    literal = _BRACE.sub(lambda found: found[0] if found[0] != "{" else r"\{", pattern)
    try:
        return regex.search(literal, text, timeout=MATCH_TIMEOUT_S) is not None
    except TimeoutError:
        raise UnscoredError(f"The pattern {show(pattern)} took longer than {MATCH_TIMEOUT_S:g} s.") from None
    except regex.error as error:
        raise UnscoredError(f"The pattern {show(pattern)} cannot be compiled: {error}.") from None
