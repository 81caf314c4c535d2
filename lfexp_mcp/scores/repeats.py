"""What repeating a run shows: how far an item's results spread, and which items flip between passing and failing."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from lfexp_mcp.answers.run import RepeatedScore
from lfexp_mcp.model import RunRecord
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import PASS_MARK

FLIPS_SHOWN = 10


def summarise_repeats(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[RepeatedScore]:
    """Summarise the scores of a run with repeats, over its items.

    A failed result is a result that did not pass. pass@k is the chance that at least one of k results passes, pass^k
    that all do; with as many repeats as k the unbiased estimator of the former (Chen et al. 2021, arXiv 2107.03374,
    section 2.1) is the share of items with a passing result.

    Args:
        record: The run.
        interpretations: How its scores are read, see `interpret_scores`.

    Returns:
        One entry per score that has a 0-1 value, names in alphabetical order; empty for a run without repeats.
    """
    if len(record.experiment_ids) < 2:
        return []
    values: dict[str, dict[str, list[float]]] = {name: {} for name in interpretations}
    failed: dict[str, int] = {}
    for item in record.items:
        failed[item.item_id] = failed.get(item.item_id, 0) + (item.status == "failed")
        for score in item.scores:
            reading = interpretations[score.name]
            value = reading.canonical(score) if reading.counts(score) else None
            if value is not None:
                values[score.name].setdefault(item.item_id, []).append(value)
    return [_summary(name, by_item, failed, len(record.experiment_ids)) for name, by_item in values.items() if by_item]


def _summary(name: str, by_item: dict[str, list[float]], failed: dict[str, int], repeats: int) -> RepeatedScore:
    passes = {
        item_id: [value >= PASS_MARK for value in by_item.get(item_id, [])] + [False] * failures
        for item_id, failures in failed.items()
        if item_id in by_item or failures
    }
    complete = [results for results in passes.values() if len(results) == repeats]
    flips = sorted(item_id for item_id, results in passes.items() if len(set(results)) > 1)
    return RepeatedScore(
        name=name,
        repeats=repeats,
        pass_mark=PASS_MARK,
        items=len(complete),
        pass_at_1=_mean([fmean(results) for results in complete]),
        pass_at_k=_mean([any(results) for results in complete]),
        pass_all_k=_mean([all(results) for results in complete]),
        spread=_mean([stdev(values) for values in by_item.values() if len(values) > 1]),
        flips=len(flips),
        flipping_items=flips[:FLIPS_SHOWN],
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
