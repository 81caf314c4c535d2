"""The scale that somebody declares for a score: a judge's prompt, its config, a score config, or an evaluator."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.model import BOOLEAN, TEN, Category, Scale, ScaleSource
from lfexp_mcp.scores.prompt_scale import PASS_FAIL, YES_NO, parse_range, scale_in_prompt

_NAMED: dict[str, Scale] = {
    "percent": Scale(0, 100),
    "percentage": Scale(0, 100),
    "%": Scale(0, 100),
    "boolean": BOOLEAN,
    "bool": BOOLEAN,
    "true/false": BOOLEAN,
    "pass/fail": PASS_FAIL,
    "yes/no": YES_NO,
}
MAX_UNIT_CHARS = 20
_HOW = 'Write it as "0-10", "percent", "pass/fail" or [1, 5], or labels as {"good": 1, "fair": 0.5, "bad": 0}.'


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an evaluator, or the metadata of one evaluation, declares about the score."""

    scale: Scale | None = None
    lower_is_better: bool | None = None
    """None if it does not say."""
    unit: str | None = None
    """Of values without a scale."""


def resolve_judge_scale(
    prompt_config: Mapping[str, JsonValue], configured: Scale | None, prompt_text: str
) -> tuple[Scale, ScaleSource]:
    """Find the scale of a judge: in its prompt's config, a score config, or the prompt's text; else 0-10.

    Args:
        prompt_config: Config of the judge's prompt; the keys `scale`, `categories` and `lower_is_better` count.
        configured: The scale in the score config of the score's name.
        prompt_text: All messages of the prompt together, not filled in.

    Returns:
        The scale, and where it was found.

    Raises:
        JudgeError: The prompt's config declares a scale that cannot be read.
    """
    source: ScaleSource = "prompt config"
    try:
        lower_is_better = _lower_is_better(prompt_config)
        scale = _declared(prompt_config)
    except ValueError as error:
        raise JudgeError(f"The judge's config declares {error}") from None
    if scale is None:
        scale, source = configured, "score config"
    if scale is None:
        scale, source = scale_in_prompt(prompt_text), "prompt text"
    if scale is None:
        scale, source = TEN, "default"
    if lower_is_better and scale.categories:
        raise JudgeError(
            f"`lower_is_better` needs a scale of numbers, but this judge's is {scale.name}: "
            "give the labels values in `categories` instead."
        )
    return scale.lower_better() if lower_is_better else scale, source


def read_declaration(given: Mapping[str, JsonValue]) -> Declaration:
    """Read what an evaluator declares.

    Args:
        given: Its attributes, or an evaluation's metadata; the keys `scale`, `unit` and `lower_is_better` count.

    Raises:
        ValueError: It cannot be read; the text says what it declares, and how to write it.
    """
    scale, unit = _declared({"scale": given.get("scale")}), given.get("unit")
    if unit is not None and not (isinstance(unit, str) and 0 < len(unit) <= MAX_UNIT_CHARS):
        raise ValueError(f"the unit {unit!r}, which must be a text of up to {MAX_UNIT_CHARS} characters.")
    if unit is not None and scale is not None:
        raise ValueError(f"both the unit {unit!r} and the scale {scale.name}: declare one of them.")
    return Declaration(scale, _lower_is_better(given), unit if isinstance(unit, str) else None)


def with_direction(scale: Scale, lower_is_better: bool | None) -> Scale:
    """Return a scale with the direction that is declared beside it.

    Raises:
        ValueError: The scale has labels, whose values tell the direction.
    """
    if not lower_is_better:
        return scale
    if scale.kind == "CATEGORICAL":
        raise ValueError(f"`lower_is_better` for the labels {scale.name}: give the worse ones lower values instead.")
    return scale.lower_better()


def _lower_is_better(config: Mapping[str, JsonValue]) -> bool | None:
    lower = config.get("lower_is_better")
    if lower is not None and not isinstance(lower, bool):
        raise ValueError(f"`lower_is_better` as {lower!r}: it must be true or false.")
    return lower


def _declared(config: Mapping[str, JsonValue]) -> Scale | None:
    if (categories := config.get("categories")) is not None:
        return Scale.of_categories(_categories(categories))
    declared = config.get("scale")
    if declared is None:
        return None
    scale: Scale | None = None
    if isinstance(declared, str):
        scale = _NAMED.get(declared.strip().lower()) or parse_range(declared)
    elif isinstance(declared, list) and len(declared) == 2:
        scale = _range(declared[0], declared[1])
    elif isinstance(declared, dict):
        # With a third one, "low" and "high" are labels: {"low": 0, "medium": 0.5, "high": 1}.
        ends = ("low", "high") if declared.keys() == {"low", "high"} else ("min", "max")
        if declared.keys().isdisjoint(ends):
            return Scale.of_categories(_categories(declared))
        scale = _range(*map(declared.get, ends))
    if scale is None:
        raise ValueError(f"the scale {declared!r}, which cannot be read. {_HOW}")
    return scale


def _range(low: JsonValue, high: JsonValue) -> Scale | None:
    if not (_is_number(low) and _is_number(high)):
        return None
    try:
        # From their texts: an integer beyond a float's range becomes infinite, which a scale refuses.
        return Scale(float(str(low)), float(str(high)))
    except ValueError:
        return None


def _categories(declared: JsonValue) -> tuple[Category, ...]:
    """Read labels with values, `{label: value}` or `[{"label", "value"}]`, or labels alone, `[label]`."""
    entries: list[tuple[JsonValue, JsonValue]] = []
    if isinstance(declared, dict):
        entries = list(declared.items())
    elif isinstance(declared, list):
        entries = [
            (entry.get("label"), entry.get("value")) if isinstance(entry, dict) else (entry, None) for entry in declared
        ]
    read = [
        Category(label.strip(), float(str(value)) if value is not None else None)
        for label, value in entries
        if isinstance(label, str) and label.strip() and (value is None or _is_number(value))
    ]
    if len(read) < 2 or len(read) != len(entries) or len({known.label.casefold() for known in read}) < len(read):
        raise ValueError(f"the categories {declared!r}, which cannot be read. {_HOW}")
    return tuple(read)


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
