"""What fails in a run: results that score too low."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lfexp_mcp.answers.run import ItemAnswer
from lfexp_mcp.model import ItemResult
from lfexp_mcp.scores.limits import is_below
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.runs.get_run import item_answer
from lfexp_mcp.services.runs.read_run import with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

MAX_METADATA_CHARS = 60
MAX_METADATA_KEYS = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A result with scores below the threshold."""

    item: ItemResult
    scores: tuple[tuple[float, str], ...]
    """Canonical value and name, lowest first."""


def find_failures(values: ScoredRun, scores: Sequence[str], threshold: float) -> list[Failure]:
    """Find the results with a score below the threshold, the lowest first.

    Args:
        scores: The scores to check; those without a scale never fail.
        threshold: On 0-1.
    """
    failures = [Failure(item, low) for item in values.record.items if (low := _low(values, item, scores, threshold))]
    return sorted(failures, key=lambda failure: (failure.scores[0][0], failure.item.item_id, failure.item.repeat))


def _low(values: ScoredRun, item: ItemResult, scores: Sequence[str], threshold: float) -> tuple[tuple[float, str], ...]:
    found = []
    for name in scores:
        score = values.bare_score_of(item, name)
        value = values.interpretations[name].canonical(score) if score is not None else None
        if value is not None and is_below(value, threshold):
            found.append((value, name))
    return tuple(sorted(found))


async def read_page(ws: Workspace, failures: Sequence[Failure]) -> list[Failure]:
    """Add the judges' reasons to failures."""
    items = await with_comments(ws, [failure.item for failure in failures])
    return [replace(failure, item=item) for item, failure in zip(items, failures, strict=True)]


def show_failure(failure: Failure, values: ScoredRun, size: AnswerSize) -> ItemAnswer:
    """Show one failing result at a given size."""
    item = failure.item
    shown = item_answer(item, values, size)
    brief = AnswerSize(min(size.text_chars, MAX_METADATA_CHARS), size.rows)
    failed = {name for _, name in failure.scores}
    for score, shown_score in zip(item.scores, shown.scores, strict=False):
        shown_score.failed = score.name in failed and values.interpretations[score.name].counts(score)
    shown.metadata = {
        key: brief.truncate_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in list(item.metadata.items())[:MAX_METADATA_KEYS]
    } or None
    # get_run tells it with the item.
    shown.trace_id = None
    return shown
