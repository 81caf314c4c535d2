"""Storing many dataset items, some at a time, without holding them all."""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from lfexp_mcp.errors import BackendError, UsageError
from lfexp_mcp.groups import for_each
from lfexp_mcp.services.definitions.new_items import NewItem
from lfexp_mcp.services.workspace import Workspace

REQUESTS_AT_ONCE = 8
"""Langfuse takes one item a request."""
REPORT_EVERY_S = 1.0

OnStored = Callable[[int, int], Awaitable[None]]
"""Told how many items are stored, and of how many."""


@dataclass(frozen=True, slots=True)
class ItemSurvey:
    """What is known of the items of a call before any is stored."""

    last: dict[str, int]
    """Position of the last item of each id: of several, that one is stored."""
    given_ids: frozenset[str]
    """Ids that the caller gave; all others are derived."""
    without_reference: int
    given: int

    @property
    def distinct(self) -> int:
        """How many items are stored."""
        return len(self.last)


def survey_items(dataset_name: str, given: Callable[[], Iterable[NewItem]]) -> ItemSurvey:
    """Look at all items once.

    Raises:
        UsageError: An item has no input, or cannot be read.
    """
    last: dict[str, int] = {}
    given_ids: set[str] = set()
    count = without_reference = 0
    for position, item in enumerate(given()):
        if item.input is None:
            raise UsageError(
                f"Item {position + 1} ({item.id or 'without id'}) has no input. Give each item an `input`."
            )
        last[item_id(dataset_name, item)] = position
        if item.id is not None:
            given_ids.add(item.id)
        without_reference += item.expected_output is None
        count += 1
    return ItemSurvey(last, frozenset(given_ids), without_reference, count)


def item_id(dataset_name: str, item: NewItem) -> str:
    """Return the id under which an item is stored."""
    return item.id or derived_id(dataset_name, item)


def derived_id(dataset_name: str, item: NewItem) -> str:
    """Return the id of an item that came without one: a hash of the dataset's name and the item's content."""
    content = json.dumps([dataset_name, item.model_dump(exclude={"id"})], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


class ItemStore:
    """Stores the items of one call."""

    def __init__(
        self, ws: Workspace, dataset_name: str, survey: ItemSurvey, on_progress: OnStored | None = None
    ) -> None:
        self._ws = ws
        self._dataset_name = dataset_name
        self._survey = survey
        self._on_progress = on_progress
        self._reported = time.monotonic()
        self._stored = 0
        self._changed: list[str] = []

    async def store(self, items: Iterable[NewItem]) -> list[str]:
        """Store the items that were surveyed.

        Returns:
            The ids of those that Langfuse has stored otherwise than they were given.

        Raises:
            UsageError: Langfuse refuses an item, or the file has changed; the text says how many are stored.
            BackendError: Langfuse failed; likewise.
        """
        try:
            await for_each(self._to_store(items), self._store, REQUESTS_AT_ONCE)
        except (UsageError, BackendError) as failed:
            kind = UsageError if isinstance(failed, UsageError) else BackendError
            raise kind(
                f"{failed} Stored so far: {self._stored} of {self._survey.distinct} items of dataset "
                f"{self._dataset_name!r}. Create it again in the same way for the rest; nothing is stored twice."
            ) from failed
        return self._changed

    def _to_store(self, items: Iterable[NewItem]) -> Iterator[tuple[str, NewItem]]:
        for position, item in enumerate(items):
            id_ = item_id(self._dataset_name, item)
            if self._survey.last.get(id_) == position:
                yield id_, item

    async def _store(self, pair: tuple[str, NewItem]) -> None:
        id_, item = pair
        stored = await self._ws.gateway.upsert_dataset_item(
            self._dataset_name,
            id=id_,
            input=item.input,
            expected_output=item.expected_output,
            metadata=item.metadata,
        )
        given = (item.input, item.expected_output, item.metadata or {})
        if (stored.input, stored.expected_output, stored.metadata) != given:
            self._changed.append(id_)
        self._stored += 1
        await self._report()

    async def _report(self) -> None:
        now = time.monotonic()
        if self._on_progress is not None and now - self._reported >= REPORT_EVERY_S:
            self._reported = now
            await self._on_progress(self._stored, self._survey.distinct)
