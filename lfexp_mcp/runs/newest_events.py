"""The newest events of items, which stay in the journal until they are asked for."""

from array import array
from collections.abc import Iterator, Mapping
from typing import Generic

from lfexp_mcp.runs.journal import E, JournalReader

ItemKey = tuple[int, str]
"""Repetition and item id."""
NOWHERE = -1


class ItemNumbers:
    """Numbers the items of a run from 0 on, so that what is known of each takes a place in an array."""

    def __init__(self) -> None:
        self._numbers: dict[int, dict[str, int]] = {}
        """By repetition and item id, which takes less memory than tuples of both."""
        self._ids: list[str] = []
        """By number."""

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[ItemKey]:
        """Yield the items in the order of their numbers, one repetition after the other."""
        # Copies, since another thread may read on meanwhile.
        return ((repeat, item_id) for repeat, of_repeat in [*self._numbers.items()] for item_id in [*of_repeat])

    def find(self, key: ItemKey) -> int | None:
        """Return the number of an item, None if it has none."""
        of_repeat = self._numbers.get(key[0])
        return of_repeat.get(key[1]) if of_repeat is not None else None

    def of(self, key: ItemKey) -> int:
        """Return the number of an item, which gets one if it has none."""
        of_repeat = self._numbers.setdefault(key[0], {})
        number = of_repeat.setdefault(key[1], len(self._ids))
        if number == len(self._ids):
            self._ids.append(key[1])
        return number

    def item_id(self, number: int) -> str:
        """Return the id of an item; the same object each time, so that it is held once."""
        return self._ids[number]


class NewestEvents(Mapping[ItemKey, E], Generic[E]):
    """The newest event of a kind of each item. In memory is only where it lies in the journal.

    Reading one raises a StateError if the journal cannot be read, or was replaced and its lines were not read before.
    """

    def __init__(self, kind: type[E], journal: JournalReader, numbers: ItemNumbers) -> None:
        self._kind: type[E] = kind
        self._journal = journal
        self._numbers = numbers
        self._offsets = array("q")
        """By the items' numbers."""
        self._count = 0

    def __getitem__(self, key: ItemKey) -> E:
        offset = self.offset(key)
        if offset == NOWHERE:
            raise KeyError(key)
        return self._journal.read_again(self._kind, *key, offset)

    def __iter__(self) -> Iterator[ItemKey]:
        return (key for key in self._numbers if key in self)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self.offset(key) != NOWHERE

    def offset(self, key: ItemKey) -> int:
        """Where in the journal the event of an item begins, `NOWHERE` if there is none."""
        number = self._numbers.find(key)
        return self._offsets[number] if number is not None and number < len(self._offsets) else NOWHERE

    def note(self, key: ItemKey) -> None:
        """Note that the event that the journal's reader has just yielded is the newest of an item."""
        number = self._numbers.of(key)
        if number >= len(self._offsets):
            self._offsets.extend([NOWHERE] * (number + 1 - len(self._offsets)))
        self._count += self._offsets[number] == NOWHERE
        self._offsets[number] = self._journal.offset

    def discard(self, key: ItemKey) -> None:
        """Forget the event of an item, if there is one."""
        number = self._numbers.find(key)
        if number is not None and self.offset(key) != NOWHERE:
            self._offsets[number] = NOWHERE
            self._count -= 1
