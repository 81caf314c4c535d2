"""Read a judge's reply: clean it up, collect the scores that it states, and choose the verdict."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeReplyError
from lfexp_mcp.judges.reply.context import REASON_NAMES, Context, Standing
from lfexp_mcp.judges.reply.loose_json import FoundObject, objects_in
from lfexp_mcp.judges.reply.objects import scores_in_object
from lfexp_mcp.judges.reply.statements import Statement, statements_in
from lfexp_mcp.judges.reply.values import Value, read_value
from lfexp_mcp.model import Scale

_MAX_CHARS = 100_000

_THINKING = re.compile(r"<(think|thinking|reasoning_content)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THINKING = re.compile(r"\A\s*(?![{`\s]).*?</(?:think|thinking)>", re.DOTALL | re.IGNORECASE)
_OTHER_CHANNELS = re.compile(r"\A\s*<\|(?:channel|start)\|>.*<\|channel\|>final<\|message\|>", re.DOTALL)
_BLOCK_START = re.compile(r"\s*(?:```\w*\s*)?")
_CONTROL_TOKEN = re.compile(r"<\|[\w ]{1,40}\|>(?:(?:assistant|analysis|final)\b)?")
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xAD, 0x20E3])
"""Zero-width spaces, marks of direction, word joiner, byte order mark, soft hyphen, and the frame of a keycap."""
_ASCII: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **{0x2460 + number: str(number + 1) for number in range(10)},
    0x3000: " ",
    0xA0: " ",
    0xBC: ".25",
    0xBD: ".5",
    0xBE: ".75",
}
"""ASCII for full-width characters, circled numbers and fractions."""
_INLINE_TAG = re.compile(r"</?(?:b|em|i|span|strong|u)\s*>|\\text\{([^{}\n]{1,60})\}", re.IGNORECASE)
_BLOCK_TAG = re.compile(r"</?(?:br|div|h[1-6]|li|ol|p|ul)\s*/?>", re.IGNORECASE)
_BLANK = "\ufffc"

_REASON_LABEL = re.compile(
    rf"(?:^|\n)(?:[^\w\n]|_)*+(?:{REASON_NAMES})[*_]*\s*:[*_]*\s*(.+)", re.DOTALL | re.IGNORECASE
)
_REASON_TAG = re.compile(r"<(reasoning|reason|explanation|rationale)>(.+?)</\1>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """The score and the reason in a judge's reply."""

    value: Value
    """A number on the judge's scale, a bool on a BOOLEAN scale, a label on a CATEGORICAL one."""
    reason: str | None


def read_reply(reply: str, scale: Scale, score_name: str) -> JudgeReply:
    """Read the score and the reason from a judge's reply.

    Args:
        scale: The judge's scale, which tells what a value means and which values count.
        score_name: Name of the score; a judge of `accuracy` may answer `{"accuracy": 8}` or `Accuracy: 8`.

    Raises:
        JudgeReplyError: The reply has no score, one outside the scale, or several that differ.

    Example:
        >>> read_reply("Clear and complete. **Score:** 8/10", Scale(0, 10), "accuracy").value
        8.0
    """
    if not reply.strip():
        raise JudgeReplyError("The judge's reply is empty.")
    if len(reply) > _MAX_CHARS:
        raise JudgeReplyError(f"The judge's reply is too long to be read: {len(reply):,} characters.")
    only = _only_object(reply)
    text = reply if only else _clean(reply)
    whole = read_value(text, scale)
    if whole is not None:
        return JudgeReply(_within(whole, scale), None)
    if only:
        statements = scores_in_object(only.value, scale, score_name, Statement(0, None, Standing.STATED, 0))
    else:
        statements = _statements(text, scale, score_name)
    verdict = _choose(statements)
    if verdict is None:
        raise JudgeReplyError(f"The judge's reply states no score on {scale.name}.")
    if verdict.value is None:
        raise JudgeReplyError("The judge's reply states several scores that differ, or says that it gives none.")
    reason = verdict.reason if verdict.is_object else _reason_around(text)
    return JudgeReply(_within(verdict.value, scale), reason or None)


