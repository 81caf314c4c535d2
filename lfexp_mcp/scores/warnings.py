"""Warn of what makes a run's figures doubtful: above all, values that contradict the scale they are read on."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lfexp_mcp.model import RunRecord, Score, scaled_label
from lfexp_mcp.scores.gaps import gap_warnings
from lfexp_mcp.scores.interpretation import OBSERVED, ScoreInterpretation

_ENOUGH = 3


def run_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Say all that a reader of a run has to know before relying on its figures, see `scale_warnings`."""
    return [
        *record.warnings,
        *maker_warnings(record, interpretations),
        *scale_warnings(record, interpretations),
        *gap_warnings(record, interpretations),
    ]


def maker_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Say which score names have several makers whose values do not mean the same, and what was left out for that."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in interpretations}
    others: dict[str, Counter[str]] = {name: Counter() for name in interpretations}
    for item in record.items:
        for score in item.scores:
            if score.maker.origin != "human":
                reading = interpretations[score.name]
                label = scaled_label(score.maker) if reading.mixed else score.maker.label
                (counted if reading.counts(score) else others)[score.name][label] += 1
    mixed = (
        f"{name!r} has no single maker, so that no mean stands for it: {_listed(counted[name])}."
        for name, reading in interpretations.items()
        if reading.mixed
    )
    left_out = (
        f"Left out as another score than the run's own {name!r}: {_listed(found)}."
        for name, found in others.items()
        if found
    )
    return [*mixed, *left_out]


def _listed(counts: Counter[str]) -> str:
    return "; ".join(f"{count} {label}" for label, count in counts.most_common())


def scale_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Say which score names of a run have values that contradict their scale.

    Args:
        record: The run.
        interpretations: How its scores are read, see `interpret_scores`.

    Returns:
        One sentence or two per finding; empty when all values fit.
    """
    scores: dict[str, list[Score]] = {name: [] for name in interpretations}
    for item in record.items:
        for score in item.scores:
            if interpretations[score.name].counts(score):
                scores[score.name].append(score)
    found = (_warning(reading, scores[name]) for name, reading in interpretations.items())
    return [warning for warning in found if warning is not None]


def _warning(reading: ScoreInterpretation, scores: Sequence[Score]) -> str | None:
    if reading.problem is not None:
        alone = "reported as they came" if reading.own_unit else "reported as they came, compared with nothing"
        return (
            f"{reading.name!r}: {reading.problem}, so its values are {alone} and kept out of gates. "
            f"{_fix(reading, _meant(reading, scores))}"
        )
    if reading.scale_source == OBSERVED:
        return f"Most values of {reading.name!r} lie above 1, so all are read as 0-10. {_declare(reading)} to be sure."
    return _contradiction(reading, scores)


def _contradiction(reading: ScoreInterpretation, scores: Sequence[Score]) -> str | None:
    if reading.data_type != "NUMERIC" or reading.scale is None or not reading.stored_canonical:
        return None
    meant = _meant(reading, scores)
    if len(scores) < _ENOUGH or meant is None or not reading.scale.low < meant < reading.scale.high:
        return None
    if _all_at_the_good_end(reading, scores):
        return None
    return (
        f"All {len(scores)} values of {reading.name!r} lie between 0 and {meant}, although its scale is "
        f"{reading.scale.name} ({reading.scale_source}). {_fix(reading, meant)}"
    )


def _all_at_the_good_end(reading: ScoreInterpretation, scores: Sequence[Score]) -> bool:
    """Whether low numbers are good, and whole: a run without harm on 0-10 has zeros and ones."""
    raws = (reading.raw(score) for score in scores)
    return bool(reading.scale and reading.scale.lower_is_better) and all(
        raw is None or float(raw).is_integer() for raw in raws
    )


def _meant(reading: ScoreInterpretation, scores: Sequence[Score]) -> int | None:
    """The end of the narrowest usual scale that holds all raw values; None where none does, or all are 0."""
    raws = [raw for score in scores if (raw := reading.raw(score)) is not None]
    if not raws or min(raws) < 0 or max(raws) == 0:
        return None
    return next((high for high in (1, 10, 100) if max(raws) <= high), None)


def _declare(reading: ScoreInterpretation) -> str:
    if reading.origin == "run":
        return "Declare its scale with `@evaluator(scale=...)`, in the evaluation's metadata, or in a score config"
    return f"Give a score config named {reading.name!r} a least and a greatest value"


def _fix(reading: ScoreInterpretation, high: int | None) -> str:
    if reading.prompt is None:
        return f"{_declare(reading)}."
    if high is None:
        return f"Declare the scale that the judge uses as `scale` in the config of prompt {reading.prompt!r}."
    return f'If the judge answers 0-{high}, put {{"scale": "0-{high}"}} into the config of prompt {reading.prompt!r}.'
