"""How the values of one score name in a run are read: their data type, their scale, and their canonical values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lfexp_mcp.model import (
    BOOLEAN,
    RUN_MAKERS,
    TEN,
    UNIT,
    BuiltInMaker,
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
"""Scores of one origin count in a run, the first of these with any: what others wrote under the name of a judge's score
is another score, and a human's number is not on a judge's scale."""
OBSERVED = "observed values"
"""Source of a scale that is inferred from the values."""
DEFAULT = "default of evaluators"
"""Source of 0-1 if nobody declared a scale and all values lie on it."""
MIN_BEYOND_UNIT = 3
"""Values above 1 needed to read undeclared numbers as 0-10."""


@dataclass(frozen=True, slots=True)
class ScoreInterpretation:
    """How the values of one score name are read in one run, independent of other runs."""

    name: str
    data_type: ScoreDataType
    origin: ScoreOrigin
    """Only scores of this origin count; see `ORIGINS`."""
    scale: Scale | None
    """None for text, categories without values, and numbers that fit no scale."""
    scale_source: str | None
    makers: tuple[ScoreMaker, ...] = ()
    """The makers of the scores that count, in the order of the items."""
    problem: str | None = None
    """Why the numbers have no canonical value, as a clause. They are shown as they are, and kept out of gates."""
    own_unit: bool = False
    """Whether the numbers are plainly in a unit of their own, such as characters, and can be compared as such."""
    unit: str | None = None
    """That unit, if it is declared."""
    lower_is_better: bool | None = None
    """Of numbers in a declared unit; None if their evaluator does not say."""

    @property
    def is_canonical(self) -> bool:
        """Whether the values have canonical values."""
        return self.scale is not None and self.problem is None

    @property
    def is_comparable(self) -> bool:
        """Whether the values can be compared, if only as higher and lower."""
        return self.problem is None or self.own_unit

    @property
    def is_declared(self) -> bool:
        """Whether somebody declared the scale, so that it was not inferred from the values."""
        return self.scale is not None and self.scale_source not in (OBSERVED, DEFAULT)

    @property
    def mixed(self) -> bool:
        """Whether the scores are of several makers that cannot be pooled, and so have no single mean."""
        return len(self.makers) > 1 and are_mixed(self.makers)

    @property
    def prompt(self) -> str | None:
        """The judge's prompt, if the score is a judge's."""
        return next((maker.prompt for maker in self.makers if isinstance(maker, JudgeMaker)), None)

    @property
    def stored_canonical(self) -> bool:
        """Whether the stored numbers are canonical already, as judges' are; else they are on `scale`."""
        return self.prompt is not None

    def counts(self, score: Score) -> bool:
        """Whether a score has this name and the origin that counts."""
        return score.name == self.name and score.maker.origin == self.origin

    def canonical(self, score: Score) -> float | None:
        """Return a score's value from 0 (worst) to 1 (best); None if it has none, or is outside its scale."""
        scale = self._scale_of(score)
        return None if scale is None or self.problem is not None else _canonical(score, scale)

    def raw(self, score: Score) -> float | None:
        """Return a score's number on its own scale; None for a label."""
        if isinstance(score.value, str):
            return None
        if score.raw is not None:
            return score.raw
        scale = self._scale_of(score)
        return scale.raw(score.value) if scale and isinstance(score.maker, JudgeMaker) else float(score.value)

    def _scale_of(self, score: Score) -> Scale | None:
        """Return the scale of this score's maker, which may differ from that of the judge's other versions."""
        if isinstance(score.maker, RUN_MAKERS) and score.maker.scale is not None and self.scale:
            return score.maker.scale
        return self.scale


def _canonical(score: Score, scale: Scale) -> float | None:
    """Return a score's canonical value; None if it is outside the scale, or a label without a value."""
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
    """Interpret the scores of a run.

    A scale belongs to the maker of a score: judges and scripts record it with each score, for humans and others it is
    that of the score config. The scale of undeclared numbers is inferred from the run's own values, see `_undeclared`.
    If a number lies outside a declared scale, no number of that name has a canonical value.

    Args:
        configured: The scales of score configs, by name.

    Returns:
        One interpretation per score name, in alphabetical order; names without any score are absent.
    """
    recorded, found = _recorded(record), _by_origin(record.bare_scores)
    interpretations = {}
    for name in sorted(found):
        origin = next(origin for origin in ORIGINS if origin in found[name])
        interpretations[name] = _interpret(name, origin, found[name][origin], recorded.get(name), configured.get(name))
    return interpretations


def interpret_human_scores(scores: Iterable[Score], configured: Mapping[str, Scale]) -> dict[str, ScoreInterpretation]:
    """Interpret the human scores among some, independent of other scores of the same names.

    Args:
        configured: The scales of score configs, by name.
    """
    found = _by_origin(score for score in scores if score.source == "ANNOTATION")
    return {name: _interpret(name, "human", of["human"], None, configured.get(name)) for name, of in found.items()}


def _by_origin(scores: Iterable[Score]) -> dict[str, dict[ScoreOrigin, list[Score]]]:
    found: dict[str, dict[ScoreOrigin, list[Score]]] = {}
    for score in scores:
        found.setdefault(score.name, {}).setdefault(score.maker.origin, []).append(score)
    return found


def _interpret(
    name: str, origin: ScoreOrigin, scores: Sequence[Score], recorded: "_Declared | None", configured: Scale | None
) -> ScoreInterpretation:
    kind, makers = _data_type(scores), tuple(dict.fromkeys(score.maker for score in scores))
    evaluators = [maker for maker in makers if isinstance(maker, ScriptMaker | BuiltInMaker)]
    if kind == "NUMERIC" and any(maker.unit for maker in evaluators):
        return _measured(name, origin, makers, {(maker.unit, maker.lower_is_better) for maker in evaluators})
    lower = any(maker.lower_is_better for maker in evaluators)
    declared = _declared_by(makers, recorded, configured)
    if declared is not None and (kind in {"NUMERIC", "BOOLEAN"} or _has_values(declared.scale)):
        interpretation = ScoreInterpretation(name, kind, origin, declared.scale, declared.source, makers)
        return replace(interpretation, problem=_beyond(interpretation, scores))
    if kind == "BOOLEAN":
        return ScoreInterpretation(name, kind, origin, BOOLEAN.lower_better() if lower else BOOLEAN, None, makers)
    if kind != "NUMERIC":
        source = declared.source if declared else None
        return ScoreInterpretation(name, kind, origin, None, source, makers)
    values = [float(score.value) for score in scores if not isinstance(score.value, str)]
    scale, problem = _undeclared(values)
    source = DEFAULT if scale == UNIT else OBSERVED
    scale = scale.lower_better() if scale and lower else scale
    # Half of them or more beyond any usual scale are a measure, such as characters, rather than slips of a score.
    own_unit = scale is None and 2 * sum(TEN.within(value) is None for value in values) >= len(values)
    return ScoreInterpretation(name, kind, origin, scale, source, makers, problem, own_unit)


def _measured(
    name: str, origin: ScoreOrigin, makers: tuple[ScoreMaker, ...], declared: set[tuple[str | None, bool | None]]
) -> ScoreInterpretation:
    """Interpret numbers in the units, with their directions, that their evaluators declare."""
    if len(declared) > 1:
        named = ", ".join(sorted({unit or "no unit" for unit, _ in declared}))
        problem = f"its values have several units: {named}"
        return ScoreInterpretation(name, "NUMERIC", origin, None, None, makers, problem)
    ((unit, lower),) = declared
    problem = f"its values are in {unit}, without a best and a worst"
    return ScoreInterpretation(name, "NUMERIC", origin, None, "evaluator", makers, problem, True, unit, lower)


def _data_type(scores: Iterable[Score]) -> ScoreDataType:
    """Return the data type of all values together; numbers with booleans are numbers, other mixtures categories."""
    kinds = {score.data_type for score in scores}
    if len(kinds) == 1:
        return next(iter(kinds))
    return "NUMERIC" if kinds == {"NUMERIC", "BOOLEAN"} else "CATEGORICAL"


def _undeclared(values: Sequence[float]) -> tuple[Scale | None, str | None]:
    """Infer the scale of numbers without a declared one.

    It is 0-1 if all lie on it; 0-10 if all lie on that and at least half, and `MIN_BEYOND_UNIT`, lie above 1, since a
    few stray values do not make a scale.

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
    return None, f"{_some(beyond, values)} above 1, too few to read all as 0-10, and no scale is declared"


def _beyond(interpretation: ScoreInterpretation, scores: Sequence[Score]) -> str | None:
    """Describe the numbers outside the declared scale; None if there are none."""
    numbers = [score for score in scores if not isinstance(score.value, str)]
    beyond = (interpretation.raw(score) for score in numbers if interpretation.canonical(score) is None)
    outside = [raw for raw in beyond if raw is not None]
    if not outside or interpretation.scale is None:
        return None
    return f"{_some(outside, numbers)} outside its scale {interpretation.scale.name} ({interpretation.scale_source})"


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
    """Return the scale that the makers of a name's scores declare; canonical 0-1 if their scales differ.

    Args:
        recorded: The scale that version 0.1 recorded with the run, since its judges' scores may lack one.
        configured: The scale of the score config, for makers that declare none.
    """
    ours = [maker for maker in makers if isinstance(maker, RUN_MAKERS)]
    declared = {_Declared(maker.scale, maker.scale_source) for maker in ours if maker.scale is not None}
    undeclared = any(maker.scale is None for maker in ours if not isinstance(maker, JudgeMaker))
    if len({each.scale for each in declared}) + undeclared > 1:
        return _Declared(UNIT, "several scales, each read on its own")
    if declared:
        return next(iter(declared))
    if any(isinstance(maker, JudgeMaker) for maker in ours):
        return recorded
    # A script's maker already has the scale that the score config stated during the run, except in version 0.1.
    is_current = any(not isinstance(maker, ScriptMaker) or maker.function is not None for maker in ours)
    return None if configured is None or is_current else _Declared(configured, "score config")


def _recorded(record: RunRecord) -> dict[str, _Declared]:
    scales = record.provenance.scales if record.provenance else None
    return {name: _Declared(entry.scale, entry.source) for name, entry in (scales or {}).items()}


def _has_values(scale: Scale) -> bool:
    return bool(scale.categories) and all(category.value is not None for category in scale.categories)
