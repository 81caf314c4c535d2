"""Opening and writing files that a caller names.

The path may come from a model: it may name a pipe without an end, a device, a folder, or nothing a file system can
hold.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from lfexp_mcp.errors import UsageError

MAX_SCRIPT_BYTES = 10 * 1024**2
MAX_PROMPT_BYTES = 1024**2
MAX_DATA_BYTES = 1024**3
"""Of a file of items. It is read as a stream, but may be a single line."""

# Opening a pipe without a writer would block forever.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def locate(path: Path, what: str, error: type[UsageError] = UsageError) -> Path:
    """Make a path absolute, `~` and links resolved.

    Args:
        what: What the file is, for the error, such as `task script`.

    Raises:
        UsageError: No file can have this path: it holds NUL, is too long, is a loop of links, or `~` names no user.
    """
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as impossible:
        raise error(
            f"The path of the {what} cannot be used ({_reason(impossible)}): {_short(path)}. Pass an absolute path."
        ) from None


def open_regular(
    path: Path,
    what: str,
    max_bytes: int,
    error: type[UsageError] = UsageError,
    within: Sequence[Path] | None = None,
) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        what: What the file is, for the error, such as `task script`.
        within: Folders, links resolved, in one of which the file has to lie, as has its path, which `locate` made.

    Raises:
        UsageError: The file does not exist, is not a regular file, is too large, or cannot be opened.
    """
    where = locate(path, what, error) if within is None else path
    try:
        descriptor = os.open(where, _FLAGS) if within is None else _open_within(where, within)
    except FileNotFoundError:
        raise error(f"There is no {what} {_short(where)}. Pass the absolute path of a file.") from None
    except (OSError, ValueError) as refused:
        # `Path.is_dir` raises for a name that is too long.
        if os.path.isdir(where):  # noqa: PTH112
            raise error(f"The {what} {_short(where)} is a folder. Pass the path of a file.") from None
        raise error(f"The {what} {_short(where)} cannot be opened ({_reason(refused)}).") from None
    found = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = "is not a regular file but a folder, a pipe or a device"
    elif found.st_size > max_bytes:
        problem = f"has {found.st_size:,} bytes, and may have {max_bytes:,}"
    if problem is not None:
        os.close(descriptor)
        raise error(f"The {what} {_short(where)} {problem}. Pass another file.")
    return os.fdopen(descriptor, "rb")


def _open_within(path: Path, folders: Sequence[Path]) -> int:
    """Open a file by its folders, one after the other, without following a link.

    A path that was checked may lead elsewhere by now: whoever can write into its folders could exchange one of them, or
    the file, for a link.
    """
    folder = next((each for each in folders if path.is_relative_to(each)), None)
    if folder is None or ".." in path.parts:
        raise PermissionError(errno.EACCES, "it lies outside of the allowed folders")
    if os.open not in os.supports_dir_fd:
        return os.open(path, _FLAGS)
    descriptor = os.open(folder, _FLAGS)
    for part in path.relative_to(folder).parts:
        parent = descriptor
        try:
            descriptor = os.open(part, _FLAGS | os.O_NOFOLLOW, dir_fd=parent)
        finally:
            os.close(parent)
    return descriptor


def new_file(given: str, what: str, *, overwrite: bool) -> Path:
    """Make the path of a file to write absolute.

    Args:
        what: The argument that names it.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        UsageError: It cannot be a file, or there is one that may not be replaced.
    """
    name = Path(given).name
    # Not the path itself, in which a link to an existing file would be followed.
    folder = locate(Path(given).parent, f"file for {what}")
    path = folder / name
    # `Path.is_dir` raises for a name that is too long.
    if not name or "\0" in name or given != given.strip() or not os.path.isdir(folder) or os.path.isdir(path):  # noqa: PTH112
        raise UsageError(f"{what} {given[:300]!r} is not in an existing folder.")
    if not overwrite and os.path.lexists(path):
        raise UsageError(f"{what}: there is a file {_short(path)} already. Pass --overwrite to replace it.")
    return path


def write_private(path: Path, text: str, what: str) -> None:
    """Write a file that only the user can read, whole or not at all; a link in its place is replaced, not followed.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".lfexp-", delete=False) as fresh:
            try:
                fresh.write(text.encode())
                fresh.close()
                Path(fresh.name).replace(path)
            except BaseException:
                Path(fresh.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UsageError(f"{what} {_short(path)} cannot be written: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _short(path: Path) -> str:
    text = str(path)
    return repr(text) if len(text) <= 300 else f"{text[:300]!r}… ({len(text):,} characters)"
