"""Declaring which items of a dataset are set aside."""

import secrets
from contextlib import suppress
from datetime import UTC, datetime

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import Holdout
from lfexp_mcp.services.metadata_conditions import MetadataCondition, parse_conditions
from lfexp_mcp.services.workspace import Workspace

SALT_BYTES = 8
SEEN = (
    "The dataset has runs, in which the items that are held out now were run and may have been seen: a confirmation of "
    "what was chosen by those runs proves less. Items that are added from now on are unseen."
)
NONE_HELD_OUT = "No item is held out yet: the share is met on average only. Add items."
NONE_HAS_VALUE = (
    "No item is held out yet: none has {!r} as the value of the metadata key {!r}. Upper and lower case differ, and a "
    "path to a nested key is not followed."
)
NEVER_REPLACED = (
    "A held-out item is never replaced: where a given id is that of one, it stays, and counts as stored. Whoever gave "
    "the items has seen them all."
)


def declare(given: float | str) -> Holdout:
    """Make the holdout that a caller asks for, with a salt of its own.

    Args:
        given: A share above 0 and below 1; or `key=value`, the metadata of the items, see `metadata_conditions`.

    Raises:
        UsageError: It is neither.
    """
    declared = datetime.now(UTC)
    text = str(given).strip()
    share = Holdout.parse(text).share
    if share is not None:
        return Holdout(share, secrets.token_hex(SALT_BYTES), declared=declared)
    # A holdout is for good, so that a condition is read as strictly as everywhere else.
    with suppress(ValueError):
        match parse_conditions(text):
            case [MetadataCondition(key=key, values=(value,), order=None, negated=False)]:
                return Holdout(key=key, value=value.text, declared=declared)
    advice = f" For {text} percent, pass {float(text) / 100:g}." if text.isdecimal() and 1 < int(text) < 100 else ""
    raise UsageError(
        "A holdout is a share above 0 and below 1, such as 0.3, or a metadata key of the items with one value, such as "
        f"`split=test`; {text[:50]!r} is neither.{advice} Put a value with other signs in quotes."
    )


async def notes_on(
    ws: Workspace, dataset: Dataset, asked: Holdout | None, held_out: int, *, gave_ids: bool
) -> list[str]:
    """Say what the caller should know of a dataset's holdout.

    Args:
        dataset: The dataset, with its items.
        asked: The holdout that the call declared, if any.
        held_out: How many items are held out.
        gave_ids: Whether the call stored items with ids of its own.
    """
    if dataset.holdout is None:
        return []
    notes = []
    if not held_out:
        key, value = dataset.holdout.key, dataset.holdout.value
        notes.append(NONE_HELD_OUT if key is None else NONE_HAS_VALUE.format(value, key))
    if gave_ids:
        notes.append(NEVER_REPLACED)
    is_new = asked is not None and asked.declared == dataset.holdout.declared
    if is_new and (await ws.gateway.experiments.page(dataset.id, limit=1))[0]:
        notes.append(SEEN)
    return notes
