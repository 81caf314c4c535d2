"""Untrusted texts made safe to display.

Names, outputs, comments and errors come from datasets, models, people and servers. They may contain terminal escapes
or invisible characters, or imitate our own lines, such as `Next: run_experiment(...)`. Our lines that a reader acts on
begin with one of `MARKS`; no other line of a report does.

What is printed may be the log of a CI job, whose runner takes some lines for commands: those that begin with `::`
(GitHub), or have `##[` or `##name[` anywhere (GitHub, Azure, TeamCity).
"""

import json
import re
import unicodedata
from typing import Literal, get_args

from pydantic import JsonValue

Mark = Literal["Warning", "Note", "Gate"]
"""Prefix of a line that a reader acts on."""
MARKS = (*get_args(Mark), "Next", "Error")

MAX_MARK_CHARS = 1_000
"""Beginning of a line, in which a mark is looked for; a terminal shows what is beyond far to the right."""
MAX_INDENT = 40
"""Spaces that a line keeps before its text."""

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\uffa0\ufe00-\ufe0d\U000e0100-\U000e01ef]"
)
"""Letters and marks without a glyph (Unicode's `Default_Ignorable_Code_Point`), which categories do not tell apart."""
_LIKE_A_MARK = re.compile(
    rf"(?!\")(?:\s*::|[\W_]*(?:{'|'.join(MARKS)})s?[\W_]*[:\u02d0\u02f8\u0589\u05c3\u2236\ua789])", re.IGNORECASE
)
"""A command of a CI runner, or one of our marks."""
_LOOK_ALIKES = str.maketrans("аеіоԍгсѕтхԝѡΑΕΙΝΟΤΧαειοτχАЕІОЅТХԌɡ", "aeiogrcstxwwAEINOTXaeiotxAEIOSTXGg")
"""Cyrillic and Greek letters that look like those of the marks
(https://www.unicode.org/Public/security/latest/confusables.txt)."""
_CI_COMMAND = re.compile(r"##(?=[A-Za-z]*\[)")
_NEEDS_ESCAPE = re.compile(r"[^ -~]")


def one_line(text: str) -> str:
    """Put text on one line, without characters that control a terminal, reorder text or are invisible."""
    if not is_safe(text):
        text = "".join(" " if _is_unsafe(character) else character for character in text)
    return _CI_COMMAND.sub("## ", " ".join(text.split()))


def is_safe(text: str) -> bool:
    """Whether text can be displayed unchanged: it has no control or invisible characters, and no command for CI."""
    if _CI_COMMAND.search(text) is not None:
        return False
    return not any(map(_is_unsafe, text)) if not text.isprintable() else _INVISIBLE.search(text) is None


def quote_mark(text: str) -> str:
    """Put text on one line, in quotes if it begins with, or looks like, one of our marks or a command of CI."""
    line = one_line(text)
    if line.isascii():
        plain = line
    else:
        letters = unicodedata.normalize("NFKD", line[:MAX_MARK_CHARS]).translate(_LOOK_ALIKES)
        plain = "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
    return json.dumps(line, ensure_ascii=False) if _LIKE_A_MARK.match(plain) else line


def paragraph(text: str) -> str:
    """Keep the line breaks of a text such as an error with a traceback, and indent every line but the first."""
    first, *rest = safe_lines(text) or [""]
    return "\n".join([first.lstrip(), *(f"  {line}" for line in rest)])


def safe_lines(text: str) -> list[str]:
    """Return the non-empty lines of a text, made safe and with their indent."""
    return [f"{' ' * _indent(line)}{_uncommanding(line)}" for line in text.splitlines() if line.strip()]


def _uncommanding(line: str) -> str:
    # A runner skips the indent.
    shown = one_line(line)
    return json.dumps(shown, ensure_ascii=False) if shown.startswith("::") else shown


def _indent(line: str) -> int:
    return min(len(line) - len(line.lstrip(" ")), MAX_INDENT)


def json_text(value: JsonValue) -> str:
    """Write a value as JSON on one line, with unsafe characters escaped."""
    return escaped_json(json.dumps(value, ensure_ascii=False))


def escaped_json(text: str) -> str:
    """Escape unsafe characters in a JSON document; they occur only in strings, so that no value changes."""
    return _CI_COMMAND.sub(r"\\u0023#", _NEEDS_ESCAPE.sub(lambda found: _escape(found[0]), text))


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\n" and _is_unsafe(character) else character


def replace_surrogates(value: JsonValue) -> JsonValue:
    """Replace lone surrogates in all strings of a value, since UTF-8 cannot encode them."""
    if isinstance(value, dict):
        return {str(replace_surrogates(key)): replace_surrogates(each) for key, each in value.items()}
    if isinstance(value, list):
        return [replace_surrogates(each) for each in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _is_unsafe(character: str) -> bool:
    """Whether a character is a control, a format, a surrogate, unassigned, a line separator or invisible."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp") or _INVISIBLE.match(character) is not None
