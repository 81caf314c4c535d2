"""The contents of a run's results, which stay in its folder until they are asked for."""

from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import StateError
from lfexp_mcp.model import Content, ContentSource, DatasetItem
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.run_spec import StoredItems


class RunContents:
    """Reads the contents of one run's results."""

    def __init__(self, folder: RunFolder, journal: JournalReader) -> None:
        self.items: StoredItems | None = None
        """To be set before the first content is read; a run keeps the items that it has, and a resume may add some."""
        self._folder = folder
        self._journal = journal
        # Most who look at one part of a content look at another one next.
        self._last_item: DatasetItem | None = None
        self._last_ended: tuple[int, ItemEnded] | None = None

    def item(self, item_id: str) -> DatasetItem:
        """Read an item.

        Raises:
            StateError: It cannot be read.
        """
        last = self._last_item
        if last is None or last.id != item_id:
            with self._folder.reading():
                self._last_item = last = self._stored()[item_id]
        return last

    def item_digest(self, item_id: str) -> bytes | None:
        """See `StoredItems.digest`.

        Raises:
            StateError: The items cannot be read.
        """
        with self._folder.reading():
            return self._stored().digest(item_id)

    def ended(self, repeat: int, item_id: str, offset: int) -> ItemEnded:
        """Read an item's result, which the journal has at an offset.

        Raises:
            StateError: It cannot be read.
        """
        last = self._last_ended
        if last is None or last[0] != offset or (last[1].repeat, last[1].item_id) != (repeat, item_id):
            self._last_ended = last = offset, self._journal.read_again(ItemEnded, repeat, item_id, offset)
        return last[1]

    def scored(self, repeat: int, item_id: str, offset: int) -> ItemScored:
        """Read the scores of an item's result, which the journal has at an offset.

        Raises:
            StateError: They cannot be read.
        """
        return self._journal.read_again(ItemScored, repeat, item_id, offset)

    def _stored(self) -> StoredItems:
        if self.items is None:
            raise StateError(f"The items of {self._folder.path} are not read yet.")
        return self.items


@dataclass(frozen=True, slots=True, eq=False)
class StoredContent:
    """The content of one result in a run's folder; a look at it raises a StateError where it cannot be read."""

    source: RunContents
    item_id: str
    offset: int | None = None
    """Where the journal has the result; None for one that is pending."""
    repeat: int = 0

    @property
    def input(self) -> JsonValue:
        """See `ContentSource.input`."""
        return self.source.item(self.item_id).input

    @property
    def output(self) -> JsonValue:
        """See `ContentSource.output`."""
        return None if self.offset is None else self.source.ended(self.repeat, self.item_id, self.offset).output

    @property
    def expected_output(self) -> JsonValue:
        """See `ContentSource.expected_output`."""
        return self.source.item(self.item_id).expected_output

    @property
    def metadata(self) -> dict[str, JsonValue]:
        """See `ContentSource.metadata`."""
        return self.source.item(self.item_id).metadata

    @property
    def item_digest(self) -> bytes | None:
        """See `ContentSource.item_digest`."""
        return self.source.item_digest(self.item_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Content | StoredContent):
            return NotImplemented
        return _parts(self) == _parts(other)

    __hash__ = None  # type: ignore[assignment]


def _parts(content: ContentSource) -> tuple[JsonValue, ...]:
    return content.input, content.output, content.expected_output, content.metadata
