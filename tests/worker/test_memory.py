"""What a worker holds of the items that are done, which may be a hundred thousand and more."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lfexp_mcp.model import Score
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, ScoresStored, WorkerAccepted
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.worker.confirmation import ExpectedRecords
from tests.runs.test_folder import ended, make_folder, make_run_spec

pytestmark = pytest.mark.slow

FEW, MANY = 500, 2000
CONTENT = "x" * 5000
STATE_BYTES = 350
"""Of each item: its id, a number by it, where its newest result and scores begin."""
EXPECTED_BYTES = 300
"""Beyond those: the ids of its result and of its score in Langfuse."""


def _events(count: int) -> Iterator[Event]:
    yield WorkerAccepted(pid=1)
    for number in range(count):
        item_id, score_id = f"item-{number:08}", f"{number:032x}"
        result: ItemEnded = ended(item_id)
        yield replace(result, output=CONTENT, trace_id=f"{number:032x}", observation_id=f"{number:016x}")
        yield ItemScored(item_id=item_id, scores=(Score(score_id, "correct", 1.0, "NUMERIC", comment=CONTENT),))
        yield ScoresStored(ids=(score_id,))


def _kept_bytes(folder: RunFolder) -> tuple[int, int]:
    """Return the bytes of a run's state, and what it takes besides to know what Langfuse has to show."""
    tracemalloc.start()
    try:
        state = folder.read_state()
        of_state = tracemalloc.get_traced_memory()[0]
        expected = ExpectedRecords(make_run_spec(), state)
        assert len(expected.update().ended) == len(state.scored)
        return of_state, tracemalloc.get_traced_memory()[0] - of_state
    finally:
        tracemalloc.stop()


def test_of_each_item_that_is_done_a_worker_holds_some_hundred_bytes_whatever_its_contents(tmp_path: Path) -> None:
    folders = [make_folder(tmp_path / f"{place}", *_events(count)) for place, count in enumerate((FEW, FEW, MANY))]
    # The first one pays for what is made once.
    _, (few_state, few_expected), (many_state, many_expected) = map(_kept_bytes, folders)
    assert many_state - few_state < (MANY - FEW) * STATE_BYTES
    assert many_expected - few_expected < (MANY - FEW) * EXPECTED_BYTES
