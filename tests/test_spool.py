"""Objects on disk instead of in memory."""

import random
import tracemalloc
from collections import deque

import pytest

from lfexp_mcp.model import Score
from lfexp_mcp.spool import SpooledQueue

MAX_BYTES_PER_VALUE = 40


def _score(number: int) -> Score:
    return Score(
        f"{number:032x}", "correct", number / 7, "NUMERIC", "A comment. " * 100, trace_id="t", author="é\udcff"
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_queue_gives_what_it_got_in_that_order_however_much_of_it_lies_on_disk(seed: int) -> None:
    drawn, queue, expected = random.Random(seed), SpooledQueue[Score](5), deque[Score]()
    for number in range(400):
        if drawn.random() < (0.7 if number < 200 else 0.3):
            queue.append(_score(number))
            expected.append(_score(number))
        elif expected:
            assert queue.first() == expected[0]
            assert queue.popleft() == expected.popleft()
        assert len(queue) == len(expected)
    assert [queue.popleft() for _ in range(len(queue))] == [*expected]
    with pytest.raises(IndexError):
        queue.popleft()


@pytest.mark.slow
def test_memory_grows_by_places_and_not_by_what_waits() -> None:
    def kept_bytes(count: int) -> int:
        tracemalloc.start()
        try:
            queue = SpooledQueue[Score](100)
            for number in range(count):
                queue.append(_score(number))
            assert len(queue) == count
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    kept_bytes(3000)
    assert kept_bytes(9000) - kept_bytes(3000) < 6000 * MAX_BYTES_PER_VALUE
