"""Outputs that look wrong by themselves: empty, cut off, or the same for different inputs."""

import json
import unicodedata
from collections.abc import Sequence

from pydantic import JsonValue

from lfexp_mcp.answers.analysis import OutputGroup
from lfexp_mcp.model import ItemResult
from lfexp_mcp.services.answer_size import AnswerSize

MIN_LONG_CHARS = 200
"""An output of this length counts as cut off if it does not end properly."""
MIN_REPEATED_CHARS = 20
"""Shorter outputs, such as labels, may well be the same for different inputs."""
MIN_PROPER_SHARE = 0.6
"""Unless this share of the long outputs ends properly, none counts as cut off."""
MAX_ENDING_CHARS = 80
MAX_IDS = 5


def group_outputs(items: Sequence[ItemResult], size: AnswerSize) -> list[OutputGroup]:
    """Find outputs of succeeded items that are empty, cut off, or the same for different inputs."""
    succeeded = [item for item in items if item.status == "succeeded"]
    groups = [_empty(succeeded), _cut_off(succeeded, size), *_repeated(succeeded, size)]
    return [group for group in groups if group is not None]


def _empty(items: Sequence[ItemResult]) -> OutputGroup | None:
    empty = [item for item in items if item.output in (None, "", [], {}) or not _text(item.output).strip()]
    return OutputGroup(kind="empty", count=len(empty), item_ids=_ids(empty)) if empty else None


def _cut_off(items: Sequence[ItemResult], size: AnswerSize) -> OutputGroup | None:
    """Texts without a proper end, if most of the run's long texts have one."""
    long = [item for item in items if isinstance(item.output, str) and len(item.output) >= MIN_LONG_CHARS]
    cut = [item for item in long if not _ends_well(_text(item.output))]
    if not cut or len(long) - len(cut) < MIN_PROPER_SHARE * len(long):
        return None
    example = _text(cut[0].output).rstrip()
    ending = example[-min(MAX_ENDING_CHARS, size.text_chars) :]
    return OutputGroup(kind="cut off", count=len(cut), item_ids=_ids(cut), example=f"…{ending}")


def _ends_well(text: str) -> bool:
    """Whether a text ends in closing punctuation, in any script, and leaves no code block open."""
    ending = text.rstrip()
    last = ending[-1:]
    closed = bool(last) and unicodedata.category(last)[0] in "PS" and last not in ",;-"
    return closed and ending.count("```") % 2 == 0


def _repeated(items: Sequence[ItemResult], size: AnswerSize) -> list[OutputGroup]:
    by_text: dict[str, list[ItemResult]] = {}
    for item in items:
        text = _text(item.output)
        if len(text) >= MIN_REPEATED_CHARS:
            by_text.setdefault(text, []).append(item)
    groups = [
        OutputGroup(kind="repeated", count=len(alike), item_ids=_ids(alike), example=size.truncate_text(text))
        for text, alike in by_text.items()
        if len({_text(item.input) for item in alike}) > 1
    ]
    return sorted(groups, key=lambda group: -group.count)[: max(1, size.rows)]


def _ids(items: Sequence[ItemResult]) -> list[str]:
    return [item.item_id for item in items[:MAX_IDS]]


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
