"""What a difference could be, were the items known that lack a value."""

from collections.abc import Sequence

from lfexp_mcp.model import Interval
from lfexp_mcp.services.comparison.coverage import missing_items
from lfexp_mcp.services.runs.scored_run import ScoredRun

MOST_MISSING = 0.02
"""Share of shared items without a value up to which a difference stands for all of them."""


def worst_case(baseline: ScoredRun, run: ScoredRun, score: str, item_ids: Sequence[str]) -> Interval | None:
    """Bound the delta of a score on 0-1 over all shared items, also those that failed or were not scored.

    Source: C. Manski, American Economic Review 80 (1990) 319-323, bounds without assumptions on what is missing.

    Args:
        baseline: The run compared with.
        run: The run.
        score: The score's name; both runs have it on its scale.
        item_ids: The items that both runs have.

    Returns:
        The delta were every missing value the worst for the run, and were it the best; None where at most
        `MOST_MISSING` of the items lack one. An item that evaluators left out in both runs lacks none.
    """
    first, second = baseline.numbers.get(score, {}), run.numbers.get(score, {})
    missing = missing_items(baseline, run, score, item_ids)
    paired = [item_id for item_id in item_ids if item_id in first and item_id in second]
    total = len(paired) + len(missing)
    if len(missing) <= MOST_MISSING * total:
        return None
    known = sum(second[item_id] - first[item_id] for item_id in paired)
    low = sum(second.get(item_id, 0.0) - first.get(item_id, 1.0) for item_id in missing)
    high = sum(second.get(item_id, 1.0) - first.get(item_id, 0.0) for item_id in missing)
    return Interval((known + low) / total, (known + high) / total)
