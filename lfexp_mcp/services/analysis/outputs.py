"""Outputs that look wrong by themselves, and errors grouped by kind."""

import json
import re
import unicodedata
from collections.abc import Sequence

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import ErrorGroup, OutputGroup
from lfexp_mcp.model import ItemResult
from lfexp_mcp.services.answer_size import AnswerSize

LONG_OUTPUT = 200
"""Characters from which an output is long enough that its end tells whether it was cut off."""
REPEATED_LENGTH = 20
"""Characters from which the same output for different inputs is no mere label."""
MOSTLY = 0.6
"""Share of long outputs that end properly, from which one that does not was cut off."""
IDS_SHOWN = 5

_VARIABLE = re.compile(
    r"""(?P<quoted>"[^"\n]{1,200}"|'[^'\n]{1,200}'|`[^`\n]{1,200}`)
      | (?P<url>https?://\S+)
      | (?P<path>(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,})
      | (?P<id>\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b)
      | (?P<number>\d[\d.,:]*\d|\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_KIND_LENGTH = 160


def group_outputs(items: Sequence[ItemResult], size: AnswerSize) -> list[OutputGroup]:
    """Find outputs of succeeded items that are empty, cut off, or the same for different inputs."""
    succeeded = [item for item in items if item.status == "succeeded"]
    groups = [_empty(succeeded), _cut_off(succeeded, size), *_repeated(succeeded, size)]
    return [group for group in groups if group is not None]


def _empty(items: Sequence[ItemResult]) -> OutputGroup | None:
    empty = [item for item in items if item.output in (None, "", [], {}) or not _text(item.output).strip()]
    return OutputGroup(kind="empty", count=len(empty), item_ids=_ids(empty)) if empty else None


def _cut_off(items: Sequence[ItemResult], size: AnswerSize) -> OutputGroup | None:
    """Texts that stop without an end, where most of the run's long texts have one."""
    long = [item for item in items if isinstance(item.output, str) and len(item.output) >= LONG_OUTPUT]
    cut = [item for item in long if not _ends_well(_text(item.output))]
    if not cut or len(long) - len(cut) < MOSTLY * len(long):
        return None
    example = _text(cut[0].output).rstrip()
    ending = example[-min(80, size.text_chars) :]
    return OutputGroup(kind="cut off", count=len(cut), item_ids=_ids(cut), example=f"…{ending}")


def _ends_well(text: str) -> bool:
    """Whether a text ends in punctuation that ends something, in any script, and no code block is left open."""
    ending = text.rstrip()
    last = ending[-1:]
    closed = bool(last) and unicodedata.category(last)[0] in "PS" and last not in ",;-"
    return closed and ending.count("```") % 2 == 0


def _repeated(items: Sequence[ItemResult], size: AnswerSize) -> list[OutputGroup]:
    by_text: dict[str, list[ItemResult]] = {}
    for item in items:
        text = _text(item.output)
        if len(text) >= REPEATED_LENGTH:
            by_text.setdefault(text, []).append(item)
    groups = [
        OutputGroup(kind="repeated", count=len(alike), item_ids=_ids(alike), example=size.truncate_text(text))
        for text, alike in by_text.items()
        if len({_text(item.input) for item in alike}) > 1
    ]
    return sorted(groups, key=lambda group: -group.count)[: max(1, size.rows)]


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
            item_ids=_ids([item for _, item in errors]),
        )
        for (where, kind), errors in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.where, group.kind))


def error_kind(error: str) -> str:
    """What errors of one kind have in common: the message without its numbers, quotes, paths and addresses."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return "no message"
    # The last line of a traceback is its message.
    message = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return _VARIABLE.sub(lambda match: f"<{match.lastgroup}>", message)[:_KIND_LENGTH]


def _ids(items: Sequence[ItemResult]) -> list[str]:
    return [item.item_id for item in items[:IDS_SHOWN]]


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
