"""What evaluators return, in one form."""

import math
import numbers
from collections.abc import Mapping
from decimal import Decimal

from pydantic import JsonValue

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import Evaluation, ScoreDataType
from lfexp_mcp.scripts.texts import clean, describe, show
from lfexp_mcp.scripts.values import JsonReading

MAX_TEXT = 500
"""Characters of a label or text that Langfuse keeps as a score."""

_DATA_TYPES: tuple[ScoreDataType, ...] = ("NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT")
_COMMENTS = ("comment", "reasoning", "reason", "explanation", "rationale")
_SHAPES = "Return an Evaluation, a dict with `name` and `value`, a number, a bool, a label or None."


def normalise_result(evaluator_name: str, result: object) -> list[Evaluation]:
    """Bring what an evaluator returned into one form.

    Args:
        evaluator_name: Name of a score that comes without one.
        result: An `Evaluation`, an autoevals score, a dict, a list of these, a number, a bool (BOOLEAN), a
            string (CATEGORICAL) or None.

    Returns:
        The scores, none for None: the evaluator has nothing to say on this item.

    Raises:
        ScriptError: The result is no score: NaN, infinite, or of a kind that cannot be one.
        Exception: Whatever the result's own methods raise when they are asked for its content.
    """
    if isinstance(result, list | tuple):
        evaluated = [score for entry in result for score in _read_entry(evaluator_name, entry)]
        names = [score.name for score in evaluated]
        if len(set(names)) < len(names):
            raise ScriptError(f"The evaluator {evaluator_name!r} returned several scores of one name: {show(names)}.")
        return evaluated
    if result is None or isinstance(result, Mapping) or _is_scored(result):
        return _read_entry(evaluator_name, result)
    return [_evaluated(evaluator_name, evaluator_name, result, None, None, None, None)]


def _read_entry(evaluator_name: str, entry: object) -> list[Evaluation]:
    if entry is None:
        return []
    if isinstance(entry, Mapping):
        return _read(evaluator_name, entry)
    if not _is_scored(entry):
        raise ScriptError(
            f"The evaluator {evaluator_name!r} returned a list that holds {show(entry)}: "
            "its entries need names of their own, as an Evaluation or a dict with `name` and `value`."
        )
    known = ("name", "value", "score", "metadata", "data_type", "config_id", *_COMMENTS)
    return _read(evaluator_name, {key: getattr(entry, key, None) for key in known if hasattr(entry, key)})


def _is_scored(result: object) -> bool:
    return hasattr(result, "name") and (hasattr(result, "value") or hasattr(result, "score"))


def _read(evaluator_name: str, fields: Mapping[object, object]) -> list[Evaluation]:
    if "value" not in fields and "score" not in fields:
        raise ScriptError(f"The evaluator {evaluator_name!r} returned a dict without `value` (or `score`). {_SHAPES}")
    value = fields["value"] if "value" in fields else fields["score"]
    if value is None:
        return []
    metadata = fields.get("metadata")
    comment = _first_text(fields) or (_first_text(metadata) if isinstance(metadata, Mapping) else None)
    name = fields.get("name")
    return [
        _evaluated(
            evaluator_name,
            clean(name) if isinstance(name, str) and name else evaluator_name,
            value,
            fields.get("data_type"),
            comment,
            metadata,
            fields.get("config_id"),
        )
    ]


def _first_text(fields: Mapping[object, object]) -> str | None:
    texts = (fields.get(key) for key in _COMMENTS)
    return next((clean(text) for text in texts if isinstance(text, str) and text), None)


def _evaluated(
    evaluator_name: str,
    name: str,
    value: object,
    data_type: object,
    comment: str | None,
    metadata: object,
    config_id: object,
) -> Evaluation:
    try:
        plain, kind = _value(value, data_type)
    except ValueError as problem:
        raise ScriptError(f"The evaluator {evaluator_name!r} returned {show(value)} for {name!r}: {problem}") from None
    config = clean(config_id) if isinstance(config_id, str) else None
    return Evaluation(name, plain, kind, comment, _metadata(metadata), config)


def _value(value: object, data_type: object) -> tuple[float | bool | str, ScoreDataType]:
    plain = _plain(value)
    kind = _kind(plain, data_type)
    if kind == "BOOLEAN" and plain in {0, 1}:
        return bool(plain), kind
    if kind == "NUMERIC" and not isinstance(plain, str):
        return float(plain), kind
    if kind in {"CATEGORICAL", "TEXT"}:
        text = f"{plain:g}" if isinstance(plain, float) else str(plain)
        if not text or len(text) > MAX_TEXT:
            raise ValueError(f"a {kind} score is 1 to {MAX_TEXT} characters long.")
        return text, kind
    raise ValueError(f"that is no {kind} score.")


def _plain(value: object) -> float | bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, numbers.Real | Decimal):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError("a score has to be finite.")
        return number
    # numpy and torch wrap single values in types of their own.
    unwrap = getattr(value, "item", None)
    inner = unwrap() if callable(unwrap) and getattr(value, "shape", None) == () else None
    if isinstance(inner, bool | int | float | str):
        return _plain(inner)
    raise ValueError(f"that is no score. {_SHAPES}")


def _kind(value: float | bool | str, data_type: object) -> ScoreDataType:
    if data_type is None:
        return "BOOLEAN" if isinstance(value, bool) else "CATEGORICAL" if isinstance(value, str) else "NUMERIC"
    named = describe(getattr(data_type, "value", data_type)).upper()
    known = next((kind for kind in _DATA_TYPES if kind == named), None)
    if known is None:
        raise ValueError(f"its data type {show(data_type)} is none of {', '.join(_DATA_TYPES)}.")
    return known


def _metadata(metadata: object) -> dict[str, JsonValue]:
    """Bring metadata into JSON; what has no JSON of its own is kept as its text."""
    read = JsonReading().read(metadata)
    if read is None:
        return {}
    return read if isinstance(read, dict) else {"metadata": read}
