"""Run specs and dataset items as a run folder holds them."""

import os
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO

from pydantic import BaseModel, TypeAdapter, ValidationError

from lfexp_mcp import __version__
from lfexp_mcp.model import RUN_SPEC_FORMAT, DatasetItem, RunSpec
from lfexp_mcp.runs.framing import Blocks, frame, unframe
from lfexp_mcp.runs.newest_events import NOWHERE, ItemNumbers

_ITEM: TypeAdapter[DatasetItem] = TypeAdapter(DatasetItem)
_ITEM_KEYS = {"id", "input", "expected_output", "metadata"}
DIGEST_BYTES = 16


class _Stamp(BaseModel):
    """What every version reads of a run spec."""

    format: int = RUN_SPEC_FORMAT
    version: str | None = None


def encode_run_spec(run_spec: RunSpec) -> bytes:
    """Encode a run spec as JSON behind its length and checksum."""
    stamped = run_spec.model_copy(update={"version": __version__})
    return frame(stamped.model_dump_json(indent=2).encode())


def decode_run_spec(content: bytes) -> RunSpec:
    """Read what `encode_run_spec` wrote, or the plain JSON of version 0.1.

    Raises:
        ValueError: It is damaged or of a newer version; the message is a clause that says so.
    """
    text = unframe(content.removesuffix(b"\n"))
    if text is None:
        if not content.startswith(b"{"):
            raise ValueError("its run spec is damaged")
        text = content
    try:
        stamp = _Stamp.model_validate_json(text)
        if stamp.format > RUN_SPEC_FORMAT:
            raise ValueError(
                f"lfexp-mcp {stamp.version or 'of a newer version'} wrote it (format {stamp.format}), and this is "
                f"{__version__} (format {RUN_SPEC_FORMAT}): use that version for this run"
            )
        return RunSpec.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"its run spec is damaged: {error.errors()[0]['msg']}") from error


def encode_items(items: Iterable[DatasetItem]) -> Iterator[bytes]:
    """Encode the items of a run, a record each."""
    return (frame(_ITEM.dump_json(item, include=_ITEM_KEYS)) for item in items)


def read_items(path: Path) -> Iterator[DatasetItem]:
    """Read the items of a run in their order, one at a time; those of version 0.1 are lines of plain JSON.

    Raises:
        OSError: The file cannot be read.
        ValueError: An item is damaged; the text is a clause that says which.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield _decode_item(line, number)


def _decode_item(line: bytes, name: object) -> DatasetItem:
    stored = line.removesuffix(b"\n")
    try:
        return _ITEM.validate_json(unframe(stored) or (stored if stored.startswith(b"{") else b""))
    except ValidationError as error:
        raise ValueError(f"its item {name} is damaged") from error


class StoredItems:
    """The first items of a file, of which only the places are in memory."""

    def __init__(self, path: Path, count: int, numbers: ItemNumbers | None = None) -> None:
        """Read through the file once.

        Args:
            path: The file.
            count: How many items to take.
            numbers: Those that the items have in the run, which may have others as well.

        Raises:
            OSError: The file cannot be read.
            ValueError: An item is damaged.
        """
        self._path = path
        self._count = count
        self._numbers = numbers or ItemNumbers()
        self._order = array("q")
        """The items' numbers."""
        self._offsets = array("q")
        """By number."""
        self._digests: bytes | None = None
        """By number; zeros for none."""
        self._blocks = Blocks()
        self._version = (0, 0, 0)
        self._look_up()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """Yield the ids, in the items' order."""
        return map(self._numbers.item_id, self._order)

    def __getitem__(self, item_id: str) -> DatasetItem:
        """Read an item.

        Raises:
            KeyError: It is not among them.
            OSError: The file cannot be read.
            ValueError: The item is damaged.
        """
        offset = self._offset(item_id)
        line = self._blocks.line(offset)
        if line is None:
            with self._path.open("rb") as file:
                if _version_of(file) != self._version:
                    # A resume or a scoring has rewritten the file, with these items first.
                    self._look_up()
                    return self[item_id]
                line = self._blocks.read(file, offset)
        return _decode_item(line, item_id)

    def digest(self, item_id: str) -> bytes | None:
        """Return a digest of all that is stored of an item, without reading it; None for one that was added since.

        The first call reads through the file once.

        Raises:
            OSError: The file cannot be read.
            ValueError: An item is damaged.
        """
        if self._digests is None:
            found = bytearray(len(self._offsets) * DIGEST_BYTES)
            with self._path.open("rb") as file:
                for number in self._order:
                    file.seek(self._offsets[number])
                    begin = number * DIGEST_BYTES
                    digest = blake2b(file.readline(), digest_size=DIGEST_BYTES).digest()
                    found[begin : begin + DIGEST_BYTES] = digest
            self._digests = bytes(found)
        place = self._number(item_id)
        if place is None:
            return None
        digest = self._digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        return digest if any(digest) else None

    def _offset(self, item_id: str) -> int:
        number = self._number(item_id)
        if number is None:
            raise KeyError(item_id)
        return self._offsets[number]

    def _number(self, item_id: str) -> int | None:
        """Return the number of an item, None if it is not among these."""
        number = self._numbers.find((0, item_id))
        return (
            number if number is not None and number < len(self._offsets) and self._offsets[number] != NOWHERE else None
        )

    def _look_up(self) -> None:
        order, offsets, offset = array("q"), array("q"), 0
        with self._path.open("rb") as file:
            self._version = _version_of(file)
            for number, line in enumerate(islice(file, self._count), 1):
                order.append(place := self._numbers.of((0, _decode_item(line, number).id)))
                offsets.extend([NOWHERE] * (place + 1 - len(offsets)))
                offsets[place] = offset
                offset += len(line)
        self._order, self._offsets, self._blocks = order, offsets, Blocks()


def _version_of(file: IO[bytes]) -> tuple[int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns
