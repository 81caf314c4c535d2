"""The holdouts that this machine has seen: metadata is easily overwritten, and what was set aside stays so.

They also tell what is held out of a run of this machine while Langfuse does not answer.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from lfexp_mcp.disk import make_folder_durably, write_durably
from lfexp_mcp.errors import StateError, UsageError
from lfexp_mcp.gateway.records import Dataset
from lfexp_mcp.model import Holdout, NextStep


class KnownHoldouts:
    """Holdouts by the id of their dataset, each in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, dataset_id: str) -> Holdout | None:
        """Return the holdout that a dataset had when it was read last; None if it never had one.

        Raises:
            StateError: It cannot be read.
        """
        path = self._path(dataset_id)
        try:
            return Holdout.parse(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StateError(f"Which items are held out cannot be read from {path} ({error}).") from error

    def check(self, dataset: Dataset) -> None:
        """Check that a dataset has the holdout that it had, and remember a new one.

        Raises:
            UsageError: It cannot be told which of its items are held out.
            StateError: What is remembered cannot be read.
        """
        holdout, known = dataset.holdout, self.find(dataset.id)
        if holdout is not None and holdout.problem is not None:
            raise UsageError(f"Dataset {dataset.name!r} cannot be read. {holdout.problem}")
        if known is None and holdout is not None:
            self.keep(dataset.id, holdout)
        elif known is not None and (holdout is None or known.digest != holdout.digest):
            now = "has none" if holdout is None else f"has another one ({holdout})"
            again = known.share if known.key is None else f"{known.key}={known.value}"
            restore = NextStep("create_dataset", {"name": dataset.name, "holdout": again}, "Declare it as it was.")
            raise UsageError(
                f"Dataset {dataset.name!r} had a holdout ({known}) when this machine last saw it, and its metadata "
                f"{now} now: somebody has overwritten it. Its items are neither shown nor run until it is put back. If "
                "it was given up on purpose, delete the dataset's file in `holdouts` of lfexp-mcp's folder.",
                next=[restore] if holdout is None else [],
            )

    def keep(self, dataset_id: str, holdout: Holdout) -> None:
        """Remember the holdout of a dataset, as far as the disk takes it: Langfuse has it as well."""
        with suppress(OSError):
            make_folder_durably(self._folder)
            write_durably(self._path(dataset_id), [json.dumps(holdout.as_json()).encode()])

    def _path(self, dataset_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(dataset_id.encode()).hexdigest()[:32]}.json"
