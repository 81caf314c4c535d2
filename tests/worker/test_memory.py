"""What a worker holds of the items that are done, which may be a hundred thousand and more."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lfexp_mcp.gateway.transport import PAGE_SIZE
from lfexp_mcp.model import Score
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, ScoresStored, WorkerAccepted
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.worker.confirmation import ExpectedRecords
from tests.runs.test_folder import ended, make_folder
from tests.worker.scene import Scene

pytestmark = pytest.mark.slow

FEW, MANY = 500, 2000
CONTENT = "x" * 5000
STATE_BYTES = 350
"""Of each item: its id, a number by it, where its newest result and scores begin."""
PAGES, MORE_PAGES = 5, 15
CONFIRMED_BYTES = 100
"""Of each result that Langfuse is asked for in the end, beside a page of them: less than its id and that of its score.
"""
EVALUATORS = "def right(*, output, **kwargs):\n    return {'name': 'right', 'value': 1.0}\nEVALUATORS = [right]\n"


def _events(count: int) -> Iterator[Event]:
    yield WorkerAccepted(pid=1)
    for number in range(count):
        item_id, score_id = f"item-{number:08}", f"{number:032x}"
        result: ItemEnded = ended(item_id)
        yield replace(result, output=CONTENT, trace_id=f"{number:032x}", observation_id=f"{number:016x}")
        yield ItemScored(item_id=item_id, scores=(Score(score_id, "correct", 1.0, "NUMERIC", comment=CONTENT),))
        yield ScoresStored(ids=(score_id,))


def _kept_bytes(folder: RunFolder) -> int:
    """Return the bytes of a run's state."""
    tracemalloc.start()
    try:
        state = folder.read_state()
        assert len(state.ended) == len(state.scored)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_of_each_item_that_is_done_a_worker_holds_some_hundred_bytes_whatever_its_contents(tmp_path: Path) -> None:
    folders = [make_folder(tmp_path / f"{place}", *_events(count)) for place, count in enumerate((FEW, FEW, MANY))]
    # The first one pays for what is made once.
    _, few, many = map(_kept_bytes, folders)
    assert many - few < (MANY - FEW) * STATE_BYTES


async def _peak_of_confirmation(scene: Scene, count: int) -> int:
    """Run so many items, and return the bytes that it takes at most to ask Langfuse for all of them."""
    await scene.fill(count)
    answer = await scene.run(
        scene.script("def task(*, item, **kwargs):\n    return item.input"),
        evaluator_script=scene.script(EVALUATORS, "evaluators.py"),
        max_concurrency=20,
    )
    assert (answer.status, answer.succeeded) == ("completed", count)
    folder = await scene.run_folder()
    run_spec, state = folder.run_spec(), folder.read_state()
    # The first one pays for what is made once.
    assert not await ExpectedRecords(run_spec, state).find_missing(scene.ws.gateway)
    tracemalloc.start()
    try:
        assert not await ExpectedRecords(run_spec, state).find_missing(scene.ws.gateway)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.anyio
async def test_what_langfuse_has_is_confirmed_page_by_page(scene: Scene) -> None:
    few, many = PAGES * PAGE_SIZE, MORE_PAGES * PAGE_SIZE
    peaks = [
        await _peak_of_confirmation(Scene(scene.ws, scene.folder, run_name=f"{count}"), count) for count in (few, many)
    ]
    assert peaks[1] - peaks[0] < (many - few) * CONFIRMED_BYTES
