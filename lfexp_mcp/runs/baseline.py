"""The baseline's values in the folder of a run that may stop early.

They are written when the run begins, so that all its looks compare with the same values, whatever becomes of the
baseline.
"""

import json
from collections.abc import Mapping

from lfexp_mcp.disk import make_folder_durably, write_durably
from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.worker_lock import writing

FILE = "baseline.json"


def write_baseline(folder: RunFolder, values: Mapping[str, float]) -> None:
    """Write the canonical values of the items, by their ids.

    Raises:
        StateError: The folder cannot be written.
    """
    with writing(folder.path):
        make_folder_durably(folder.path)
        write_durably(folder.path / FILE, [json.dumps(dict(values)).encode()])


def read_baseline(folder: RunFolder) -> dict[str, float]:
    """Read the values; empty where there are none, as for a run that another machine began.

    Raises:
        StateError: They cannot be read.
    """
    path = folder.path / FILE
    try:
        return {str(item_id): float(value) for item_id, value in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateError(
            f"{path}, which the run's looks compare with, cannot be read ({error}). Use another run name."
        ) from error
