"""Read what an evaluator returned."""

import math
import numbers
from collections.abc import Mapping
from decimal import Decimal
from typing import get_args

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import Evaluation, ScoreDataType
from lfexp_mcp.scripts.json_conversion import JsonConverter
from lfexp_mcp.scripts.texts import clean, describe, show

MAX_TEXT_CHARS = 500
"""Of a label or text that Langfuse stores as a score."""

_DATA_TYPES: tuple[ScoreDataType, ...] = get_args(ScoreDataType)
_COMMENTS = ("comment", "reasoning", "reason", "explanation", "rationale")
_FIELDS = ("name", "value", "score", "metadata", "data_type", "config_id", *_COMMENTS)
_SHAPES = "Return an Evaluation, a dict with `name` and `value`, a number, a bool, a label or None."


def read_evaluations(evaluator_name: str, returned: object) -> list[Evaluation]:
    """Read what an evaluator returned.

    Args:
        evaluator_name: The name of a score that comes without one.
        returned: An `Evaluation`, an autoevals score, a dict, a list of these, a number, a bool (BOOLEAN), a string
            (CATEGORICAL) or None.

    Returns:
        The evaluations; none for None, since the evaluator does not apply to this item.

    Raises:
        ScriptError: It is not a score, such as NaN.
        Exception: Anything that the methods of a returned object raise.

    Example:
        ```python
        read_evaluations("tone", {"value": 0.5, "reason": "flat"})
        # [Evaluation("tone", 0.5, "NUMERIC", "flat")]
        ```
    """
    if isinstance(returned, list | tuple):
        evaluations = [evaluation for entry in returned for evaluation in _read_entry(evaluator_name, entry)]
        names = [evaluation.name for evaluation in evaluations]
        if len(set(names)) < len(names):
            raise ScriptError(
                f"The evaluator {evaluator_name!r} returned several scores with the same name: {show(names)}."
            )
        return evaluations
    if returned is None or isinstance(returned, Mapping) or _has_score(returned):
        return _read_entry(evaluator_name, returned)
    return _read_fields(evaluator_name, {"value": returned})


def _read_entry(evaluator_name: str, entry: object) -> list[Evaluation]:
    if entry is None:
        return []
    if isinstance(entry, Mapping):
        return _read_fields(evaluator_name, entry)
    if not _has_score(entry):
        raise ScriptError(
            f"The evaluator {evaluator_name!r} returned a list that holds {show(entry)}: "
            "its entries need names of their own, as an Evaluation or a dict with `name` and `value`."
        )
    return _read_fields(evaluator_name, {key: getattr(entry, key) for key in _FIELDS if hasattr(entry, key)})


def _has_score(returned: object) -> bool:
    return hasattr(returned, "name") and (hasattr(returned, "value") or hasattr(returned, "score"))


def _read_fields(evaluator_name: str, fields: Mapping[object, object]) -> list[Evaluation]:
    if "value" not in fields and "score" not in fields:
        raise ScriptError(f"The evaluator {evaluator_name!r} returned a dict without `value` (or `score`). {_SHAPES}")
    given = fields["value"] if "value" in fields else fields["score"]
    if given is None:
        return []
    name = fields.get("name")
    name = clean(name) if isinstance(name, str) and name else evaluator_name
    try:
        value, data_type = _read_value(given, fields.get("data_type"))
    except ValueError as problem:
        raise ScriptError(f"The evaluator {evaluator_name!r} returned {show(given)} for {name!r}: {problem}") from None
    metadata = fields.get("metadata")
    comment = _first_text(fields) or (_first_text(metadata) if isinstance(metadata, Mapping) else None)
    config_id = fields.get("config_id")
    converted = JsonConverter().convert(metadata)
    return [
        Evaluation(
            name=name,
            value=value,
            data_type=data_type,
            comment=comment,
            metadata=converted if isinstance(converted, dict) else {} if converted is None else {"metadata": converted},
            config_id=clean(config_id) if isinstance(config_id, str) else None,
        )
    ]


def _first_text(fields: Mapping[object, object]) -> str | None:
    texts = (fields.get(key) for key in _COMMENTS)
    return next((clean(text) for text in texts if isinstance(text, str) and text), None)


def _read_value(given: object, data_type: object) -> tuple[float | bool | str, ScoreDataType]:
    value = _plain(given)
    kind = _data_type(value, data_type)
    if kind == "BOOLEAN" and value in {0, 1}:
        return bool(value), kind
    if kind == "NUMERIC" and not isinstance(value, str):
        return float(value), kind
    if kind in {"CATEGORICAL", "TEXT"}:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if not text or len(text) > MAX_TEXT_CHARS:
            raise ValueError(f"a {kind} score is 1 to {MAX_TEXT_CHARS} characters long.")
        return text, kind
    raise ValueError(f"it is not a {kind} score.")


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
    # NumPy and PyTorch wrap single values in types of their own.
    unwrap = getattr(value, "item", None)
    inner = unwrap() if callable(unwrap) and getattr(value, "shape", None) == () else None
    if isinstance(inner, bool | int | float | str):
        return _plain(inner)
    raise ValueError(f"it is not a score. {_SHAPES}")


def _data_type(value: float | bool | str, given: object) -> ScoreDataType:
    if given is None:
        return "BOOLEAN" if isinstance(value, bool) else "CATEGORICAL" if isinstance(value, str) else "NUMERIC"
    name = describe(getattr(given, "value", given)).upper()
    for known in _DATA_TYPES:
        if known == name:
            return known
    raise ValueError(f"its data type {show(given)} is not one of {', '.join(_DATA_TYPES)}.")