def _only_object(reply: str) -> FoundObject | None:
    """Return the object that is the whole reply, perhaps in a code block; what its strings quote does not matter."""
    start = _BLOCK_START.match(reply)
    at = start.end() if start else 0
    found = next(objects_in(reply[at:]), None)
    alone = found is not None and found.start == 0 and not reply[at + found.end :].strip(" \t\r\n`")
    return found if alone else None


def _clean(reply: str) -> str:
    """Remove a model's thinking, control tokens and inline markup, and normalise digits and punctuation."""
    text = _END_OF_THINKING.sub("", _THINKING.sub("", reply.translate(_INVISIBLE)))
    text = _CONTROL_TOKEN.sub("\n", _OTHER_CHANNELS.sub("", text).translate(_ASCII)).lstrip()
    if text.startswith('"{'):
        try:
            inner = json.loads(text)
        except ValueError:
            return text
        return inner if isinstance(inner, str) else text
    # An object that lost its braces.
    if re.match(r'"[\w ]{1,40}"\s*:', text):
        return f"{{{text}"
    return _BLOCK_TAG.sub("\n", _INLINE_TAG.sub(lambda tag: tag[1] or "", text))


def _statements(text: str, scale: Scale, score_name: str) -> list[Statement]:
    objects = [found for found in objects_in(text) if _has_members(found.value)]
    parts, at = [], 0
    for found in objects:
        parts += [text[at : found.start], _BLANK * (found.end - found.start)]
        at = found.end
    blanked = "".join([*parts, text[at:]])
    context = Context(blanked)
    statements = list(statements_in(blanked, scale, score_name, context))
    for found in objects:
        standing, finality = context.standing(found.start, found.end), context.finality(found.start)
        where = Statement(found.start, None, standing, finality)
        statements += scores_in_object(found.value, scale, score_name, where)
    withdrawn = context.withdrawn_before()
    return [statement for statement in statements if statement.at >= withdrawn]


def _has_members(value: JsonValue) -> bool:
    if isinstance(value, list):
        return any(_has_members(entry) for entry in value)
    return isinstance(value, dict)


def _choose(statements: Sequence[Statement]) -> Statement | None:
    """Choose the verdict: what is marked as final, else what is set apart, unless two of these differ.

    Returns:
        The verdict, its value None if several differ; None if there is none.
    """
    own = [statement for statement in statements if statement.standing > Standing.OTHERS]
    own = [statement for statement in own if statement.standing > Standing.WEAK] or own
    if not own:
        return None
    finality, standing = max((statement.finality, statement.standing) for statement in own)
    best = [statement for statement in own if (statement.finality, statement.standing) == (finality, standing)]
    # Words marked as final may be a quotation that was not recognised; an object is what was asked for.
    best += [
        statement
        for statement in own
        if statement.is_object and statement.standing is Standing.STATED and not best[0].is_object
    ]
    if len({statement.value for statement in best}) > 1:
        return Statement(best[-1].at, None, standing, finality)
    return next((statement for statement in best if statement.reason), best[-1])


def _within(value: Value, scale: Scale) -> Value:
    if scale.kind != "NUMERIC" or isinstance(value, str):
        return value
    on_scale = scale.within(value)
    if on_scale is None:
        raise JudgeReplyError(
            f"The judge's reply states {value:g}, which is outside its scale {scale.name}. "
            "If it answers on another one, declare that as `scale` in the config of its prompt."
        )
    return on_scale


def _reason_around(text: str) -> str:
    if tagged := _REASON_TAG.search(text):
        return tagged[2].strip()
    labelled = _REASON_LABEL.search(text)
    return (labelled[1] if labelled else text).strip()
