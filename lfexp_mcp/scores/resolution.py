"""Which scale scores are on: as their judge or script declares, a score config or a prompt states, else 0-10."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.model import BOOLEAN, TEN, UNIT, Category, Scale, ScaleSource
from lfexp_mcp.scores.stated import PASS_FAIL, YES_NO, parse_range, stated_scale

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
_HOW = 'Write it as "0-10", "percent", "pass/fail" or [1, 5], or labels as {"good": 1, "fair": 0.5, "bad": 0}.'


@dataclass(frozen=True, slots=True)
class ResolvedScale:
    """A judge's scale and where it was found."""

    scale: Scale
    source: ScaleSource


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an evaluator, or one evaluation, declares of its score."""

    scale: Scale | None = None
    lower_is_better: bool | None = None
    """None where it says nothing of it."""


class ScoreConfigLike(Protocol):
    """The part of a Langfuse score config that says which values it allows."""

    @property
    def name(self) -> str:
        """The name of the scores that it is for."""

    @property
    def data_type(self) -> str:
        """NUMERIC, BOOLEAN, CATEGORICAL or TEXT."""

    @property
    def min_value(self) -> float | None:
        """Least number allowed."""

    @property
    def max_value(self) -> float | None:
        """Greatest number allowed."""

    @property
    def categories(self) -> tuple[Category, ...]:
        """Labels with their values."""


def resolve_judge_scale(
    prompt_config: Mapping[str, JsonValue], score_config: ScoreConfigLike | None, prompt_text: str
) -> ResolvedScale:
    """Find the scale of a judge.

    Args:
        prompt_config: Config of the judge's prompt; the keys `scale`, `categories` and `lower_is_better`
            count.
        score_config: Langfuse's score config of the score's name, if there is one.
        prompt_text: The prompt's own text, all messages together, not filled in.

    Raises:
        JudgeError: The prompt's config declares a scale that cannot be read.
    """
    try:
        lower = _direction(prompt_config)
        found = _find(prompt_config, score_config, prompt_text)
    except ValueError as error:
        raise JudgeError(f"The judge's config declares {error}") from None
    if not lower:
        return found
    if found.scale.categories:
        raise JudgeError(
            f"`lower_is_better` needs a scale of numbers, but this judge's is {found.scale.name}: "
            "give the labels values in `categories` instead."
        )
    return ResolvedScale(found.scale.lower_better(), found.source)


def read_declaration(given: Mapping[str, JsonValue]) -> Declaration:
    """Read what an evaluator declares.

    Args:
        given: Its attributes, or an evaluation's metadata; the keys `scale` and `lower_is_better` count.

    Raises:
        ValueError: It cannot be read; the text says what it declares, and how to write it.
    """
    return Declaration(_declared({"scale": given.get("scale")}), _direction(given))


def with_direction(scale: Scale, lower_is_better: bool | None) -> Scale:
    """Return a scale with the direction that is declared beside it.

    Raises:
        ValueError: Its labels have values already.
    """
    if not lower_is_better:
        return scale
    if scale.kind == "CATEGORICAL":
        raise ValueError(f"`lower_is_better` for the labels {scale.name}: give the worse ones lower values instead.")
    return scale.lower_better()


def _direction(config: Mapping[str, JsonValue]) -> bool | None:
    lower = config.get("lower_is_better")
    if lower is not None and not isinstance(lower, bool):
        raise ValueError(f"`lower_is_better` as {lower!r}: it must be true or false.")
    return lower


def _find(
    prompt_config: Mapping[str, JsonValue], score_config: ScoreConfigLike | None, prompt_text: str
) -> ResolvedScale:
    if (declared := _declared(prompt_config)) is not None:
        return ResolvedScale(declared, "prompt config")
    if score_config is not None and (configured := configured_scale(score_config)) is not None:
        return ResolvedScale(configured, "score config")
    if (stated := stated_scale(prompt_text)) is not None:
        return ResolvedScale(stated, "prompt text")
    return ResolvedScale(TEN, "default")


def _declared(config: Mapping[str, JsonValue]) -> Scale | None:
    if (categories := config.get("categories")) is not None:
        return _scale_of_categories(_categories(categories))
    declared = config.get("scale")
    if declared is None:
        return None
    scale = _scale_of(declared)
    if scale is None:
        raise ValueError(f"the scale {declared!r}, which cannot be read. {_HOW}")
    return scale


def _scale_of(declared: JsonValue) -> Scale | None:
    if isinstance(declared, str):
        return _NAMED.get(declared.strip().lower()) or parse_range(declared)
    if isinstance(declared, list) and len(declared) == 2:
        return _range(declared[0], declared[1])
    if isinstance(declared, dict):
        low, high = declared.get("min", declared.get("low")), declared.get("max", declared.get("high"))
        return _scale_of_categories(_categories(declared)) if low is None and high is None else _range(low, high)
    return None


def _range(low: JsonValue, high: JsonValue) -> Scale | None:
    if not (_is_number(low) and _is_number(high)):
        return None
    try:
        return Scale(float(str(low)), float(str(high)))
    except ValueError:
        return None


def _categories(declared: JsonValue) -> tuple[Category, ...]:
    """Read labels with values, `{label: value}` or `[{"label", "value"}]`, or labels alone, `[label]`."""
    entries: list[tuple[JsonValue, JsonValue]]
    if isinstance(declared, dict):
        entries = list(declared.items())
    elif isinstance(declared, list):
        entries = [
            (entry.get("label"), entry.get("value")) if isinstance(entry, dict) else (entry, None) for entry in declared
        ]
    else:
        entries = []
    read = [
        Category(label.strip(), float(str(value)) if value is not None else None)
        for label, value in entries
        if isinstance(label, str) and label.strip() and (value is None or _is_number(value))
    ]
    if len(read) < 2 or len(read) != len(entries) or len({known.label.casefold() for known in read}) < len(read):
        raise ValueError(f"the categories {declared!r}, which cannot be read. {_HOW}")
    return tuple(read)


def _scale_of_categories(categories: tuple[Category, ...]) -> Scale:
    values = [category.value for category in categories if category.value is not None]
    if len(values) == len(categories):
        if min(values) == max(values):
            raise ValueError("categories that all have the same value: give them different ones.")
        return Scale(min(values), max(values), kind="CATEGORICAL", categories=categories)
    return Scale(0, 1, kind="CATEGORICAL", categories=categories)


def configured_scale(config: ScoreConfigLike) -> Scale | None:
    """Return the scale that a score config states; None for one that leaves its ends open, or allows text."""
    if config.data_type == "BOOLEAN":
        return BOOLEAN
    if config.data_type == "CATEGORICAL" and len({each.value for each in config.categories}) > 1:
        return _scale_of_categories(config.categories)
    if config.data_type == "NUMERIC" and config.min_value is not None and config.max_value is not None:
        both = (config.min_value, config.max_value)
        return UNIT if both == (0, 1) else _range(*both)
    return None


def scales_of_configs(configs: Sequence[ScoreConfigLike]) -> dict[str, Scale]:
    """Return the scales that score configs state, by name; of several of a name the newest counts.

    Args:
        configs: The project's, newest first.
    """
    scales = {config.name: configured_scale(config) for config in reversed(configs)}
    return {name: scale for name, scale in scales.items() if scale is not None}


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
