"""What a worker sends, and when."""

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from lfexp_mcp.model import DatasetItem, Score
from lfexp_mcp.runs.events import ScoresStored
from lfexp_mcp.runs.journal import JournalReader, JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.worker import delivery as module
from lfexp_mcp.worker.confirmation import ExpectedRecords
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.pending import PendingItem, announcing_last
from tests.runs.test_folder import ended, make_folder
from tests.store.spans import SpanSketch, export_request
from tests.worker.scene import Scene

pytestmark = pytest.mark.anyio

TRACE, SPAN = "ab" * 16, "cd" * 8
READERS, RESULTS = 4, 500


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_last_item_is_announced_before_it_begins(count: int) -> None:
    seen: list[str] = []
    items = iter([PendingItem(DatasetItem(f"{number}"), 0) for number in range(count)])
    for each in announcing_last(items, lambda: seen.append("last")):
        seen.append(each.item.id)
    expected = [f"{number}" for number in range(count)]
    assert seen == ([*expected[:-1], "last", *expected[-1:]] if count else [])


async def test_what_is_gathered_is_sent_at_once_when_it_is_flushed(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_GATHERING_S", 3600.0)
    monkeypatch.setattr(module, "MAX_GATHERING_S", 3600.0)
    gateway, outbox = scene.ws.gateway, Outbox(tmp_path / "outbox")
    journal = JournalWriter(tmp_path / "journal")
    delivery = Delivery(gateway, outbox, journal, 60.0, lambda: False)
    sketch = SpanSketch(TRACE, SPAN, start=1_760_000_000_000, end=1_760_000_000_050)
    outbox.append(export_request([sketch]).SerializeToString())
    delivery.add_scores([Score("flushed", "right", 1.0, "NUMERIC", trace_id=TRACE, observation_id=SPAN)])
    async with anyio.create_task_group() as group:
        group.start_soon(delivery.run)
        delivery.flush()
        assert await delivery.flushed()
        group.cancel_scope.cancel()
    assert outbox.is_empty()
    assert any(isinstance(event, ScoresStored) for event in JournalReader(tmp_path / "journal").read())
    journal.close()
    [span], [score] = await gateway.observations.find(trace_id=TRACE), await gateway.scores.find(trace_ids=[TRACE])
    assert (span.id, score.id) == (SPAN, "flushed")


async def test_who_waits_for_what_was_flushed_is_told_if_the_end_comes_first(scene: Scene, tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path / "journal")
    # It is not running, so that nothing is ever acknowledged.
    delivery = Delivery(scene.ws.gateway, Outbox(tmp_path / "outbox"), journal, 0.1, lambda: False)
    delivery.add_scores([Score("kept", "right", 1.0, "NUMERIC", trace_id=TRACE, observation_id=SPAN)])
    delivery.flush()
    told: list[bool] = []

    async def wait() -> None:
        told.append(await delivery.flushed())

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        assert not await delivery.finish()
    journal.close()
    assert told == [False]


async def test_results_are_counted_once_though_several_threads_read_the_journal_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    expected = ExpectedRecords(folder.run_spec(), folder.read_state())
    journal = folder.open_journal()
    for number in range(RESULTS):
        journal.append(ended(f"item-{number}"))
    journal.close()
    async with anyio.create_task_group() as group:
        for _ in range(READERS):
            group.start_soon(anyio.to_thread.run_sync, expected.update)
    state = expected.update()
    assert (len(state.ended), state.ended_since_accepted) == (RESULTS, RESULTS)
