"""Lines of a file that are read by their places, a block at a time."""

from io import BytesIO
from random import Random

import pytest

from lfexp_mcp.runs.framing import BLOCK_BYTES, Blocks

SIZES = (0, 1, 500, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES)


class CountedFile(BytesIO):
    """A file that counts the blocks that are read of it."""

    blocks = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.blocks += 1
        return super().read(size)


def line_of(blocks: Blocks, file: BytesIO, offset: int) -> bytes:
    line = blocks.line(offset)
    return blocks.read(file, offset) if line is None else line


def make_lines(*sizes: int) -> tuple[CountedFile, dict[int, bytes]]:
    """Return a file of lines of these sizes, and its lines by where they begin."""
    lines, offset = {}, 0
    for number, size in enumerate(sizes):
        lines[offset] = b"%d" % (number % 10) * size
        offset += size + 1
    return CountedFile(b"".join(line + b"\n" for line in lines.values())), lines


@pytest.mark.parametrize("seed", range(5))
def test_a_line_of_any_length_is_read_from_anywhere(seed: int) -> None:
    random = Random(seed)
    file, lines = make_lines(*random.choices(SIZES, k=50))
    blocks = Blocks()
    for offset in random.choices([*lines], k=200):
        assert line_of(blocks, file, offset) == lines[offset]


@pytest.mark.parametrize("backwards", [False, True])
def test_lines_at_two_places_are_read_in_turn_with_each_block_read_once(*, backwards: bool) -> None:
    file, lines = make_lines(*[99] * 4 * (BLOCK_BYTES // 100))
    early, late = [*lines][: len(lines) // 2], [*lines][len(lines) // 2 :]
    pairs = [*zip(early, late, strict=True)]
    blocks = Blocks()
    for pair in reversed(pairs) if backwards else pairs:
        assert [line_of(blocks, file, offset) for offset in pair] == [lines[offset] for offset in pair]
    assert file.blocks <= 4 + 2


def test_a_line_that_is_written_after_its_block_was_read_is_read_again() -> None:
    blocks, file = Blocks(), BytesIO(b"first\nsec")
    assert (blocks.read(file, 0), blocks.line(0), blocks.line(6)) == (b"first", b"first", None)
    file.seek(0, 2)
    file.write(b"ond\nthird\n")
    assert [line_of(blocks, file, offset) for offset in (6, 0, 13)] == [b"second", b"first", b"third"]


def test_a_line_beyond_the_end_is_empty() -> None:
    assert Blocks().read(BytesIO(b"first\n"), 100) == b""
