"""What the values of a score name mean in a run: their kind, their scale, and the canonical value of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError

from lfexp_mcp.records import RunRecord, Score, ScoreDataType, ScoreSource
from lfexp_mcp.scale import BOOLEAN, TEN, UNIT, Scale

SOURCES: tuple[ScoreSource, ...] = ("API", "EVAL", "ANNOTATION")
"""In a run a name's values come from one source, the first of these that has any: a human's number is not on a
judge's scale."""

OBSERVED = "observed values"
"""Source of a scale that the values themselves had to tell."""

_SCALE: TypeAdapter[Scale] = TypeAdapter(Scale)


@dataclass(frozen=True, slots=True)
class ScoreReading:
    """How the values of one score name are to be read, in one run."""

    name: str
    data_type: ScoreDataType
    source: ScoreSource
    """Only scores of this source count; see `SOURCES`."""
    scale: Scale | None
    """None for text, for categories without values, and for numbers that fit no scale: those stay raw, out of
    every gate."""
    scale_source: str | None
    stored_canonical: bool
    """Whether the values are on 0-1 already, as judges' are, or still on `scale`."""
    prompt: str | None = None
    """The judge's prompt, where a judge gave the score."""

    def canonical(self, score: Score) -> float | None:
        """The score's value from 0 (worst) to 1 (best); None where it has no such value, or lies outside its scale."""
        if isinstance(score.value, str):
            category = self.scale.category(score.value) if self.scale else None
            if self.scale is None or category is None or category.value is None:
                return None
            return self.scale.normalise(category.value)
        if self.scale is None or (score.clamped and score.raw is not None and self.scale.within(score.raw) is None):
            return None
        scale = UNIT if self.stored_canonical or isinstance(score.value, bool) else self.scale
        on_scale = scale.within(score.value)
        return None if on_scale is None else scale.normalise(on_scale)

    def raw(self, score: Score) -> float | None:
        """The score's number on its own scale; None for a label."""
        if isinstance(score.value, str):
            return None
        if score.raw is not None:
            return score.raw
        return self.scale.raw(score.value) if self.scale and self.stored_canonical else float(score.value)


def read_scores(
    record: RunRecord, human_scales: Mapping[str, Scale], *, beside: Sequence[RunRecord] = ()
) -> dict[str, ScoreReading]:
    """Work out how each score name of a run is to be read.

    A judge's scale was recorded when it ran, a human's is stated by its score config. Other numbers are 0-1; when some
    lie beyond, the set is read as 0-10; when some lie beyond that too, it has no scale.

    Args:
        record: The run.
        human_scales: What score configs state, by the name of the human score, which is always that of its config.
        beside: Runs that it is compared with: a scale belongs to a name, so their values count when one has
            to be found.

    Returns:
        One reading per score name, names in alphabetical order; names that were never scored are absent.
    """
    judges, humans = _declared(record), _configured(human_scales)
    own = _values_by_name(score for item in record.items for score in item.scores)
    values = _values_by_name(score for one in (record, *beside) for item in one.items for score in item.scores)
    readings = {}
    for name in sorted(own):
        source = next(source for source in SOURCES if source in own[name])
        declared = judges.get(name) if source == "API" else humans.get(name) if source == "ANNOTATION" else None
        readings[name] = _reading(name, source, values[name][source], declared)
    return readings


def read_human_scores(scores: Iterable[Score], human_scales: Mapping[str, Scale]) -> dict[str, ScoreReading]:
    """Work out how the human scores among some are to be read, whatever else has their names.

    Args:
        scores: Of any source.
        human_scales: What score configs state, see `read_scores`.
    """
    humans = _configured(human_scales)
    values = _values_by_name(score for score in scores if score.source == "ANNOTATION")
    return {name: _reading(name, "ANNOTATION", found["ANNOTATION"], humans.get(name)) for name, found in values.items()}


def _reading(name: str, source: ScoreSource, values: "_Values", declared: "_Declared | None") -> ScoreReading:
    kind = values.data_type
    if declared is not None:
        scale = declared.scale if kind in {"NUMERIC", "BOOLEAN"} or _has_values(declared.scale) else None
        canonical = source != "ANNOTATION"
        return ScoreReading(name, kind, source, scale, declared.source, canonical, declared.prompt)
    if kind == "BOOLEAN":
        return ScoreReading(name, kind, source, BOOLEAN, None, stored_canonical=True)
    if kind != "NUMERIC":
        return ScoreReading(name, kind, source, None, None, stored_canonical=False)
    if values.within(UNIT):
        return ScoreReading(name, kind, source, UNIT, "default of evaluators", stored_canonical=False)
    if values.within(TEN):
        return ScoreReading(name, kind, source, TEN, OBSERVED, stored_canonical=False)
    return ScoreReading(name, kind, source, None, OBSERVED, stored_canonical=False)


@dataclass(slots=True)
class _Values:
    """What a name's values of one source look like: kinds, and the least and greatest number."""

    kinds: set[ScoreDataType]
    least: float = float("inf")
    greatest: float = float("-inf")

    def within(self, scale: Scale) -> bool:
        return scale.low <= self.least and self.greatest <= scale.high

    @property
    def data_type(self) -> ScoreDataType:
        """The kind of all values together; numbers with booleans are numbers, any other mixture categories."""
        if len(self.kinds) == 1:
            return next(iter(self.kinds))
        return "NUMERIC" if self.kinds == {"NUMERIC", "BOOLEAN"} else "CATEGORICAL"


def _values_by_name(scores: Iterable[Score]) -> dict[str, dict[ScoreSource, _Values]]:
    found: dict[str, dict[ScoreSource, _Values]] = {}
    for score in scores:
        values = found.setdefault(score.name, {}).setdefault(score.source, _Values(set()))
        values.kinds.add(score.data_type)
        if not isinstance(score.value, str):
            values.least = min(values.least, score.value)
            values.greatest = max(values.greatest, score.value)
    return found


@dataclass(frozen=True, slots=True)
class _Declared:
    """A judge's scale, as the run recorded it, or a human's, as its score config states it."""

    scale: Scale
    source: str | None
    prompt: str | None = None


def _configured(human_scales: Mapping[str, Scale]) -> dict[str, _Declared]:
    return {name: _Declared(scale, "score config") for name, scale in human_scales.items()}


def _declared(record: RunRecord) -> dict[str, _Declared]:
    scales = record.provenance.get("scales")
    if not isinstance(scales, dict):
        return {}
    parsed = {name: _parse(entry) for name, entry in scales.items()}
    return {name: declared for name, declared in parsed.items() if declared is not None}


def _parse(entry: JsonValue) -> _Declared | None:
    """Read one entry of the provenance; None for a foreign one, since anybody can write a run's metadata."""
    if not isinstance(entry, dict):
        return None
    known = {key: entry[key] for key in Scale.__dataclass_fields__ if key in entry}
    try:
        scale = _SCALE.validate_python(known)
    except ValidationError:
        return None
    source, prompt = entry.get("source"), entry.get("prompt")
    return _Declared(scale, source if isinstance(source, str) else None, prompt if isinstance(prompt, str) else None)


def _has_values(scale: Scale) -> bool:
    return bool(scale.categories) and all(category.value is not None for category in scale.categories)
