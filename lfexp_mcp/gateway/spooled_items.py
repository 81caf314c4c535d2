"""Dataset items that lie on disk: a dataset may have more of them than memory should hold."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from lfexp_mcp.model import DatasetItem
from lfexp_mcp.spool import Spool


class SpooledItems(Sequence[DatasetItem]):
    """A sequence of dataset items of which 16 bytes each are in memory."""

    def __init__(self, items: Iterable[DatasetItem] = ()) -> None:
        self._spool = Spool[DatasetItem]()
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
        self._places.append(len(self._spool) - 1)

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
        return map(self._spool.__getitem__, self._places)

    @overload
    def __getitem__(self, index: int) -> DatasetItem: ...

    @overload
    def __getitem__(self, index: slice) -> "SpooledItems": ...

    def __getitem__(self, index: int | slice) -> "DatasetItem | SpooledItems":
        if isinstance(index, slice):
            return self.choose(range(*index.indices(len(self))))
        return self._spool[self._places[index]]
