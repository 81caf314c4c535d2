"""Declaring which items of a dataset are set aside."""

import secrets
from datetime import UTC, datetime

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import Holdout
from lfexp_mcp.services.workspace import Workspace

SALT_BYTES = 8
SEEN = (
    "The dataset has runs, in which the items that are held out now were run and may have been seen: a confirmation of "
    "what was chosen by those runs proves less. Items that are added from now on are unseen."
)
NONE_HELD_OUT = "No item is held out yet: the share is met on average only. Add items."
NEVER_REPLACED = (
    "A held-out item is never replaced: where a given id is that of one, it stays, and counts as stored. Whoever gave "
    "the items has seen them all."
)


def declare(given: float | str) -> Holdout:
    """Make the holdout that a caller asks for, with a salt of its own.

    Args:
        given: A share above 0 and below 1; or `key=value`, the metadata of the items.

    Raises:
        UsageError: It is neither.
    """
    declared = datetime.now(UTC)
    text = str(given).strip()
    key, sign, value = (part.strip() for part in text.partition("="))
    if sign and key and value:
        return Holdout(key=key, value=value, declared=declared)
    found = Holdout.parse(text)
    if found.share is None:
        advice = f" For {text} percent, pass {float(text) / 100:g}." if text.isdecimal() and 1 < int(text) < 100 else ""
        raise UsageError(
            f"A holdout is a share above 0 and below 1, such as 0.3, or a condition on the items' metadata, such as "
            f"`split=test`; {text[:50]!r} is neither.{advice}"
        )
    return Holdout(found.share, secrets.token_hex(SALT_BYTES), declared=declared)


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
    notes = [NONE_HELD_OUT] if not held_out else []
    if gave_ids:
        notes.append(NEVER_REPLACED)
    is_new = asked is not None and asked.declared == dataset.holdout.declared
    if is_new and (await ws.gateway.experiments.page(dataset.id, limit=1))[0]:
        notes.append(SEEN)
    return notes
