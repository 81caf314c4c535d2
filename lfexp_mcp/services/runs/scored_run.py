"""A run's scores as numbers, per score and item: the basis of comparisons and analyses."""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from lfexp_mcp.model import BuiltInMaker, DatasetItem, ItemResult, JudgeMaker, RunRecord, Scale, Score, ScriptMaker
from lfexp_mcp.scores.interpretation import ScoreInterpretation, interpret_human_scores, interpret_scores
from lfexp_mcp.services.workspace import Workspace


class MeanByItem:
    """The mean of the values that each item has, most of them one: few have memory for more."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._repeated: dict[str, list[float]] = {}

    def add(self, item_id: str, value: float) -> None:
        """Add a value of an item."""
        if item_id in self._first:
            self._repeated.setdefault(item_id, [self._first[item_id]]).append(value)
        else:
            self._first[item_id] = value

    def means(self) -> dict[str, float]:
        """Return the means, in the order of the items' first values."""
        for item_id, values in self._repeated.items():
            self._first[item_id] = math.fsum(values) / len(values)
        return self._first


@dataclass(frozen=True)
class ScoredRun:
    """A run with its scores interpreted as numbers."""

    record: RunRecord
    interpretations: dict[str, ScoreInterpretation]
    humans: dict[str, ScoreInterpretation]
    """How the scores that humans gave are read, even if a judge's scores of the same name are the ones that count."""
    even: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Scores of a pairwise judge that compared another run with this one, and the items that they are of. Against
    itself, a run is preferred to one half."""

    @cached_property
    def numbers(self) -> dict[str, dict[str, float]]:
        """Score name to item id to value; the mean over an item's repeats. Scores without any number are absent."""
        found: dict[str, MeanByItem] = {}
        for item in self.record.items:
            for score in item.bare_scores:
                interpretation = self.interpretations[score.name]
                value = number_of(score, interpretation) if interpretation.counts(score) else None
                if value is not None:
                    found.setdefault(score.name, MeanByItem()).add(item.item_id, value)
        means = {name: by_item.means() for name, by_item in found.items()}
        return means | {name: dict.fromkeys(items, 0.5) for name, items in self.even.items()}

    @property
    def name(self) -> str:
        """The run's name."""
        return self.record.run_name

    def has_scale(self, score: str) -> bool:
        """Whether a score's values are on the canonical 0-1."""
        interpretation = self.interpretations.get(score)
        return interpretation is not None and interpretation.is_canonical

    def interpretation_of(self, score: Score) -> ScoreInterpretation | None:
        """How one score is read; None for one that does not count beside those of another source."""
        if score.source == "ANNOTATION":
            return self.humans.get(score.name)
        interpretation = self.interpretations.get(score.name)
        return interpretation if interpretation is not None and interpretation.counts(score) else None

    def score_of(self, item: ItemResult, name: str) -> Score | None:
        """The score of an item that counts; None if it was not scored."""
        return self._counting(item.scores, name)

    def bare_score_of(self, item: ItemResult, name: str) -> Score | None:
        """As `score_of`, for its value alone; see `ItemResult.bare_scores`."""
        return self._counting(item.bare_scores, name)

    def value_of(self, item: ItemResult, name: str) -> float | None:
        """The number of an item's score, see `number_of`; None if it was not scored, or by a label without a value."""
        score = self.bare_score_of(item, name)
        return None if score is None else number_of(score, self.interpretations[name])

    def _counting(self, scores: Iterable[Score], name: str) -> Score | None:
        interpretation = self.interpretations.get(name)
        if interpretation is None:
            return None
        return next((score for score in scores if interpretation.counts(score)), None)


def interpret_run(record: RunRecord, configured: Mapping[str, Scale]) -> ScoredRun:
    """Interpret a run's scores as numbers.

    Args:
        configured: The scales that score configs state, by name; see `configured_scales`.
    """
    humans = interpret_human_scores(record.bare_scores, configured)
    return ScoredRun(record, interpret_scores(record, configured), humans)


async def interpret_with_configs(ws: Workspace, record: RunRecord) -> ScoredRun:
    """Interpret a run's scores as numbers, by the score configs where the scores do not state their scale."""
    return interpret_run(record, await configured_scales(ws, record.bare_scores))


def number_of(score: Score, interpretation: ScoreInterpretation) -> float | None:
    """Return a score as a finite number: canonical if its scale is known, else raw; None for text and labels."""
    number = interpretation.canonical(score) if interpretation.is_canonical else interpretation.raw(score)
    return number if number is not None and math.isfinite(number) else None


def first_results(record: RunRecord) -> dict[str, ItemResult]:
    """Return one result per item to show: that of its first repetition that succeeded, else of its first."""
    shown: dict[str, ItemResult] = {}
    for item in record.items:
        known = shown.get(item.item_id)
        if known is None or (item.status != "succeeded", item.repeat) < (known.status != "succeeded", known.repeat):
            shown[item.item_id] = item
    return shown


def same_content(first: ItemResult | DatasetItem, second: ItemResult | DatasetItem) -> bool:
    """Whether input and expected output are the same."""
    if isinstance(first, ItemResult) and isinstance(second, ItemResult):
        # Of two large runs, the items are on disk twice.
        digest = first.content.item_digest
        if digest is not None and digest == second.content.item_digest:
            return True
    return _equal(first.input, second.input) and _equal(first.expected_output, second.expected_output)


def _equal(first: JsonValue, second: JsonValue) -> bool:
    """Compare two values as Langfuse stores them: JSON as text, and None as an empty text."""
    return first == second or _text(first) == _text(second)


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


async def configured_scales(ws: Workspace, scores: Iterable[Score]) -> dict[str, Scale]:
    """Read the scales that score configs state, by name; empty, without a request, if all scores have their own."""
    if not any(_needs_config(score) for score in scores):
        return {}
    return await ws.gateway.score_scales()


def _needs_config(score: Score) -> bool:
    """Whether a score's maker does not state its scale; the worker looked it up for scripts, except version 0.1."""
    match score.maker:
        case JudgeMaker() | BuiltInMaker():
            return False
        case ScriptMaker(function=function, scale=scale):
            return function is None and scale is None
        case _:
            return score.data_type != "TEXT"
