"""The newest events of items, which stay in the journal until they are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from lfexp_mcp.errors import StateError
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.journal import JournalReader

ItemKey = tuple[int, str]
"""Repetition and item id."""
E = TypeVar("E", ItemEnded, ItemScored)


class NewestEvents(Mapping[ItemKey, E], Generic[E]):
    """The newest event of a kind of each item. In memory is only where it lies in the journal.

    Reading one raises a StateError if the journal cannot be read, or was replaced and its lines were not read before.
    """

    def __init__(self, kind: type[E], journal: JournalReader) -> None:
        self._kind: type[E] = kind
        self._journal = journal
        self._offsets: dict[ItemKey, int] = {}

    def __getitem__(self, key: ItemKey) -> E:
        return next(self._read([(self._offsets[key], key)]))[1]

    def __iter__(self) -> Iterator[ItemKey]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: object) -> bool:
        return key in self._offsets

    def in_order(self) -> Iterator[tuple[ItemKey, E]]:
        """Yield all, in the order of the journal, which is much faster than one by one."""
        return self._read(sorted((offset, key) for key, offset in self._offsets.items()))

    def _read(self, places: Sequence[tuple[int, ItemKey]]) -> Iterator[tuple[ItemKey, E]]:
        lines = self._journal.read_again(offset for offset, _ in places)
        for (_, key), events in zip(places, lines, strict=True):
            found = [each for each in events if isinstance(each, self._kind) and (each.repeat, each.item_id) == key]
            if not found:
                raise StateError(f"The journal {self._journal.path} has changed while it was read. Call again.")
            yield key, found[-1]

    def note(self, key: ItemKey) -> None:
        """Note that the event that the journal's reader has just yielded is the newest of an item."""
        self._offsets[key] = self._journal.offset

    def discard(self, key: ItemKey) -> None:
        """Forget the event of an item, if there is one."""
        self._offsets.pop(key, None)
