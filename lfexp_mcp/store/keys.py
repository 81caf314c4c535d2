"""The keys of the embedded store: made once per store folder, readable only by the user."""

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from lfexp_mcp.disk import move_durably
from lfexp_mcp.errors import StoreError

KEYS_NAME = "keys.json"
"""File in a store folder."""


@dataclass(frozen=True, slots=True)
class StoreKeys:
    """A key pair for HTTP basic authentication, in the form of Langfuse's."""

    public_key: str
    secret_key: str = field(repr=False)


def generate_keys() -> StoreKeys:
    """Make a new key pair."""
    return StoreKeys(f"pk-lf-{secrets.token_hex(16)}", f"sk-lf-{secrets.token_hex(24)}")


def folder_keys(folder: Path) -> StoreKeys:
    """Read the keys of a store folder; make them if it has none.

    Args:
        folder: The store folder; it must exist.

    Raises:
        StoreError: The key file cannot be read.
    """
    path = folder / KEYS_NAME
    try:
        with FileLock(folder / "keys.lock"):
            if not path.exists():
                _write_private(path, generate_keys())
        content = json.loads(path.read_text(encoding="utf-8"))
        return StoreKeys(str(content["public_key"]), str(content["secret_key"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The keys of the store in {path} cannot be read ({type(error).__name__}). "
            "Delete that file to have new keys made; no data is lost."
        ) from error


def _write_private(path: Path, keys: StoreKeys) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump({"public_key": keys.public_key, "secret_key": keys.secret_key}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    move_durably(draft, path)
