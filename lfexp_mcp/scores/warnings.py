"""Warn of what makes a run's figures doubtful: above all, values that contradict the scale they are read on."""

from collections import Counter
from collections.abc import Mapping, Sequence

from lfexp_mcp.records import RunRecord, Score
from lfexp_mcp.scores.gaps import gap_warnings
from lfexp_mcp.scores.readings import OBSERVED, ScoreReading

_ENOUGH = 3


def run_warnings(record: RunRecord, readings: Mapping[str, ScoreReading]) -> list[str]:
    """Say all that a reader of a run has to know before relying on its figures, see `scale_warnings`."""
    return [
        *record.warnings,
        *maker_warnings(record, readings),
        *scale_warnings(record, readings),
        *gap_warnings(record, readings),
    ]


def maker_warnings(record: RunRecord, readings: Mapping[str, ScoreReading]) -> list[str]:
    """Say which score names have several makers whose values do not mean the same, and what was left out for that."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in readings}
    others: dict[str, Counter[str]] = {name: Counter() for name in readings}
    for item in record.items:
        for score in item.scores:
            if score.maker.origin != "human":
                (counted if readings[score.name].counts(score) else others)[score.name][score.maker.label] += 1
    mixed = (
        f"{name!r} has no single maker, so that no mean stands for it: {_listed(counted[name])}."
        for name, reading in readings.items()
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


def scale_warnings(record: RunRecord, readings: Mapping[str, ScoreReading]) -> list[str]:
    """Say which score names of a run have values that contradict their scale.

    Args:
        record: The run.
        readings: How its scores are read, see `read_scores`.

    Returns:
        One sentence or two per finding; empty when all values fit.
    """
    scores: dict[str, list[Score]] = {name: [] for name in readings}
    for item in record.items:
        for score in item.scores:
            if readings[score.name].counts(score):
                scores[score.name].append(score)
    return [
        warning
        for name, reading in readings.items()
        for warning in (_clamped(reading, scores[name]), _contradiction(reading, scores[name]))
        if warning is not None
    ]


def _clamped(reading: ScoreReading, scores: Sequence[Score]) -> str | None:
    clamped = sum(score.clamped for score in scores)
    if not clamped or reading.scale is None:
        return None
    return (
        f"{clamped} of {len(scores)} values of {reading.name!r} lie outside its scale {reading.scale.name} "
        f"and count in no mean. {_fix(reading, _meant(reading, scores))}"
    )


def _contradiction(reading: ScoreReading, scores: Sequence[Score]) -> str | None:
    if reading.data_type != "NUMERIC":
        return None
    if reading.scale is None:
        return (
            f"Values of {reading.name!r} lie outside 0-10, so they are reported as they came and kept out of gates. "
            f"{_stated(reading)}."
        )
    if reading.scale_source == OBSERVED:
        return f"Some values of {reading.name!r} lie above 1, so all are read as 0-10. {_stated(reading)} to be clear."
    meant = _meant(reading, scores)
    if not reading.stored_canonical or len(scores) < _ENOUGH or meant is None or meant >= reading.scale.high:
        return None
    if any(score.clamped for score in scores):
        return None
    return (
        f"All {len(scores)} values of {reading.name!r} lie between 0 and {meant}, although its scale is "
        f"{reading.scale.name} ({reading.scale_source}). {_fix(reading, meant)}"
    )


def _meant(reading: ScoreReading, scores: Sequence[Score]) -> int | None:
    """The end of the narrowest usual scale that holds all raw values; None where none does, or all are 0."""
    raws = [raw for score in scores if (raw := reading.raw(score)) is not None]
    if not raws or min(raws) < 0 or max(raws) == 0:
        return None
    return next((high for high in (1, 10, 100) if max(raws) <= high), None)


def _stated(reading: ScoreReading) -> str:
    if reading.origin == "human":
        return "Give its score config a least and a greatest value"
    return "Let the evaluator return 0-1"


def _fix(reading: ScoreReading, high: int | None) -> str:
    prompt = f"prompt {reading.prompt!r}" if reading.prompt else "its prompt"
    if high is None:
        return f"Declare the scale that the judge uses as `scale` in the config of {prompt}."
    return f'If the judge answers 0-{high}, put {{"scale": "0-{high}"}} into the config of {prompt}.'
