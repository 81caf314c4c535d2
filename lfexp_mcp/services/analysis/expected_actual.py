"""Failing results by expected and actual output: a confusion table of labels, kinds of difference of numbers."""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice

from pydantic import JsonValue

from lfexp_mcp.model import ItemResult, ResultKey
from lfexp_mcp.services.answer_size import truncate_text

MIN_REPEATED_SHARE = 0.75
"""Expected outputs are labels if values that occur several times make up this share of them."""
MAX_NUMBER_LABELS = 12
"""More distinct numbers are quantities, though some may coincide."""
MIN_NUMBER_SHARE = 0.9
MAX_FIELDS = 20
"""Fields of expected objects that are looked at."""
MAX_LABEL_CHARS = 60
"""Of a label that is shown."""
MAX_KEPT_CHARS = 500
"""Of a label that is compared."""
MIN_ABSORBED = 4
"""Labels that one output is given for, so that it is named once instead of once for each of them."""
NOT_A_LABEL, NO_OUTPUT, MISSING, ANY = "(not a label)", "(no output)", "(missing)", "(any)"
EQUAL = "equal, yet failing"
OTHERS = "(others)"
"""Key of what is in no other group."""
_WHOLE_FLOAT = re.compile(r"\d(?:\.0|e)")
"""Where JSON may hold one, such as `1.0` or `1e+16`."""


