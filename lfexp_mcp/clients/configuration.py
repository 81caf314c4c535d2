"""Configuration files, which belong to other programs: reading them, and changing one member of one in JSON."""

import json
import os
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.disk import make_folder_durably, move_durably
from lfexp_mcp.errors import UsageError
from lfexp_mcp.files import locate, open_regular
from lfexp_mcp.strict_json import strict_loads

MAX_BYTES = 64 * 1024**2
PRIVATE = 0o600
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class FileContent:
    """A configuration file as it was read."""

    path: Path
    """Where the client looks for it."""
    target: Path
    """Where it is, links resolved."""
    content: bytes | None
    """None: there is no file."""
    mode: int = PRIVATE
    owner: tuple[int, int] | None = None
    """Ids of user and group."""

    @property
    def text(self) -> str:
        """The content without a byte order mark, which JSON and TOML files need not have.

        Raises:
            UsageError: It is not UTF-8.
        """
        try:
            return (self.content or b"").decode("utf-8").removeprefix(_BOM)
        except UnicodeDecodeError:
            raise UsageError(f"{self.path} is not UTF-8.") from None


def read_file(path: Path) -> FileContent:
    """Read a configuration file that may not exist.

    Raises:
        UsageError: It cannot be read, is not a regular file, is too large, or is a link to nothing.
    """
    target = locate(path, "configuration file")
    try:
        exists = os.path.lexists(path)
        if exists and not path.exists():
            raise UsageError(f"{path} is a link to {target}, which does not exist.")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    if not exists:
        return FileContent(path, target, None)
    with open_regular(target, "configuration file", MAX_BYTES) as file:
        found = os.fstat(file.fileno())
        return FileContent(path, target, file.read(), found.st_mode & 0o777, (found.st_uid, found.st_gid))


def parse(file: FileContent, *, toml: bool = False) -> dict[str, JsonValue]:
    """Parse a file as one JSON object, or as TOML; an empty file is an empty one.

    Raises:
        UsageError: It is anything else, such as JSON with comments.
    """
    text = file.text
    try:
        if toml:
            return tomllib.loads(text)
        value = strict_loads(text, unique_names=True) if text.strip() else {}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file.path} is not TOML: {error}.") from None
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{file.path} is not plain JSON (line {error.lineno}, column {error.colno}): "
            "it may have comments, which would be lost."
        ) from None
    except ValueError:
        raise UsageError(f"{file.path} is not JSON that every program reads alike.") from None
    if not isinstance(value, dict):
        raise UsageError(f"{file.path} is not a JSON object.")
    return value


def with_member(text: str, names: tuple[str, ...], value: Mapping[str, JsonValue]) -> str:
    """Set a member of a member of a JSON object, and keep every other character of its text.

    Args:
        text: The object, without repeated names.
        names: The member's name, preceded by those of the objects around it.
    """
    if empty := re.fullmatch(r"\s*(?:\{\s*\}(\s*))?", text):
        text = "{\n}" + (empty[1] if empty[1] is not None else "\n")
    return _set(text, text.index("{"), names, dict(value), _layout(text), depth=1)


@dataclass(frozen=True, slots=True)
class _Layout:
    indent: str | None
    """None: all on one line."""
    newline: str

    def json(self, value: JsonValue, depth: int) -> str:
        text = json.dumps(value, indent=self.indent, ensure_ascii=False)
        return text.replace("\n", self.line(depth))

    def line(self, depth: int) -> str:
        return "" if self.indent is None else self.newline + self.indent * depth


def _layout(text: str) -> _Layout:
    newline = "\r\n" if "\r\n" in text else "\n"
    found = re.match(r'\s*\{\s*\n([ \t]*)"', text)
    return _Layout((found[1] if found else "  ") if "\n" in text.strip() else None, newline)


def _set(text: str, at: int, names: tuple[str, ...], value: JsonValue, layout: _Layout, depth: int) -> str:
    members, close = _members(text, at)
    name, *deeper = names
    for known, start, end in members:
        if known == name and deeper:
            return _set(text, start, tuple(deeper), value, layout, depth + 1)
        if known == name:
            return text[:start] + layout.json(value, depth) + text[end:]
    for outer in reversed(deeper):
        value = {outer: value}
    line = f"{layout.line(depth)}{json.dumps(name)}: {layout.json(value, depth)}"
    if members:
        end = members[-1][2]
        return f"{text[:end]},{line if layout.indent is not None else f' {line}'}{text[end:]}"
    return text[: at + 1] + line + layout.line(depth - 1) + text[close:]


_SPACE = re.compile(r"[ \t\r\n]*")


def _members(text: str, at: int) -> tuple[list[tuple[str, int, int]], int]:
    """Return the members of the object that begins there, each with where its value is, and where the object ends."""
    decoder = json.JSONDecoder()
    found: list[tuple[str, int, int]] = []
    at = _skip(text, at + 1)
    while text[at] != "}":
        name, colon = decoder.raw_decode(text, _skip(text, at + 1) if text[at] == "," else at)
        start = _skip(text, _skip(text, colon) + 1)
        end = decoder.raw_decode(text, start)[1]
        found.append((name, start, end))
        at = _skip(text, end)
    return found, at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def replace_content(file: FileContent, text: str) -> Path | None:
    """Replace a file's content durably, if it is still what was read; a copy of the old one stays beside it.

    The file keeps its permissions and its owner, and a link stays a link.

    Returns:
        The copy, if there was a file.

    Raises:
        UsageError: The file has changed, is read-only or cannot be written.
    """
    if not file.mode & 0o200:
        raise UsageError(f"{file.path} is read-only.")
    try:
        make_folder_durably(file.target.parent)
        fresh = _written(file.target, text.encode("utf-8"), file)
        try:
            if read_file(file.path) != file:
                raise UsageError(f"{file.path} has changed since it was read. Run the command again.")
            backup = None if file.content is None else _back_up(file)
            move_durably(fresh, file.target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{file.path} cannot be written: {error.strerror or error}.") from None
    return backup


def _back_up(file: FileContent) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    copy = _written(file.path, file.content or b"", None)
    names = (file.path.with_name(f"{file.path.name}.{stamp}{suffix}.bak") for suffix in ("", *range(2, 1000)))
    backup = next(each for each in names if not os.path.lexists(each))
    move_durably(copy, backup)
    return backup


def _written(beside: Path, content: bytes, like: FileContent | None) -> Path:
    """Write a new file, private until it is complete."""
    handle, name = tempfile.mkstemp(dir=beside.parent, prefix=f".{beside.name}.")
    with os.fdopen(handle, "wb") as new:
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
    fresh = Path(name)
    if like is not None:
        made = fresh.stat()
        if sys.platform != "win32" and like.owner not in (None, (made.st_uid, made.st_gid)):
            os.chown(fresh, *like.owner)
        fresh.chmod(like.mode)
    return fresh
