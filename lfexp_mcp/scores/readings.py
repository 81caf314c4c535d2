"""What the values of a score name mean in a run: their kind, their scale, and the canonical value of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter, ValidationError

from lfexp_mcp.makers import JudgeMaker, ScoreMaker, ScoreOrigin, are_mixed
from lfexp_mcp.records import RunRecord, Score, ScoreDataType
from lfexp_mcp.scale import BOOLEAN, TEN, UNIT, Scale

ORIGINS: tuple[ScoreOrigin, ...] = ("run", "api", "langfuse", "human")
"""In a run a name's values are of one origin, the first of these that has any: what others wrote under the name of a
judge's score is another score, and a human's number is not on a judge's scale."""

OBSERVED = "observed values"
"""Source of a scale that the values themselves had to tell."""

_SCALE: TypeAdapter[Scale] = TypeAdapter(Scale)


@dataclass(frozen=True, slots=True)
class ScoreReading:
    """How the values of one score name are to be read, in one run."""

    name: str
    data_type: ScoreDataType
    origin: ScoreOrigin
    """Only scores of this origin count; see `ORIGINS`."""
    scale: Scale | None
    """None for text, for categories without values, and for numbers that fit no scale: those stay raw, out of
    every gate."""
    scale_source: str | None
    makers: tuple[ScoreMaker, ...] = ()
    """Of the scores that count, in the order of the items; see `mixed`."""

    @property
    def mixed(self) -> bool:
        """Whether the scores are of makers whose values do not mean the same: no mean stands for them."""
        return len(self.makers) > 1 and are_mixed(self.makers)

    @property
    def prompt(self) -> str | None:
        """The judge's prompt, where a judge gave the score."""
        return next((maker.prompt for maker in self.makers if isinstance(maker, JudgeMaker)), None)

    @property
    def stored_canonical(self) -> bool:
        """Whether the numbers are on 0-1 already, as judges' are, or still on `scale`."""
        return self.prompt is not None

    def counts(self, score: Score) -> bool:
        """Tell whether a score is one of those that are read: of this name, and of the origin that counts."""
        return score.name == self.name and score.maker.origin == self.origin

    def canonical(self, score: Score) -> float | None:
        """The score's value from 0 (worst) to 1 (best); None where it has no such value, or lies outside its scale."""
        scale = self._scale_of(score)
        if scale is None:
            return None
        if isinstance(score.value, str):
            category = scale.category(score.value)
            return scale.normalise(category.value) if category and category.value is not None else None
        if score.clamped and score.raw is not None and scale.within(score.raw) is None:
            return None
        scale = UNIT if isinstance(score.maker, JudgeMaker) or isinstance(score.value, bool) else scale
        on_scale = scale.within(score.value)
        return None if on_scale is None else scale.normalise(on_scale)

    def raw(self, score: Score) -> float | None:
        """The score's number on its own scale; None for a label."""
        if isinstance(score.value, str):
            return None
        if score.raw is not None:
            return score.raw
        scale = self._scale_of(score)
        return scale.raw(score.value) if scale and isinstance(score.maker, JudgeMaker) else float(score.value)

    def _scale_of(self, score: Score) -> Scale | None:
        """The scale of the judge that gave this very score: another version may have had another one."""
        if isinstance(score.maker, JudgeMaker) and score.maker.scale is not None and self.scale is not None:
            return score.maker.scale
        return self.scale


def read_scores(
    record: RunRecord, human_scales: Mapping[str, Scale], *, beside: Sequence[RunRecord] = ()
) -> dict[str, ScoreReading]:
    """Work out how each score name of a run is to be read.

    A judge's scale is part of each of its scores, a human's is stated by its score config. Other numbers are 0-1; when
    some lie beyond, the set is read as 0-10; when some lie beyond that too, it has no scale.

    Args:
        record: The run.
        human_scales: What score configs state, by the name of the human score, which is always that of its config.
        beside: Runs that it is compared with: a scale belongs to a name, so their values count when one has
            to be found.

    Returns:
        One reading per score name, names in alphabetical order; names that were never scored are absent.
    """
    recorded, humans = _recorded(record), _configured(human_scales)
    own = _values_by_name(score for item in record.items for score in item.scores)
    values = _values_by_name(score for one in (record, *beside) for item in one.items for score in item.scores)
    readings = {}
    for name in sorted(own):
        origin = next(origin for origin in ORIGINS if origin in own[name])
        makers = tuple(own[name][origin].makers)
        declared = humans.get(name) if origin == "human" else _of_judges(makers, recorded.get(name))
        readings[name] = _reading(name, origin, values[name][origin], declared, makers)
    return readings


