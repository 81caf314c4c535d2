"""The user's code as a run loaded it, kept with the run so that the very same can run again after an edit."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.worker_lock import writing

_INDEX = "index.json"


def keep_sources(folder: RunFolder, sources: Iterable[tuple[Path, bytes]]) -> None:
    """Keep files of the user's code.

    Args:
        folder: The run's.
        sources: Each file with what it held when it was loaded.

    Raises:
        StateError: The folder cannot be written.
    """
    index: dict[str, str] = {}
    with writing(folder.path):
        folder.sources_path.mkdir(exist_ok=True)
        for file, source in sources:
            digest = index[str(file)] = hashlib.sha256(source).hexdigest()
            kept = folder.sources_path / digest
            if not kept.exists():
                kept.write_bytes(source)
        (folder.sources_path / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def changed_sources(folder: RunFolder) -> dict[Path, Path]:
    """Find the files of a run's code that are not what they were.

    Returns:
        Each with where it is kept as the run loaded it. Empty for a run that kept none.

    Raises:
        StateError: What was kept is damaged.
    """
    try:
        index = json.loads((folder.sources_path / _INDEX).read_text(encoding="utf-8"))
        kept = {Path(file): folder.sources_path / digest for file, digest in index.items()}
        for path in kept.values():
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                raise StateError(f"The code that the run in {folder.path} kept is damaged: {path.name} has changed.")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StateError(f"The code that the run in {folder.path} kept cannot be read ({error}).") from error
    return {file: path for file, path in kept.items() if _content(file) != path.name}


def _content(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
