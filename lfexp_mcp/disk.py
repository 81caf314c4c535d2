"""Durable writes: contents and folder entries are on the disk when a call returns, so they outlive a power cut."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path


def write_durably(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace a file's content atomically: after a power cut it has the old content or the new one.

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
    """Rename a file within its folder durably.

    Raises:
        OSError: It cannot be renamed.
    """
    source.replace(target)
    sync_folder(target.parent)


def make_folder_durably(path: Path) -> None:
    """Create a folder and its missing parents, private to the user.

    Raises:
        OSError: It cannot be created.
    """
    if path.is_dir():
        return
    make_folder_durably(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on the disk. Windows does so by itself, and opens no folders.

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
