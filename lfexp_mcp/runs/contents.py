"""The contents of a run's results, which stay in its folder until they are asked for."""

from dataclasses import dataclass
from itertools import chain

from pydantic import JsonValue

from lfexp_mcp.errors import StateError
from lfexp_mcp.model import Content
from lfexp_mcp.runs.events import ItemEnded
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
        self._last: tuple[str, int | None, Content] | None = None
        """Most who look at one part of a content look at another one next."""

    def load(self, item_id: str, offset: int | None) -> Content:
        """Read a content.

        Args:
            item_id: The item.
            offset: Where the journal has its result; None for one that is pending.

        Raises:
            StateError: It cannot be read.
        """
        last = self._last
        if last is not None and last[:2] == (item_id, offset):
            return last[2]
        if self.items is None:
            raise StateError(f"The items of {self._folder.path} are not read yet.")
        with self._folder.reading():
            item = self.items[item_id]
        output = None if offset is None else self._read_output(item_id, offset)
        content = Content(item.input, output, item.expected_output, item.metadata)
        self._last = item_id, offset, content
        return content

    def _read_output(self, item_id: str, offset: int) -> JsonValue:
        for event in chain.from_iterable(self._journal.read_again([offset])):
            if isinstance(event, ItemEnded) and event.item_id == item_id:
                return event.output
        raise StateError(f"The journal {self._journal.path} has changed while it was read. Call again.")


@dataclass(frozen=True, slots=True, eq=False)
class StoredContent:
    """The content of one result in a run's folder."""

    source: RunContents
    item_id: str
    offset: int | None = None
    """Where the journal has the result; None for one that is pending."""

    def load(self) -> Content:
        """Read the content.

        Raises:
            StateError: It cannot be read.
        """
        return self.source.load(self.item_id, self.offset)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Content | StoredContent):
            return NotImplemented
        return self.load() == other.load()

    __hash__ = None  # type: ignore[assignment]
