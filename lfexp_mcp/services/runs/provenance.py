"""What the runner recorded about a run in the metadata of its experiments."""

import json

from pydantic import JsonValue

PROVENANCE_KEY = "lfexp"


def read_provenance(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what the runner recorded about a run, empty for a run of others.

    Langfuse may encode a value once more than it was given.
    """
    value = metadata.get(PROVENANCE_KEY)
    while isinstance(value, str):
        try:
            decoded = json.loads(value)
        except ValueError:
            return {}
        value = decoded if decoded != value else None
    return value if isinstance(value, dict) else {}


def repeats_of(provenance: dict[str, JsonValue]) -> int:
    """Return how many repetitions belong to a run, from the provenance of its first."""
    repeats = provenance.get("repeats")
    count = repeats.get("count") if isinstance(repeats, dict) else None
    return count if isinstance(count, int) and 0 < count <= 1000 else 1
