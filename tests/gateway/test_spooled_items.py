"""Items of a dataset that lie on disk, of which memory holds where they begin."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from lfexp_mcp.gateway import SpooledItems
from lfexp_mcp.model import DatasetItem

KILOBYTES = 10
COUNT = 2000
MAX_BYTES_PER_ITEM = 40


def _item(number: int) -> DatasetItem:
    return DatasetItem(
        id=f"item {number} \udcff",
        input={"text": "x" * 1000 * KILOBYTES, "number": float("inf")},
        expected_output=number,
        metadata={"größe": [None, True]},
        dataset_id="dataset",
        source_trace_id="trace",
        updated=datetime(2026, 1, 1, 1, 2, 3, 456_789, tzinfo=UTC),
        created=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    )


def _items(count: int) -> Iterator[DatasetItem]:
    return map(_item, range(count))


def test_they_are_read_as_they_were_in_any_order_and_as_often_as_wanted() -> None:
    items = SpooledItems(_items(300))
    assert items == [*_items(300)]
    assert items != [*_items(299)]
    assert items[-1] == _item(299)
    chosen = items.choose([7, 3, 290])
    assert chosen == [_item(7), _item(3), _item(290)]
    assert chosen[1:] == [_item(3), _item(290)]
    pairs = zip(items, reversed(items), strict=True)
    assert all((one.expected_output, other.expected_output) == (n, 299 - n) for n, (one, other) in enumerate(pairs))


def test_a_sequence_goes_on_while_others_that_were_chosen_from_it_are_read() -> None:
    items = SpooledItems(_items(2))
    [second] = items.choose([1])
    items.append(_item(2))
    assert second == items[1] == _item(1)
    assert items == [*_items(3)]
    assert SpooledItems.of(items) is items


@pytest.mark.slow
def test_memory_grows_by_places_and_not_by_contents() -> None:
    def kept_bytes(count: int) -> int:
        tracemalloc.start()
        try:
            items = SpooledItems(_items(count))
            assert sum(1 for _ in items) == count
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    kept_bytes(300)
    growth = kept_bytes(COUNT) - kept_bytes(COUNT // 4)
    assert growth < MAX_BYTES_PER_ITEM * COUNT * 3 / 4
