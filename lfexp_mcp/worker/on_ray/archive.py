"""The scripts' folders as one ZIP archive, which each node unpacks once per run.

They do not travel in Ray's runtime environment: with one, Ray sets up each process by a further process first, and can
use none of those that it has started ahead of time.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from zipfile import ZIP_DEFLATED, ZipFile

from lfexp_mcp.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

NEVER_SENT = [".env*", "*.pem", "*.key", ".aws", ".ssh", ".git", ".venv", "venv", "node_modules", "__pycache__"]
"""What no node needs, and what everyone on the cluster could read."""
IGNORE_FILES = (".gitignore", ".rayignore")
"""Name what else to leave out, in the folder that they lie in and below; the second is Ray's."""
MAX_BYTES = 500 * 1024**2
"""Of all files together, before they are compressed."""
FAST = 1
PREFIX = "lfexp-files-"
"""Begins the names of unpacked folders."""
HOW_TO_LEAVE_OUT = "with .gitignore, or `excludes` in runtime_env"

_Rule: TypeAlias = "tuple[int, GitIgnoreSpec]"
"""What is left out below a folder that lies so deep."""


def pack(folders: Mapping[str, Path], excludes: Sequence[str], kept: Mapping[str, Path]) -> bytes:
    """Pack folders, with what links in them lead to.

    Args:
        folders: By the names that they get in the archive.
        excludes: Patterns of what to leave out, as in `.gitignore`.
        kept: Files that are to be as they were, by their paths in the archive, and where they are kept so.

    Raises:
        UsageError: They are too large, or hold what cannot be sent.
    """
    rule = (0, _patterns([*NEVER_SENT, *excludes], "`excludes` in runtime_env"))
    buffer = BytesIO()
    try:
        found = {
            "/".join((name, *parts)): path
            for name, folder in folders.items()
            for parts, path in _walk(folder, (), [rule], {folder.resolve()})
        } | dict(kept)
        _check_size(found.values())
        with ZipFile(buffer, "w", ZIP_DEFLATED, compresslevel=FAST, strict_timestamps=False) as archive:
            for name in folders:
                archive.mkdir(name)
            for place, path in found.items():
                # It may have gone meanwhile, as temporary files do.
                if path.exists():
                    archive.write(path, place)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be sent to the nodes ({error.strerror}): leave it out {HOW_TO_LEAVE_OUT}."
        ) from None
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The name of {error.object!a} is not UTF-8, so it cannot be sent to the nodes: leave it out "
            f"{HOW_TO_LEAVE_OUT}."
        ) from None
    return buffer.getvalue()


def unpack_once(folder: Path, fetch: Callable[[], bytes]) -> None:
    """Unpack an archive, unless another process of this node has: the folder appears with all that it holds.

    It stays for as long as a process that called this lives, and until the next such call for another folder.

    Args:
        folder: Where to; its name begins with `PREFIX`.
        fetch: Returns the archive.

    Raises:
        OSError: The disk does not take it.
    """
    for other in folder.parent.glob(f"{PREFIX}*"):
        if other != folder:
            _remove_unless_held(other)
    while not _hold(folder):
        # Only this user may read it.
        unpacked = Path(tempfile.mkdtemp(prefix="lfexp-", dir=folder.parent))
        try:
            with ZipFile(BytesIO(fetch())) as archive:
                for each in archive.infolist():
                    path = Path(archive.extract(each, unpacked))
                    if path.is_file():
                        path.chmod(stat.S_IRUSR | stat.S_IWUSR | (each.external_attr >> 16 & 0o777))
            unpacked.rename(folder)
        except OSError:
            # Another process may have been faster.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)


def _hold(folder: Path) -> bool:
    """Hold a folder until this process ends; return False if there is none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if folder.is_dir():
        return True
    # While this waited it was removed.
    os.close(descriptor)
    return False


def _remove_unless_held(folder: Path) -> None:
    """Remove a folder that no process holds, or leave it to its owner."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _walk(
    folder: Path, parts: tuple[str, ...], rules: Sequence[_Rule], above: set[Path]
) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield what a folder holds, with the parts of its path; `above` is this folder and those that hold it."""
    for path in (folder / name for name in IGNORE_FILES):
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            rules = [*rules, (len(parts), _patterns(lines, str(path)))]
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        path, place, is_folder = Path(entry.path), (*parts, entry.name), entry.is_dir()
        if any(spec.match_file("/".join(place[depth:]) + "/" * is_folder) for depth, spec in rules):
            continue
        if is_folder:
            yield place, path
            # A link may lead to a folder that holds it.
            if (real := path.resolve()) not in above:
                yield from _walk(path, place, rules, above | {real})
        elif entry.is_file():
            yield place, path


def _patterns(lines: Sequence[str], source: str) -> "GitIgnoreSpec":
    # Nodes have no use for it.
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None


def _check_size(paths: Iterable[Path]) -> None:
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    if sum(sizes.values()) <= MAX_BYTES:
        return
    largest = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:3]
    named = ", ".join(f"{path} ({sizes[path] / 1024**2:,.0f} MB)" for path in largest)
    raise UsageError(
        f"With engine `ray` the folder of the scripts is sent to the nodes, and may have {MAX_BYTES // 1024**2} MB. "
        f"Leave out what they do not need, {HOW_TO_LEAVE_OUT}. The largest files: {named}."
    )
