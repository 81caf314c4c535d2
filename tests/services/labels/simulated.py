"""Labels as they are read, without a server, of runs whose truth is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.gateway import Queue
from lfexp_mcp.model import Estimate
from lfexp_mcp.services.labels import Labels, Stratum
from lfexp_mcp.services.labels.correction import describe_corrected_delta, describe_corrected_mean
from lfexp_mcp.services.labels.draw import Draw
from lfexp_mcp.statistics.distribution import mean_interval
from lfexp_mcp.statistics.labelled_sample import DrawnResult
from tests.services.labels.people import TONE

Floats = npt.NDArray[np.float64]
Population = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
"""Draws (people's values, the judge's values) of so many results."""
RESULTS = 500
"""Of a simulated run."""


def labels_with(
    results: Sequence[DrawnResult], *, volunteered: int = 0, void: str | None = None, drawn: int | None = None
) -> Labels:
    """The labels of a run with these results."""
    strata = []
    for number in sorted({result.stratum for result in results}):
        part = [result for result in results if result.stratum == number]
        labelled = sum(result.human is not None for result in part)
        strata.append(Stratum(len(part), labelled if drawn is None else drawn, labelled))
    draw = Draw("experiment", "tone", "00" * 16, TONE, n=1, population=len(results))
    return Labels(
        "tone", draw, Queue("queue", "queue"), tuple(results), tuple(strata), volunteered=volunteered, void=void
    )


def drawn_results(
    human: Floats, judge: Floats, labelled: npt.NDArray[np.bool_], strata: npt.NDArray[np.int_] | None = None
) -> list[DrawnResult]:
    """Results of which some are labelled; their item ids are their places."""
    parts = np.zeros(human.size, dtype=np.int_) if strata is None else strata
    columns = zip(human.tolist(), judge.tolist(), labelled.tolist(), parts.tolist(), strict=True)
    return [
        DrawnResult(f"{n}", 1, judged, part, given if has_label else None)
        for n, (given, judged, has_label, part) in enumerate(columns)
    ]


def draw_uniformly(rng: np.random.Generator, results: int, labels: int) -> npt.NDArray[np.bool_]:
    """Which results are labelled."""
    return rng.permutation(results) < labels


def passes(rate: float, judged: float, correlation: float) -> Population:
    """People who pass a share of the results, and a judge that passes another one."""
    common = correlation * (rate * (1 - rate) * judged * (1 - judged)) ** 0.5
    cells = np.array([rate * judged + common, rate - rate * judged - common, judged - rate * judged - common])
    chances = np.clip([*cells, 1 - cells.sum()], 0, 1)

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        cell = rng.choice(4, n, p=chances / chances.sum())
        return (cell < 2) * np.float64(1), (cell % 2 == 0) * np.float64(1)

    return draw


def tenths(mean: float, noise: float, bias: float = 0.05) -> Population:
    """People and a judge who give tenths, skewed towards the nearer end."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        quality = rng.beta(4 * mean, 4 * (1 - mean), n)
        judge = np.clip(quality + bias + rng.normal(0, noise, n), 0, 1)
        return np.round(quality, 1), np.round(judge, 1)

    return draw


def graded(rate: float, noise: float) -> Population:
    """People who pass a share of the results, and a judge who gives tenths for how good they are."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        quality = rng.random(n)
        judge = np.clip(quality + rng.normal(0, noise, n), 0, 1)
        return (quality >= 1 - rate) * np.float64(1), np.round(judge, 1)

    return draw


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals hold the truth, and how wide they are."""

    held: float
    alone: float
    """The same of the labels alone."""
    width: float
    """Relative to that of the labels alone."""


def cover_mean(population: Population, labels: int, runs: int, *, stratified: bool = False) -> Coverage:
    """Simulate corrected means of runs from a population."""
    rng = np.random.default_rng(labels)
    truth = float(population(rng, 1_000_000)[0].mean())
    held, alone, width, width_alone = 0, 0, 0.0, 0.0
    for _ in range(runs):
        human, judge = population(rng, RESULTS)
        strata = (judge >= 0.5).astype(np.int_) if stratified else None
        labelled = _balanced(rng, judge, labels) if stratified else draw_uniformly(rng, RESULTS, labels)
        found = _estimate(describe_corrected_mean(labels_with(drawn_results(human, judge, labelled, strata)), 0.05))
        own = mean_interval(human[draw_uniformly(rng, RESULTS, labels)].tolist(), 1.0)
        assert own is not None
        held += found.low <= truth <= found.high
        alone += own.low <= truth <= own.high
        width += found.high - found.low
        width_alone += own.high - own.low
    return Coverage(held / runs, alone / runs, width / width_alone)


def cover_delta(first: Population, second: Population, labels: int, runs: int) -> float:
    """Simulate corrected deltas of two runs over the same items, labelled by two draws."""
    rng = np.random.default_rng(labels)
    truth = float(second(rng, 1_000_000)[0].mean() - first(rng, 1_000_000)[0].mean())
    held = 0
    for _ in range(runs):
        both = [
            labels_with(drawn_results(*population(rng, RESULTS), draw_uniformly(rng, RESULTS, labels)))
            for population in (first, second)
        ]
        items = {result.item_id for result in both[0].results}
        found = _estimate(describe_corrected_delta((both[0], both[1]), ("first", "second"), items, 0.05))
        held += found.low <= truth <= found.high
    return held / runs


def _estimate(described: Corrected) -> Estimate:
    """The estimate, which has to be there."""
    assert described.estimate is not None
    return described.estimate


def _balanced(rng: np.random.Generator, judge: Floats, labels: int) -> npt.NDArray[np.bool_]:
    """Half of the labels for what the judge fails, half for what it passes, as far as there are such results."""
    failed, passed = (rng.permutation(np.flatnonzero(each)) for each in (judge < 0.5, judge >= 0.5))
    few = min(failed.size, -(-labels // 2))
    few = max(few, labels - passed.size)
    labelled = np.zeros(judge.size, dtype=np.bool_)
    labelled[[*failed[:few], *passed[: labels - few]]] = True
    return labelled
