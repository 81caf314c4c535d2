"""A disk of a given size, which can be filled and given room again."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK_BYTES = 4096


class TmpfsDisk:
    """A tmpfs mounted at a path for a while."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._size = size_bytes
        self._filler = path / "filler"

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this user may mount a tmpfs here."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return False
        tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
        return tried.returncode == 0

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self._size}", "none", self.path], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)

    def fill(self, room_bytes: int = 0) -> None:
        """Take all room but so much, rounded up to whole pages."""
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while (free := self._free_bytes() - room_bytes) > 0:
                file.write(bytes(min(free, 1_000_000)))

    def make_room(self) -> None:
        """Give all room back."""
        self._filler.unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize
