"""Items at once, of several runs that share one limit."""

from collections.abc import Sequence
from pathlib import Path

import anyio

from lfexp_mcp.runs.folder import RunFolder


class SharedPlaces:
    """A run's places for items, out of those of several runs that were begun together.

    Each run has an equal share, so that all go on side by side and what slows one down slows all; those that have
    executed their items, or died, leave theirs to the others. Every process works this out by itself from the folders.
    Since a share never shrinks, the runs never exceed the limit together, even where one sees an end later than others.
    """

    def __init__(self, folder: RunFolder, runs: Sequence[Path], limit: int) -> None:
        """Take the first share.

        Args:
            folder: The run's.
            runs: The folders of all runs, this one's among them, in the same order for each; all are running.
            limit: Items of all runs at once, at least as many as there are runs.
        """
        self._own = folder.path
        self._active = [RunFolder(path) for path in runs]
        self._limit = limit
        self.limiter = anyio.CapacityLimiter(self._share())

    def update(self) -> None:
        """Take over places of runs that have ended."""
        active = [run for run in self._active if run.path == self._own or _needs_places(run)]
        if len(active) < len(self._active):
            self._active = active
            self.limiter.total_tokens = self._share()

    def _share(self) -> int:
        whole, rest = divmod(self._limit, len(self._active))
        place = next(place for place, run in enumerate(self._active) if run.path == self._own)
        return whole + (place < rest)


def _needs_places(run: RunFolder) -> bool:
    return not run.has_executed() and run.status() == "running"