@dataclass(frozen=True, slots=True)
class LabelledResult:
    """A result by the labels of what was expected and of what came, without these themselves.

    See `label_of`; each field is a label of its own, behind that of the whole value.
    """

    key: ResultKey
    fields: tuple[str | None, ...]
    """Names of the fields that are labelled, None for the whole value."""
    output: str
    """The label of the whole output, whatever it is."""
    is_object: bool
    """Whether the output is one."""
    has_expected: bool
    expected: tuple[str | None, ...]
    """Of each of `fields`; None where there is none, and for an object as a whole."""
    actual: tuple[str | None, ...]

    @classmethod
    def of(cls, result: ItemResult, fields: tuple[str | None, ...]) -> "LabelledResult":
        """Label a result."""
        output, expected = result.output, result.expected_output
        whole = label_of(output)
        actual = (_part(output, field) for field in fields)
        return cls(
            result.key,
            fields,
            whole,
            isinstance(output, dict),
            expected is not None,
            tuple(_part(expected, field) for field in fields),
            # Equal texts are held once.
            tuple(whole if label == whole else label for label in actual),
        )


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    """Failing results that are wrong in the same way."""

    key: str
    """Such as `"spam" -> "ham"`."""
    indices: tuple[int, ...]
    """Of the failing results."""
    of: int
    """Results of the run with this expected output, failing or not."""
    labels: tuple[str, ...] = ()
    """The label expected and the one given; empty for numbers, and for results that fail although they are equal."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """The failing results by what was expected of an output, or of one field of outputs that are objects."""

    cells: tuple[ConfusionCell, ...]
    indices: tuple[int, ...]
    """Of all failing results that are compared."""
    labels: bool
    """Whether labels were expected, rather than numbers."""


@dataclass(frozen=True, slots=True)
class _Pair:
    index: int
    expected: str
    actual: str


def expected_fields(results: Iterable[ItemResult]) -> tuple[str | None, ...]:
    """Return what to label of the results: the whole values, which are None here, and the fields of objects."""
    expected = (item.expected_output for item in results)
    names = dict.fromkeys(name for value in expected if isinstance(value, dict) for name in value)
    return (None, *islice(names, MAX_FIELDS))


def group_by_expected(results: Sequence[LabelledResult], failing: Sequence[LabelledResult]) -> list[Confusion]:
    """Group failing results whose expected outputs are labels or numbers.

    Args:
        results: The run's succeeded results; they tell whether expected outputs are labels.
        failing: Those of them to group.
    """
    fields = results[0].fields if results else ()
    found = (_confusion(results, failing, *each) for each in enumerate(fields))
    return [confusion for confusion in found if confusion is not None and confusion.cells]


def _confusion(
    results: Sequence[LabelledResult], failing: Sequence[LabelledResult], at: int, field: str | None
) -> Confusion | None:
    labels = Counter(
        label for label in {item.key[0]: item.expected[at] for item in results}.values() if label is not None
    )
    pairs = list(_pairs(failing, at))
    indices = tuple(pair.index for pair in pairs)
    if not _is_judged_by_equality(results, failing, at):
        return None
    # Few numbers, such as ratings, are labels; many are quantities, whose pairs hardly recur.
    if _are_numbers(labels) and len(labels) > MAX_NUMBER_LABELS:
        return Confusion(tuple(_named(field, _number_cells(pairs))), indices, labels=False)
    if not _are_labels(labels):
        return None
    known = Counter(label for item in results if (label := item.expected[at]) is not None)
    given = Counter(label for item in results if (label := item.actual[at]) is not None)
    vocabulary = known.keys() | {label for label, count in given.items() if count > 1} | {NO_OUTPUT, MISSING, '""'}
    cells = _label_cells(pairs, known, vocabulary)
    without = tuple(index for index, item in enumerate(failing) if field is None and not item.has_expected)
    if without:
        cells.append(ConfusionCell("(no expected output)", without, len(failing)))
    return Confusion(tuple(_named(field, cells)), (*indices, *without), labels=True)


def _is_judged_by_equality(results: Sequence[LabelledResult], failing: Sequence[LabelledResult], at: int) -> bool:
    """Whether most passing outputs equal the expected one, and do not just contain it, for example."""
    failed = {item.key for item in failing}
    compared = [
        expected == actual or (_number(expected) is not None and _number(expected) == _number(actual))
        for item in results
        if item.key not in failed
        and (expected := item.expected[at]) is not None
        and (actual := item.actual[at]) is not None
    ]
    return sum(compared) * 2 >= len(compared)


def _named(field: str | None, cells: Sequence[ConfusionCell]) -> Iterator[ConfusionCell]:
    for cell in cells:
        yield cell if field is None or cell.key == OTHERS else replace(cell, key=f"{field}: {cell.key}")


def _part(value: JsonValue, field: str | None) -> str | None:
    """The label of a value that is not an object, or of one field of an object; None if there is none."""
    if field is not None:
        return label_of(value[field]) if isinstance(value, dict) and field in value else None
    return None if value is None or isinstance(value, dict) else label_of(value)


def label_of(value: JsonValue) -> str:
    """Write a value as JSON, in which equal numbers are equal: `1` and `1.0`, but not `"1"` or `true`.

    A long one is cut, with a digest of the whole behind it, since the labels of all results are in memory together.
    """
    if value is None:
        return NO_OUTPUT
    label = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if not isinstance(value, str) and _WHOLE_FLOAT.search(label):
        label = json.dumps(json.loads(label, parse_float=_whole), ensure_ascii=False, sort_keys=True)
    if len(label) > MAX_KEPT_CHARS:
        label = f"{label[:MAX_KEPT_CHARS]}… {sha256(label.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return label


def _whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _are_labels(labels: Counter[str]) -> bool:
    """Whether values are classes: they repeat."""
    total = labels.total()
    repeated = sum(count for count in labels.values() if count > 1)
    return 0 < len(labels) * 2 <= total and repeated >= MIN_REPEATED_SHARE * total


def _are_numbers(labels: Counter[str]) -> bool:
    numbers = sum(count for label, count in labels.items() if _number(label) is not None)
    return bool(labels) and numbers >= MIN_NUMBER_SHARE * labels.total()


def _number(label: str) -> float | None:
    """The number that a label is, or that its text is, with separators between thousands."""
    if label in ("true", "false", NO_OUTPUT):
        return None
    try:
        number = float(label.strip('"').replace(",", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _pairs(failing: Sequence[LabelledResult], at: int) -> Iterator[_Pair]:
    for index, item in enumerate(failing):
        expected = item.expected[at]
        # The first is the whole output.
        actual = item.output if at == 0 else item.actual[at] or (MISSING if item.is_object else None)
        if expected is not None and actual is not None and (at == 0 or expected != actual):
            yield _Pair(index, expected, actual)


def _number_cells(pairs: Sequence[_Pair]) -> list[ConfusionCell]:
    kinds: dict[str, list[int]] = {}
    for pair in pairs:
        kinds.setdefault(_difference(pair), []).append(pair.index)
    return [ConfusionCell(kind, tuple(indices), len(pairs)) for kind, indices in kinds.items()]


def _difference(pair: _Pair) -> str:
    """How two numbers differ, if it is a typical error."""
    expected, actual = _number(pair.expected), _number(pair.actual)
    if expected is None:
        return OTHERS
    if actual is None:
        return NO_OUTPUT if pair.actual == NO_OUTPUT else "(not a number)"
    if expected == actual:
        return EQUAL
    if expected == -actual:
        return "the other sign"
    if expected * actual > 0:
        power = math.log10(abs(actual)) - math.log10(abs(expected))
        if abs(power - round(power)) < 1e-9 and round(power):
            return f"expected × 10^{round(power)}"  # noqa: RUF001
    if abs(expected - actual) == 1:
        return "off by one"
    return "rounded" if abs(expected - actual) < 1 and round(expected) == round(actual) else OTHERS


def _label_cells(pairs: Sequence[_Pair], known: Counter[str], vocabulary: set[str]) -> list[ConfusionCell]:
    equal = tuple(pair.index for pair in pairs if pair.expected == pair.actual)
    wrong = [
        _Pair(pair.index, pair.expected, pair.actual if pair.actual in vocabulary else NOT_A_LABEL)
        for pair in pairs
        if pair.expected != pair.actual
    ]
    # First outputs that are given for many labels, then labels that are missed in many ways.
    wrong = _absorbed(wrong, by_actual=True)
    wrong = _absorbed(wrong, by_actual=False)
    cells: dict[tuple[str, str], list[int]] = {}
    for pair in wrong:
        cells.setdefault((pair.expected, pair.actual), []).append(pair.index)
    found = [
        ConfusionCell(_arrow(*labels), tuple(indices), known.total() if labels[0] == ANY else known[labels[0]], labels)
        for labels, indices in cells.items()
    ]
    return [*found, *([ConfusionCell(EQUAL, equal, len(pairs))] if equal else [])]


def _absorbed(pairs: Sequence[_Pair], *, by_actual: bool) -> list[_Pair]:
    """Name an output once that is given for many labels, or a label once for which many outputs are given."""
    many: set[str] = set()
    for value in {pair.actual if by_actual else pair.expected for pair in pairs} - {ANY}:
        others = Counter(
            pair.expected if by_actual else pair.actual
            for pair in pairs
            if (pair.actual if by_actual else pair.expected) == value
        )
        alike = others.total()
        if len(others) >= MIN_ABSORBED and 2 * alike >= len(pairs) and 2 * max(others.values()) < alike:
            many.add(value)
    if by_actual:
        return [_Pair(pair.index, ANY if pair.actual in many else pair.expected, pair.actual) for pair in pairs]
    return [_Pair(pair.index, pair.expected, ANY if pair.expected in many else pair.actual) for pair in pairs]


def _arrow(expected: str, actual: str) -> str:
    texts = truncate_text(expected, MAX_LABEL_CHARS), truncate_text(actual, MAX_LABEL_CHARS)
    if unicodedata.normalize("NFC", expected) == unicodedata.normalize("NFC", actual):
        # They look alike: only their escapes tell them apart.
        texts = ascii(texts[0])[1:-1], ascii(texts[1])[1:-1]
    return " -> ".join(texts)
