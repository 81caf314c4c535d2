"""Which code this process has imported, and whether a new process would import the same.

A worker may wait for its command for minutes, in which packages are installed, changed or removed.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

Stamp = tuple[int, int, int]


class LoadedCode:
    """The files of the modules that are loaded now, and what else decides about a new process's imports.

    Those are the interpreter, and the folders into which packages are installed: their `.pth` files are read at the
    start. The files of other folders, where people edit their scripts, count only if they are loaded.

    Args:
        since_ns: When the process began, in nanoseconds since the epoch. What has changed after that may have been
            loaded in part.
    """

    def __init__(self, since_ns: int) -> None:
        self._stamps = {path: _stamp(path) for path in set(_paths())}
        self._is_whole = all(stamp is None or stamp[0] < since_ns for stamp in self._stamps.values())
        self._folder = Path().stat()

    def is_current(self) -> bool:
        """Return whether a new process in this folder would import the same; also lets new files be found."""
        importlib.invalidate_caches()
        try:
            is_in_place = os.path.samestat(self._folder, Path.cwd().stat())
        except OSError:
            return False
        return self._is_whole and is_in_place and all(_stamp(path) == was for path, was in self._stamps.items())


def _paths() -> Iterator[str]:
    yield sys.executable
    yield str(Path(sys.prefix, "pyvenv.cfg"))
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield path
    for folder in map(Path, sys.path):
        # Python passes over what is no folder, or may not be read.
        with suppress(OSError):
            if any(path.suffix in (".dist-info", ".pth") for path in folder.iterdir()):
                yield str(folder)


def _stamp(path: str) -> Stamp | None:
    """Time of the last change, size and identity of a file; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of a thousand files, while a run waits
    except OSError:
        return None
    return max(found.st_mtime_ns, found.st_ctime_ns), found.st_size, found.st_ino
