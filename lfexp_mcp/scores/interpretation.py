"""What the values of a score name mean in a run: their kind, their scale, and the canonical value of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from lfexp_mcp.model import (
    BOOLEAN,
    TEN,
    UNIT,
    JudgeMaker,
    RunRecord,
    Scale,
    Score,
    ScoreDataType,
    ScoreMaker,
    ScoreOrigin,
    ScriptMaker,
    are_mixed,
)

ORIGINS: tuple[ScoreOrigin, ...] = ("run", "api", "langfuse", "human")
"""In a run a name's values are of one origin, the first of these that has any: what others wrote under the name of a
judge's score is another score, and a human's number is not on a judge's scale."""

OBSERVED = "observed values"
"""Source of a scale that the values themselves had to tell."""
DEFAULT = "default of evaluators"
"""Source of the 0-1 that nobody declared, and that all values lie on."""
MIN_BEYOND_UNIT = 3
"""Values above 1 from which on a set that nobody declared can be one on 0-10."""

_SCALE: TypeAdapter[Scale] = TypeAdapter(Scale)


@dataclass(frozen=True, slots=True)
class ScoreInterpretation:
    """How the values of one score name are to be read, in one run, whatever other runs have."""

    name: str
    data_type: ScoreDataType
    origin: ScoreOrigin
    """Only scores of this origin count; see `ORIGINS`."""
    scale: Scale | None
    """None for text, for categories without values, and for numbers that fit no scale."""
    scale_source: str | None
    makers: tuple[ScoreMaker, ...] = ()
    """Of the scores that count, in the order of the items; see `mixed`."""
    problem: str | None = None
    """Why the numbers have no canonical value: a clause. They are shown as they came, and kept out of gates."""
    own_unit: bool = False
    """Whether the numbers are plainly in a unit of their own, such as characters: those can be higher or lower."""

    @property
    def is_canonical(self) -> bool:
        """Whether the values lie on the canonical 0-1, and so can be judged."""
        return self.scale is not None and self.problem is None

    @property
    def is_comparable(self) -> bool:
        """Whether the values can be held against each other, be it only as higher and lower."""
        return self.problem is None or self.own_unit

    @property
    def is_declared(self) -> bool:
        """Whether somebody said on which scale the values are, and they did not have to tell it themselves."""
        return self.scale is not None and self.scale_source not in (OBSERVED, DEFAULT)

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
        return None if scale is None or self.problem is not None else _canonical(score, scale)

    def raw(self, score: Score) -> float | None:
        """The score's number on its own scale; None for a label."""
        if isinstance(score.value, str):
            return None
        if score.raw is not None:
            return score.raw
        scale = self._scale_of(score)
        return scale.raw(score.value) if scale and isinstance(score.maker, JudgeMaker) else float(score.value)

    def _scale_of(self, score: Score) -> Scale | None:
        """The scale of the maker that gave this very score: another version may have had another one."""
        if isinstance(score.maker, JudgeMaker | ScriptMaker) and score.maker.scale is not None and self.scale:
            return score.maker.scale
        return self.scale


def _canonical(score: Score, scale: Scale) -> float | None:
    """Read one score on a scale; None where it lies outside, or is a label without a value."""
    if isinstance(score.value, str):
        category = scale.category(score.value)
        return scale.normalise(category.value) if category and category.value is not None else None
    if score.clamped and score.raw is not None and scale.within(score.raw) is None:
        return None
    if isinstance(score.maker, JudgeMaker):
        scale = UNIT
    elif isinstance(score.value, bool):
        scale = UNIT.lower_better() if scale.lower_is_better else UNIT
    on_scale = scale.within(score.value)
    return None if on_scale is None else scale.normalise(on_scale)


def interpret_scores(record: RunRecord, configured: Mapping[str, Scale]) -> dict[str, ScoreInterpretation]:
    """Work out how each score name of a run is to be read.

    A scale belongs to the maker of a score: a judge's and a script's are part of each of their scores, a human's and
    that of others is stated by the score config of that name. Numbers of which nobody declared a scale are read by the
    run's own values alone, see `_undeclared`. Where a number lies outside a declared scale, none of the name's is read.

    Args:
        record: The run.
        configured: The scales that score configs state, by name.

    Returns:
        One reading per score name, names in alphabetical order; names that were never scored are absent.
    """
    recorded, found = _recorded(record), _by_origin(record.scores)
    interpretations = {}
    for name in sorted(found):
        origin = next(origin for origin in ORIGINS if origin in found[name])
        interpretations[name] = _reading(name, origin, found[name][origin], recorded.get(name), configured.get(name))
    return interpretations


def interpret_human_scores(scores: Iterable[Score], configured: Mapping[str, Scale]) -> dict[str, ScoreInterpretation]:
    """Work out how the human scores among some are to be read, whatever else has their names.

    Args:
        scores: Of any source.
        configured: The scales that score configs state, see `interpret_scores`.
    """
    found = _by_origin(score for score in scores if score.source == "ANNOTATION")
    return {name: _reading(name, "human", of["human"], None, configured.get(name)) for name, of in found.items()}


def _by_origin(scores: Iterable[Score]) -> dict[str, dict[ScoreOrigin, list[Score]]]:
    found: dict[str, dict[ScoreOrigin, list[Score]]] = {}
    for score in scores:
        found.setdefault(score.name, {}).setdefault(score.maker.origin, []).append(score)
    return found


