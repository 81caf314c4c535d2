"""What the user's code prints: into the run's log, bounded."""

import os
import sys
from pathlib import Path

LARGEST = 5_000_000
"""Bytes of prints that are kept; the first ones, since they tell how the code began."""
NOTE = b"\n[lfexp-mcp: what was printed after this point is left out]\n"


class RunLog:
    """Takes the place of standard output and error, for C code and child processes too.

    Prints go straight to the file, so that a crash loses none and nothing ever waits for a reader. `trim`, called now
    and then, cuts the file where it has grown too long.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o600)
        os.set_inheritable(self._descriptor, False)
        for standard in (1, 2):
            os.dup2(self._descriptor, standard, inheritable=True)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]

    def trim(self) -> None:
        """Cut the log to its bound."""
        if os.fstat(self._descriptor).st_size > LARGEST + len(NOTE):
            os.ftruncate(self._descriptor, LARGEST)
            os.write(self._descriptor, NOTE)
