"""Dataset items that lie on disk: a dataset may have more of them than memory should hold."""

import pickle
from array import array
from collections.abc import Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import overload
from weakref import finalize

from lfexp_mcp.model import DatasetItem

MEMORY_BYTES = 2_000_000
"""Of the items of one dataset; what is more lies in a temporary file, private to the user."""


class _Spool:
    """The file, and where in it the items begin."""

    def __init__(self) -> None:
        self.file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed with its last use
        self.ends = array("q", [0])
        self.lock = Lock()
        finalize(self, self.file.close)

    def append(self, item: DatasetItem) -> None:
        with self.lock:
            self.file.seek(self.ends[-1])
            self.ends.append(self.ends[-1] + self.file.write(pickle.dumps(item, pickle.HIGHEST_PROTOCOL)))

    def read(self, place: int) -> DatasetItem:
        with self.lock:
            self.file.seek(self.ends[place])
            content = self.file.read(self.ends[place + 1] - self.ends[place])
        item: DatasetItem = pickle.loads(content)  # noqa: S301 - of this process
        return item


class SpooledItems(Sequence[DatasetItem]):
    """A sequence of dataset items of which 16 bytes each are in memory.

    Args:
        items: What it has at first.
    """

    def __init__(self, items: Iterable[DatasetItem] = ()) -> None:
        self._spool = _Spool()
        self._places = array("q")
        for item in items:
            self.append(item)

    @classmethod
    def of(cls, items: Iterable[DatasetItem]) -> "SpooledItems":
        """Return items as a sequence that can be chosen from; one that is there already stays as it is."""
        return items if isinstance(items, cls) else cls(items)

    def append(self, item: DatasetItem) -> None:
        """Add an item."""
        self._spool.append(item)
        self._places.append(len(self._spool.ends) - 2)

    def choose(self, positions: Iterable[int]) -> "SpooledItems":
        """Return the items at some positions, in the order of these."""
        chosen = SpooledItems()
        chosen._spool, chosen._places = self._spool, array("q", (self._places[position] for position in positions))
        return chosen

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[DatasetItem]:
        return map(self._spool.read, self._places)

    @overload
    def __getitem__(self, index: int) -> DatasetItem: ...

    @overload
    def __getitem__(self, index: slice) -> "SpooledItems": ...

    def __getitem__(self, index: int | slice) -> "DatasetItem | SpooledItems":
        if isinstance(index, slice):
            return self.choose(range(*index.indices(len(self))))
        return self._spool.read(self._places[index])
