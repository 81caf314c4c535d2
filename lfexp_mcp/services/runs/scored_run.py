"""The numbers of a run, per score and item: what comparisons and analyses reckon with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.model import ItemResult, JudgeMaker, RunRecord, Scale, Score, ScriptMaker
from lfexp_mcp.scores.interpretation import ScoreInterpretation, interpret_human_scores, interpret_scores
from lfexp_mcp.scores.resolution import scales_of_configs
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run with its scores read as numbers."""

    record: RunRecord
    interpretations: dict[str, ScoreInterpretation]
    humans: dict[str, ScoreInterpretation]
    """How the scores that humans gave are read, also where a judge's of the same name count."""
    numbers: dict[str, dict[str, float]]
    """Score name to item id to value; the mean over an item's repeats. Scores without any number are absent."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.record.run_name

    def has_scale(self, score: str) -> bool:
        """Whether a score's values lie on the canonical 0-1, and so can be judged."""
        reading = self.interpretations.get(score)
        return reading is not None and reading.is_canonical

    def interpretation_of(self, score: Score) -> ScoreInterpretation | None:
        """How one score is read; None for one that does not count beside those of another source."""
        if score.source == "ANNOTATION":
            return self.humans.get(score.name)
        reading = self.interpretations.get(score.name)
        return reading if reading is not None and reading.counts(score) else None

    def score_of(self, item: ItemResult, name: str) -> Score | None:
        """The score of an item that counts, None where it was not scored."""
        reading = self.interpretations.get(name)
        if reading is None:
            return None
        return next((score for score in item.scores if reading.counts(score)), None)


def interpret_run(record: RunRecord, configured: Mapping[str, Scale]) -> ScoredRun:
    """Read a run's scores as numbers.

    Args:
        record: The run.
        configured: The scales that score configs state, by name.
    """
    interpretations = interpret_scores(record, configured)
    collected: dict[str, dict[str, list[float]]] = {}
    for item in record.items:
        for score in item.scores:
            reading = interpretations[score.name]
            value = number_of(score, reading) if reading.counts(score) else None
            if value is not None:
                collected.setdefault(score.name, {}).setdefault(item.item_id, []).append(value)
    humans = interpret_human_scores((score for item in record.items for score in item.scores), configured)
    return ScoredRun(record, interpretations, humans, {name: _means(values) for name, values in collected.items()})


def number_of(score: Score, reading: ScoreInterpretation) -> float | None:
    """A score as a finite number: canonical where its scale is known, else as it came; None for text and labels."""
    number = reading.canonical(score) if reading.is_canonical else reading.raw(score)
    return number if number is not None and math.isfinite(number) else None


def _means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {item_id: math.fsum(found) / len(found) for item_id, found in values.items()}


def first_results(record: RunRecord) -> dict[str, ItemResult]:
    """One result per item to show: that of its first repetition that succeeded, else of its first."""
    shown: dict[str, ItemResult] = {}
    for item in record.items:
        known = shown.get(item.item_id)
        if known is None or _place(item) < _place(known):
            shown[item.item_id] = item
    return shown


def _place(item: ItemResult) -> tuple[bool, int]:
    return item.status != "succeeded", item.repeat


async def configured_scales(ws: Workspace, scores: Iterable[Score]) -> dict[str, Scale]:
    """Read the scales that score configs state, by name; empty without a request if all scores have their own."""
    if not any(_needs_config(score) for score in scores):
        return {}
    return scales_of_configs(await ws.gateway.score_configs())


async def configured_scales_of(ws: Workspace, *records: RunRecord) -> dict[str, Scale]:
    """Read the scales that score configs state for the scores of runs, see `configured_scales`."""
    return await configured_scales(ws, (score for record in records for item in record.items for score in item.scores))


def _needs_config(score: Score) -> bool:
    """Whether a score's maker does not say its scale: a script's was looked for when it ran, but by version 0.1."""
    match score.maker:
        case JudgeMaker():
            return False
        case ScriptMaker(function=function, scale=scale):
            return function is None and scale is None
        case _:
            return score.data_type != "TEXT"
