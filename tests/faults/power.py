"""A disk whose power can be cut: what was not synced is gone then."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

IMAGE_BYTES = 16_000_000
SELDOM_S = 600
"""Between two writings that the file system does by itself, so that only what was synced is on the device."""


class LoopDisk:
    """An ext4 file system in a file, mounted at a path for a while.

    The file holds what the file system has written to its device. A copy of it, mounted, is what a machine finds after
    its power was cut at the moment of the copy.
    """

    def __init__(self, path: Path, images: Path) -> None:
        self.path = path
        self._images = images
        self._number = 0

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this user may mount a file here."""
        tools = all(shutil.which(tool) for tool in ("mkfs.ext4", "losetup", "unshare"))
        return sys.platform == "linux" and os.geteuid() == 0 and tools and _finds_loop_device()

    def __enter__(self) -> Self:
        for folder in (self.path, self._images):
            folder.mkdir(parents=True)
        image = self._image()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unmount()

    def cut_power(self) -> None:
        """Take the moment at which the power goes; `come_back` shows what was on the disk then."""
        before = self._image()
        self._number += 1
        shutil.copyfile(before, self._image())

    def come_back(self) -> None:
        """Mount the disk as the power cut left it; nobody may use it meanwhile."""
        self._unmount()
        self._mount()

    def _image(self) -> Path:
        return self._images / f"{self._number}.img"

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", f"loop,commit={SELDOM_S}", self._image(), self.path], check=True)

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)


def _finds_loop_device() -> bool:
    return subprocess.run(["losetup", "--find"], capture_output=True).returncode == 0
