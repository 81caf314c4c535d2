"""How far a run has come, by its journal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from lfexp_mcp.model import Progress, ProviderRetries
from lfexp_mcp.runs.events import Event, ItemScored, ItemStarted, ProviderRetried, WorkerAccepted, WorkerLoading
from lfexp_mcp.runs.replay import Replay
from lfexp_mcp.services.runs.follower import Follower
from tests.runs.test_folder import ended, make_folder

AGO = datetime.now(UTC) - timedelta(seconds=100)
LATER = AGO + timedelta(seconds=5)
BEGUN = WorkerAccepted(pid=1, at=AGO)


def progress_of(path: Path, *events: Event) -> Progress:
    replay = Replay(make_folder(path / "run", *events))
    replay.refresh()
    return Follower(replay).progress()


def start(item_id: str) -> ItemStarted:
    return ItemStarted(item_id=item_id, at=LATER)


def end(item_id: str, status: Literal["succeeded", "failed"] = "succeeded") -> Event:
    return replace(ended(item_id, status), at=LATER)


def test_the_time_left_is_told_while_items_are_still_to_begin(tmp_path: Path) -> None:
    progress = progress_of(tmp_path, BEGUN, start("a"), end("a"), ItemScored(item_id="a"))
    assert (progress.done, progress.running, progress.scoring, progress.longest_wait) == (1, 0, 0, None)
    assert progress.items_per_second is not None
    assert progress.seconds_left is not None
    assert progress.seconds_left == pytest.approx(1 / progress.items_per_second)
    assert progress.seconds_left >= 100


def test_no_time_left_is_told_of_the_last_items_and_how_long_they_run_is(tmp_path: Path) -> None:
    progress = progress_of(tmp_path, BEGUN, start("a"), start("b"), end("a"), ItemScored(item_id="a"))
    assert (progress.done, progress.running, progress.seconds_left) == (1, 1, None)
    assert progress.longest_wait is not None
    assert progress.longest_wait >= 95


def test_a_judge_that_hangs_at_the_end_is_waited_for(tmp_path: Path) -> None:
    events = (BEGUN, start("a"), start("b"), end("a"), end("b", "failed"))
    progress = progress_of(tmp_path, *events)
    assert (progress.done, progress.failed, progress.running, progress.scoring) == (2, 1, 0, 1)
    assert progress.seconds_left is None
    assert progress.longest_wait is not None
    assert progress.longest_wait >= 95


@pytest.mark.parametrize("again", [WorkerLoading(), WorkerAccepted(pid=2)])
def test_what_a_resume_runs_again_is_not_done(tmp_path: Path, again: Event) -> None:
    retried = ProviderRetried(provider="openai", retries=1, rate_limited=1)
    progress = progress_of(tmp_path, BEGUN, end("a"), end("b", "failed"), retried, again)
    assert (progress.done, progress.failed, progress.seconds_left) == (1, 0, None)


def test_retries_are_added_up_by_provider_for_the_newest_worker(tmp_path: Path) -> None:
    progress = progress_of(
        tmp_path,
        BEGUN,
        ProviderRetried(provider="openai", retries=9, rate_limited=9),
        WorkerAccepted(pid=2),
        ProviderRetried(provider="openai", retries=3, rate_limited=2),
        ProviderRetried(provider="anthropic", retries=1, rate_limited=0),
        ProviderRetried(provider="openai", retries=2, rate_limited=2),
    )
    assert progress.provider_retries == (ProviderRetries("openai", 5, 4), ProviderRetries("anthropic", 1))
