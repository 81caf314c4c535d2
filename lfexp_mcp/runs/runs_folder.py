"""The folders of all runs on this machine."""

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lfexp_mcp.disk import make_folder_durably
from lfexp_mcp.errors import StateError
from lfexp_mcp.model import RunSpec
from lfexp_mcp.runs.folder import RunFolder

DRY_PREFIX = "dry-"
MAX_DRY_AGE_S = 3600.0
"""Age at which what a dry run left behind, since its caller died, is deleted."""


class RunsFolder:
    """All runs on this machine, each under its experiment id, which tells project, dataset and run name apart."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, experiment_id: str) -> RunFolder:
        """Return the folder for a run, whether it exists or not."""
        return RunFolder(self.root / experiment_id)

    def dry_folder(self) -> RunFolder:
        """Return a new folder for a dry run, which is neither found nor listed nor delivered."""
        return RunFolder(self.root / f"{DRY_PREFIX}{uuid.uuid4().hex}")

    def find(self, experiment_id: str) -> RunFolder | None:
        """Return the folder of a run that was started on this machine, None for others."""
        folder = self.folder(experiment_id)
        return folder if folder.has_started() else None

    def started(self) -> Iterator[tuple[RunFolder, RunSpec]]:
        """Yield the folder and run spec of every run that was started; those that cannot be read are left out.

        Raises:
            StateError: The runs' folder cannot be read.
        """
        for folder in self._folders():
            if not folder.path.name.startswith(DRY_PREFIX):
                with suppress(StateError):
                    yield folder, folder.run_spec()

    def _folders(self) -> Iterator[RunFolder]:
        try:
            paths = sorted(self.root.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateError(f"The runs' folder {self.root} cannot be read ({error.strerror}).") from error
        for path in paths:
            folder = RunFolder(path)
            with suppress(StateError):
                if folder.has_started():
                    yield folder

    def prepare(self) -> None:
        """Create the folder, private to the user.

        Raises:
            StateError: It cannot be created.
        """
        try:
            make_folder_durably(self.root)
        except OSError as error:
            raise StateError(
                f"The runs' folder {self.root} cannot be created ({error.strerror or error}). "
                "Make its parent writable, or set LFEXP_HOME to another folder."
            ) from error

    def prune(self, keep: int) -> None:
        """Delete the oldest runs, so that about `keep` remain; never one that runs or has something to deliver."""
        folders = sorted(self._folders(), key=_last_change, reverse=True)
        old = time.time() - MAX_DRY_AGE_S
        dry = [folder for folder in folders if folder.path.name.startswith(DRY_PREFIX)]
        runs = [folder for folder in folders if not folder.path.name.startswith(DRY_PREFIX)]
        for folder in [*runs[keep:], *(folder for folder in dry if _last_change(folder) < old)]:
            if folder in dry or not _is_needed(folder):
                folder.delete()


def _last_change(folder: RunFolder) -> float:
    try:
        return folder.journal_path.stat().st_mtime
    except FileNotFoundError:
        # Another process has just pruned it.
        return 0.0


def _is_needed(folder: RunFolder) -> bool:
    """Tell whether a run runs or has something to deliver; one that cannot be read is kept for its user."""
    try:
        return folder.worker.is_locked() or folder.has_undelivered()
    except (StateError, FileNotFoundError):
        return True
