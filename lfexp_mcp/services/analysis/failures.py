"""What fails in a run: results that score too low, and errors grouped by kind."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lfexp_mcp.answers.analysis import ErrorGroup, FailingItem
from lfexp_mcp.model import ItemResult
from lfexp_mcp.services.answer_size import AnswerSize
from lfexp_mcp.services.runs.get_run import item_answer
from lfexp_mcp.services.runs.read_run import with_comments
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

MAX_METADATA_CHARS = 60
MAX_METADATA_KEYS = 10
MAX_KIND_CHARS = 160
MAX_IDS = 5

_VARIABLE = re.compile(
    r"""(?P<quoted>"[^"\n]{1,200}"|'[^'\n]{1,200}'|`[^`\n]{1,200}`)
      | (?P<url>https?://\S+)
      | (?P<path>(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,})
      | (?P<id>\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b)
      | (?P<number>\d[\d.,:]*\d|\d)""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A result with scores below the threshold."""

    item: ItemResult
    scores: tuple[tuple[float, str], ...]
    """Canonical value and name, lowest first."""
    trace_url: str | None = None


def find_failures(values: ScoredRun, scores: Sequence[str], threshold: float) -> list[Failure]:
    """Find the results with a score below the threshold, the lowest first.

    Args:
        values: The run.
        scores: The scores to check; those without a scale never fail.
        threshold: On 0-1.
    """
    failures = [Failure(item, low) for item in values.record.items if (low := _low(values, item, scores, threshold))]
    return sorted(failures, key=lambda failure: (failure.scores[0][0], failure.item.item_id, failure.item.repeat))


def _low(values: ScoredRun, item: ItemResult, scores: Sequence[str], threshold: float) -> tuple[tuple[float, str], ...]:
    found = []
    for name in scores:
        score = values.score_of(item, name)
        value = values.interpretations[name].canonical(score) if score is not None else None
        if value is not None and value < threshold:
            found.append((value, name))
    return tuple(sorted(found))


async def read_page(ws: Workspace, failures: Sequence[Failure]) -> list[Failure]:
    """Add the judges' reasons and the trace URLs to the failures that an answer shows."""
    items = await with_comments(ws, [failure.item for failure in failures])
    return [
        replace(failure, item=item, trace_url=await ws.gateway.trace_url(item.trace_id) if item.trace_id else None)
        for item, failure in zip(items, failures, strict=True)
    ]


def show_failure(failure: Failure, values: ScoredRun, size: AnswerSize) -> FailingItem:
    """Show one failing result at a given size."""
    item = failure.item
    shown = item_answer(item, values, size)
    brief = AnswerSize(min(size.text_chars, MAX_METADATA_CHARS), size.rows)
    return FailingItem(
        **shown.model_dump(exclude={"metadata"}),
        failed_scores=[name for _, name in failure.scores],
        lowest=failure.scores[0][0],
        metadata={
            key: brief.truncate_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for key, value in list(item.metadata.items())[:MAX_METADATA_KEYS]
        },
        trace_url=failure.trace_url,
    )


def group_errors(items: Sequence[ItemResult], size: AnswerSize) -> list[ErrorGroup]:
    """Group the errors of tasks, evaluators and judges by kind, the most frequent first."""
    found: dict[tuple[str, str], list[tuple[str, ItemResult]]] = {}
    for item in items:
        errors = [("task", item.error)] if item.error is not None else []
        for where, error in (*errors, *((missing.name, missing.error) for missing in item.unscored)):
            found.setdefault((where, error_kind(error)), []).append((error, item))
    groups = [
        ErrorGroup(
            kind=kind,
            where=where,
            count=len(errors),
            example=size.truncate_text(errors[0][0]),
            item_ids=[item.item_id for _, item in errors[:MAX_IDS]],
        )
        for (where, kind), errors in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.where, group.kind))[: size.rows]


def error_kind(error: str) -> str:
    """Return what errors of one kind share: the message without its numbers, quotes, paths and URLs."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return "no message"
    # The last line of a traceback is its message.
    message = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return _VARIABLE.sub(lambda match: f"<{match.lastgroup}>", message)[:MAX_KIND_CHARS]
