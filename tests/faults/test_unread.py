"""Runs that are too long to be read within the time of a call."""

from collections.abc import AsyncIterator

import anyio
import pytest

from lfexp_mcp.errors import UnreadError
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.runs import replay as replays
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest
from lfexp_mcp.services.runs import read_run, run_summary
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.workspace import Workspace, open_workspace
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TASK = "def task(*, item, **kwargs):\n    return item.input.upper()\n"


@pytest.fixture
async def anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workspace]:
    """A new process, so to speak, on a machine that reads one line of a journal at a time."""
    await scene.fill(3)
    await scene.run(scene.script(TASK))
    monkeypatch.setattr(replays, "LINES_PER_LOOK", 1)
    async with open_workspace(scene.ws.settings) as ws:
        yield ws


async def test_a_run_that_is_not_read_in_time_is_described_without_a_number_of_its_results(
    anew: Workspace, scene: Scene
) -> None:
    found = await get_run(anew, scene.dataset, scene.run_name, patience_s=0)
    assert (found.status, found.total_items) == ("completed", 3)
    assert (found.succeeded, found.failed, found.pending, found.progress) == (None, None, None, None)
    assert (found.scores, found.items, found.next_cursor) == ([], [], None)
    assert found.next[0].tool == "get_run"
    assert found.next[0].arguments["wait_seconds"] == 45
    assert "0 of 3" not in report_text(found)
    assert not {"succeeded", "failed", "pending"} & found.model_dump().keys()


async def test_each_call_reads_on_where_the_last_one_stopped(anew: Workspace, scene: Scene) -> None:
    folder = await scene.run_folder()
    shares = []
    for _ in range(3):
        await get_run(anew, scene.dataset, scene.run_name, item_id="no such item is known yet", patience_s=0)
        shares.append(anew.replays.of(folder).share_read)
    assert shares == sorted(set(shares))
    found = await get_run(anew, scene.dataset, scene.run_name, patience_s=PATIENCE_S)
    assert (found.succeeded, found.failed, found.pending, len(found.items)) == (3, 0, 0, 3)


async def test_counts_are_known_as_soon_as_the_journal_is_read(anew: Workspace, scene: Scene) -> None:
    anew.replays.of(await scene.run_folder()).refresh()
    found = await get_run(anew, scene.dataset, scene.run_name, patience_s=0)
    assert (found.succeeded, found.failed, found.pending, found.scores) == (3, 0, 0, [])


async def test_a_comparison_or_analysis_says_that_a_run_is_still_being_read(
    anew: Workspace, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_run, "READING_PATIENCE_S", -1.0)
    with pytest.raises(UnreadError) as refused:
        await analyze_run(anew, AnalyzeRequest(dataset=scene.dataset, run_name=scene.run_name))
    assert [step.tool for step in refused.value.next] == ["get_run"]
    with pytest.raises(UnreadError):
        await compare_runs(anew, CompareRequest(dataset=scene.dataset, runs=[scene.run_name, "another"]))


@pytest.mark.slow
async def test_an_earlier_summary_is_shown_with_its_age_where_there_is_no_time_for_a_new_one(
    scene: Scene,
) -> None:
    await scene.fill(2)
    await scene.run(scene.script(TASK))
    replay = scene.ws.replays.of(await scene.run_folder())
    replay.refresh()
    record = replay.record()
    fresh = await run_summary.summarise_in_time(scene.ws, record, anyio.current_time() + PATIENCE_S)
    assert await run_summary.summarise_in_time(scene.ws, record, anyio.current_time() + PATIENCE_S) is fresh
    late = await run_summary.summarise_in_time(scene.ws, record, anyio.current_time() - 1)
    assert (late.counts, late.scores) == (fresh.counts, fresh.scores)
    assert len(late.warnings) == len(fresh.warnings) + 1