def read_human_scores(scores: Iterable[Score], human_scales: Mapping[str, Scale]) -> dict[str, ScoreReading]:
    """Work out how the human scores among some are to be read, whatever else has their names.

    Args:
        scores: Of any source.
        human_scales: What score configs state, see `read_scores`.
    """
    humans = _configured(human_scales)
    values = _values_by_name(score for score in scores if score.source == "ANNOTATION")
    return {
        name: _reading(name, "human", found["human"], humans.get(name), tuple(found["human"].makers))
        for name, found in values.items()
    }


def _reading(
    name: str, origin: ScoreOrigin, values: "_Values", declared: "_Declared | None", makers: tuple[ScoreMaker, ...]
) -> ScoreReading:
    kind = values.data_type
    if declared is not None:
        scale = declared.scale if kind in {"NUMERIC", "BOOLEAN"} or _has_values(declared.scale) else None
        return ScoreReading(name, kind, origin, scale, declared.source, makers)
    if kind == "BOOLEAN":
        return ScoreReading(name, kind, origin, BOOLEAN, None, makers)
    if kind != "NUMERIC":
        return ScoreReading(name, kind, origin, None, None, makers)
    if values.within(UNIT):
        return ScoreReading(name, kind, origin, UNIT, "default of evaluators", makers)
    if values.within(TEN):
        return ScoreReading(name, kind, origin, TEN, OBSERVED, makers)
    return ScoreReading(name, kind, origin, None, OBSERVED, makers)


@dataclass(slots=True)
class _Values:
    """What a name's values of one origin look like: kinds, makers, and the least and greatest number."""

    kinds: set[ScoreDataType]
    makers: dict[ScoreMaker, None]
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


def _values_by_name(scores: Iterable[Score]) -> dict[str, dict[ScoreOrigin, _Values]]:
    found: dict[str, dict[ScoreOrigin, _Values]] = {}
    for score in scores:
        values = found.setdefault(score.name, {}).setdefault(score.maker.origin, _Values(set(), {}))
        values.kinds.add(score.data_type)
        values.makers[score.maker] = None
        if not isinstance(score.value, str):
            values.least = min(values.least, score.value)
            values.greatest = max(values.greatest, score.value)
    return found


@dataclass(frozen=True, slots=True)
class _Declared:
    """A judge's scale, or a human's, as its score config states it."""

    scale: Scale
    source: str | None


def _configured(human_scales: Mapping[str, Scale]) -> dict[str, _Declared]:
    return {name: _Declared(scale, "score config") for name, scale in human_scales.items()}


def _of_judges(makers: Sequence[ScoreMaker], recorded: _Declared | None) -> _Declared | None:
    """The scale of the judges that gave a name's scores; canonical 0-1 where their scales differ.

    Args:
        makers: Of the scores.
        recorded: What version 0.1 recorded of the run, whose judges' scores may not tell their scale.
    """
    judges = [maker for maker in makers if isinstance(maker, JudgeMaker)]
    if not judges:
        return None
    declared = {_Declared(judge.scale, judge.scale_source) for judge in judges if judge.scale is not None}
    scales = {each.scale for each in declared} or ({recorded.scale} if recorded else set())
    if len(scales) > 1:
        return _Declared(UNIT, "several scales, each read on its own")
    return next(iter(declared), recorded)


def _recorded(record: RunRecord) -> dict[str, _Declared]:
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
    source = entry.get("source")
    return _Declared(scale, source if isinstance(source, str) else None)


def _has_values(scale: Scale) -> bool:
    return bool(scale.categories) and all(category.value is not None for category in scale.categories)
