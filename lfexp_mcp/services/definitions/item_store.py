"""Storing dataset items without holding all of them in memory."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import anyio.from_thread
from pydantic import JsonValue

from lfexp_mcp.errors import BackendError, UsageError
from lfexp_mcp.gateway import ItemFields
from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.definitions.new_items import CollectedItem, ItemProgress, NewItem, OnItems
from lfexp_mcp.services.workspace import Workspace

REPORT_INTERVAL_S = 1.0
ITEMS_PER_REPORT = 1000
CHANGED_FILE = "The file of items was changed while it was read."


@dataclass(frozen=True, slots=True)
class ItemSurvey:
    """What a first pass over the items of a call found."""

    last: dict[str, int]
    """Position of the last item of each id, which is the one that is stored."""
    given_ids: frozenset[str]
    """Ids that the caller gave; all others are derived."""
    without_reference: int
    given: int

    @property
    def distinct(self) -> int:
        """How many items are stored."""
        return len(self.last)

    def progress(self, stored: int = 0) -> ItemProgress:
        """Return how far the call is once all items are checked."""
        return ItemProgress(self.given, stored, self.distinct)


def survey_items(
    dataset_name: str, given: Callable[[], Iterable[NewItem]], on_progress: OnItems | None = None
) -> ItemSurvey:
    """Check all items once before any is stored.

    Args:
        given: Reads them anew with each call.
        on_progress: Called now and then from this thread, which has to be a worker thread of the event loop.

    Raises:
        UsageError: An item has no input, or cannot be read.
    """
    last: dict[str, int] = {}
    given_ids: set[str] = set()
    count = without_reference = 0
    for position, item in enumerate(report_reading(given(), ItemProgress, on_progress)):
        if item.input is None:
            raise UsageError(f"Item {position + 1} ({item.id or 'no id'}) has no input. Give each item an `input`.")
        last[item_id(dataset_name, item)] = position
        if item.id is not None and not isinstance(item, CollectedItem):
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


def content_digest(item: NewItem | DatasetItem) -> bytes:
    """Digest what an item holds; numbers count as equal where JSON has one notation for them."""
    content = [_plain(item.input), _plain(item.expected_output), _plain(item.metadata or {})]
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).digest()


def _plain(value: JsonValue) -> JsonValue:
    """Write whole numbers without a fraction, as JavaScript does."""
    match value:
        case float():
            return int(value) if value.is_integer() else value
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case _:
            return value


def collected_id(dataset_name: str, *origin: str) -> str:
    """Return the id of an item collected into a dataset, for which its origin's own cannot be used again.

    It stays the same, so that what is collected twice is there once.
    """
    content = json.dumps(["collected", dataset_name, *origin], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def report_reading(
    items: Iterable[NewItem], progress: Callable[[int], ItemProgress], on_progress: OnItems | None
) -> Iterator[NewItem]:
    """Yield items in a worker thread, and report progress there.

    Args:
        progress: Returns it for a number of items read.
        on_progress: Awaited in the event loop.
    """
    for count, item in enumerate(items, start=1):
        yield item
        if on_progress is not None and count % ITEMS_PER_REPORT == 0:
            anyio.from_thread.run(on_progress, progress(count))


def once_a_second(on_progress: OnItems | None) -> OnItems:
    """Report progress, which may be told often, at most once a second."""
    reported = time.monotonic()

    async def tell(progress: ItemProgress) -> None:
        nonlocal reported
        if on_progress is not None and time.monotonic() - reported >= REPORT_INTERVAL_S:
            reported = time.monotonic()
            await on_progress(progress)

    return tell


async def store_items(
    ws: Workspace,
    dataset_name: str,
    items: Iterable[NewItem],
    survey: ItemSurvey,
    on_progress: OnItems | None = None,
    *,
    stays: Callable[[str, NewItem], bool] | None = None,
) -> list[str]:
    """Store the items that were surveyed.

    Args:
        survey: Of these.
        on_progress: Called for each item.
        stays: Whether what is there under an id stays instead of an item; it counts as stored.

    Returns:
        Ids of the items that Langfuse stored differently from what was given.

    Raises:
        UsageError: Langfuse rejected an item, or the items are not those surveyed; the text says how many are stored.
        BackendError: Langfuse failed; likewise.
    """
    storing = _Storing(dataset_name, survey, on_progress)
    try:
        await ws.gateway.dataset_items.upsert_all(dataset_name, storing.draw(items, stays), storing.note)
    except (UsageError, BackendError) as error:
        kind = UsageError if isinstance(error, UsageError) else BackendError
        advice = "Repeat the call to store the rest; nothing is stored twice."
        raise kind(f"{error} Stored so far: {storing}. {advice}") from error
    return storing.changed


class _Storing:
    """The storing of the items of one call, and how far it is."""

    def __init__(self, dataset_name: str, survey: ItemSurvey, on_progress: OnItems | None) -> None:
        self._dataset_name = dataset_name
        self._survey = survey
        self._on_progress = on_progress
        self._stored = 0
        self._sent: dict[str, None] = {}
        """Ids of items that are on their way, in the order of the items."""
        self.changed: list[str] = []

    def draw(self, items: Iterable[NewItem], stays: Callable[[str, NewItem], bool] | None) -> Iterator[ItemFields]:
        """Yield what to store; raises as `_surveyed`."""
        read = report_reading(items, lambda _: self._survey.progress(self._stored), self._on_progress)
        for id_, item in _surveyed(self._dataset_name, read, self._survey):
            if stays is not None and stays(id_, item):
                self._stored += 1
            else:
                self._sent[id_] = None
                yield _fields(id_, item)

    async def note(self, given: ItemFields, found: DatasetItem) -> None:
        """Take note of an item that is stored."""
        del self._sent[found.id]
        self._stored += 1
        if _is_changed(given, found):
            self.changed.append(found.id)
        if self._on_progress is not None:
            await self._on_progress(self._survey.progress(self._stored))

    def __str__(self) -> str:
        # Of what is on its way, the answer may be lost.
        text = f"at least {self._stored} of {self._survey.distinct} items of dataset {self._dataset_name!r}"
        first = next(iter(self._sent), None)
        return text if first is None else f"{text}, all before item {self._survey.last[first] + 1} among them"


def _surveyed(dataset_name: str, items: Iterable[NewItem], survey: ItemSurvey) -> Iterator[tuple[str, NewItem]]:
    """Choose the last item of each id.

    Raises:
        UsageError: They are not the items that were surveyed.
    """
    found = 0
    for position, item in enumerate(items):
        id_ = item_id(dataset_name, item)
        if id_ not in survey.last:
            raise UsageError(CHANGED_FILE)
        if survey.last[id_] == position:
            found += 1
            yield id_, item
    if found < survey.distinct:
        raise UsageError(CHANGED_FILE)


def _fields(id_: str, item: NewItem) -> ItemFields:
    fields = ItemFields(id=id_, input=item.input, expected_output=item.expected_output, metadata=item.metadata)
    if isinstance(item, CollectedItem):
        fields["source_trace_id"] = item.source_trace_id
        fields["source_observation_id"] = item.source_observation_id
    return fields


def _is_changed(given: ItemFields, found: DatasetItem) -> bool:
    sent = (given["input"], given["expected_output"], given["metadata"] or {})
    return (found.input, found.expected_output, found.metadata) != sent