def _reading(
    name: str, origin: ScoreOrigin, scores: Sequence[Score], recorded: "_Declared | None", configured: Scale | None
) -> ScoreInterpretation:
    kind, makers = _data_type(scores), tuple(dict.fromkeys(score.maker for score in scores))
    lower = any(isinstance(maker, ScriptMaker) and maker.lower_is_better for maker in makers)
    declared = _declared_by(makers, recorded, configured)
    if declared is not None and (kind in {"NUMERIC", "BOOLEAN"} or _has_values(declared.scale)):
        reading = ScoreInterpretation(name, kind, origin, declared.scale, declared.source, makers)
        return replace(reading, problem=_beyond(reading, scores))
    if kind == "BOOLEAN":
        return ScoreInterpretation(name, kind, origin, BOOLEAN.lower_better() if lower else BOOLEAN, None, makers)
    if kind != "NUMERIC":
        source = declared.source if declared else None
        return ScoreInterpretation(name, kind, origin, None, source, makers)
    values = [float(score.value) for score in scores if not isinstance(score.value, str)]
    scale, problem = _undeclared(values)
    source = DEFAULT if scale == UNIT else OBSERVED
    scale = scale.lower_better() if scale and lower else scale
    own_unit = scale is None and 2 * sum(TEN.within(value) is None for value in values) >= len(values)
    return ScoreInterpretation(name, kind, origin, scale, source, makers, problem, own_unit)


def _data_type(scores: Iterable[Score]) -> ScoreDataType:
    """The kind of all values together; numbers with booleans are numbers, any other mixture categories."""
    kinds = {score.data_type for score in scores}
    if len(kinds) == 1:
        return next(iter(kinds))
    return "NUMERIC" if kinds == {"NUMERIC", "BOOLEAN"} else "CATEGORICAL"


def _undeclared(values: Sequence[float]) -> tuple[Scale | None, str | None]:
    """Find the scale of numbers of which nobody declared one, by themselves.

    0-1 where all lie on it. 0-10 where all lie on that and at least half, and `MIN_BEYOND_UNIT`, lie above 1: a stray
    value is not a set.

    Returns:
        The scale, or why there is none.
    """
    beyond = [value for value in values if UNIT.within(value) is None]
    if not beyond:
        return UNIT, None
    outside = [value for value in beyond if TEN.within(value) is None]
    if outside:
        return None, f"{_some(outside, values)} outside 0-10, and no scale is declared"
    if len(beyond) >= MIN_BEYOND_UNIT and 2 * len(beyond) >= len(values):
        return TEN, None
    return None, f"{_some(beyond, values)} above 1, too few to be a set on 0-10, and no scale is declared"


def _beyond(reading: ScoreInterpretation, scores: Sequence[Score]) -> str | None:
    """Say that numbers lie outside the declared scale; None where none does."""
    numbers = [score for score in scores if not isinstance(score.value, str)]
    beyond = (reading.raw(score) for score in numbers if reading.canonical(score) is None)
    outside = [raw for raw in beyond if raw is not None]
    if not outside or reading.scale is None:
        return None
    return f"{_some(outside, numbers)} outside its scale {reading.scale.name} ({reading.scale_source})"


def _some(outside: Sequence[float], of: Sequence[object]) -> str:
    lie = "lies" if len(outside) == 1 else "lie"
    return f"{len(outside)} of {len(of)} values ({outside[0]:g}{', ...' if len(outside) > 1 else ''}) {lie}"


@dataclass(frozen=True, slots=True)
class _Declared:
    """A scale, and where it was found."""

    scale: Scale
    source: str | None


def _declared_by(
    makers: Sequence[ScoreMaker], recorded: _Declared | None, configured: Scale | None
) -> _Declared | None:
    """The scale that the makers of a name's scores declare; canonical 0-1 where their scales differ.

    Args:
        makers: Of the scores.
        recorded: What version 0.1 recorded of the run, whose judges' scores may not tell their scale.
        configured: What the score config of that name states, for those that declare none.
    """
    ours = [maker for maker in makers if isinstance(maker, JudgeMaker | ScriptMaker)]
    declared = {_Declared(maker.scale, maker.scale_source) for maker in ours if maker.scale is not None}
    undeclared = any(isinstance(maker, ScriptMaker) and maker.scale is None for maker in ours)
    if len({each.scale for each in declared}) + undeclared > 1:
        return _Declared(UNIT, "several scales, each read on its own")
    if declared:
        return next(iter(declared))
    if any(isinstance(maker, JudgeMaker) for maker in ours):
        return recorded
    # What the score config stated when a script ran is its maker's scale; version 0.1 did not look there.
    looked = any(isinstance(maker, ScriptMaker) and maker.function is not None for maker in ours)
    return None if configured is None or looked else _Declared(configured, "score config")


def _recorded(record: RunRecord) -> dict[str, _Declared]:
    scales = record.provenance.scales if record.provenance else None
    return {name: _Declared(entry.scale, entry.source) for name, entry in (scales or {}).items()}


def _has_values(scale: Scale) -> bool:
    return bool(scale.categories) and all(category.value is not None for category in scale.categories)
