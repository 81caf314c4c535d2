"""Writing that outlives a power cut: contents, and the folders that name them, are on the disk when a call returns."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path


def write_durably(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file's content, so that after a power cut it has either the old content or the new one.

    Raises:
        OSError: It cannot be written; the old content stays.
    """
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
    move_durably(fresh, path)


def move_durably(source: Path, target: Path) -> None:
    """Rename a file within its folder, so that a power cut does not undo it.

    Raises:
        OSError: It cannot be renamed.
    """
    source.replace(target)
    sync_folder(target.parent)


def make_folder_durably(path: Path) -> None:
    """Create a folder, private to the user, with those above it that are missing.

    Raises:
        OSError: It cannot be created.
    """
    if path.is_dir():
        return
    make_folder_durably(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on the disk; Windows does so by itself, and can open no folder.

    Raises:
        OSError: They cannot be written.
    """
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
