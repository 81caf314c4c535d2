"""Replays that go on where they stopped tell of a run what one that begins anew does."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lfexp_mcp.model import DatasetItem, EvaluatorFailure, ExperimentHead, ModelCaller, ModelUsage, Score
from lfexp_mcp.runs import replay as replays
from lfexp_mcp.runs.events import (
    Event,
    Executed,
    ItemEnded,
    ItemScored,
    ItemStarted,
    ModelsCalled,
    RunEnded,
    RunScored,
    ScoresStored,
    Warned,
    WorkerAccepted,
    WorkerLoading,
    WriteRefused,
)
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.runs.replay import Replay, Replays
from tests.runs.records import read_record
from tests.runs.test_folder import ended, make_folder, make_run_spec

ITEMS = [DatasetItem(id="a", input=1, expected_output="x"), DatasetItem(id="b", input=2), DatasetItem(id="ü", input=3)]
HEADS = tuple(ExperimentHead(id=f"e{repeat}", name=repeat_name("run", repeat)) for repeat in range(2))
NOW = datetime(2026, 1, 1, tzinfo=UTC)

ids = st.sampled_from([*(item.id for item in ITEMS), "of no item"])
repeats = st.integers(0, 1)
names = st.sampled_from(["s1", "s2", "s3"])
scores = st.builds(Score, names, st.just("tone"), st.floats(0, 1), st.just("NUMERIC"))
failures = st.builds(EvaluatorFailure, st.just("tone"), st.text(max_size=5))
ends = st.builds(
    ItemEnded,
    item_id=ids,
    repeat=repeats,
    status=st.sampled_from(["succeeded", "failed"]),
    output=st.text(max_size=5),
    error=st.none() | st.text(max_size=5),
    task_version=st.sampled_from([None, "1", "2"]),
    trace_id=st.just("t"),
    root_id=st.just("r"),
    observation_id=st.just("o"),
    started=st.builds(lambda seconds: NOW + timedelta(seconds=seconds), st.integers(0, 99)),
    seconds=st.floats(0, 9),
)
scorings = st.builds(
    ItemScored,
    item_id=ids,
    repeat=repeats,
    scores=st.tuples(scores),
    unscored=st.sampled_from([()]) | st.tuples(failures),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(ItemStarted, item_id=ids, repeat=repeats),
    ends,
    ends,
    scorings,
    scorings,
    st.builds(RunScored, repeat=repeats, scores=st.tuples(scores)),
    st.builds(ScoresStored, ids=st.tuples(names)),
    st.builds(WriteRefused, kind=st.just("score"), id=names, name=st.just("tone"), message=st.just("HTTP 400")),
    st.builds(Warned, text=st.text(max_size=3)),
    st.builds(ModelsCalled, user=st.just(ModelCaller("tone", "m")), usage=st.just(ModelUsage(calls=1))),
    st.builds(WorkerLoading),
    st.builds(WorkerAccepted, pid=st.just(1)),
    st.builds(Executed),
    st.builds(RunEnded, status=st.sampled_from(["completed", "cancelled"])),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=st.lists(events, min_size=1, max_size=25),
    damaged=st.none() | st.integers(0, 10_000),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
@pytest.mark.slow
def test_a_replay_that_goes_on_equals_one_that_begins_anew_wherever_the_journal_was_cut(
    folder: RunFolder, written: list[Event], damaged: int | None, cuts: list[float]
) -> None:
    folder.journal_path.unlink(missing_ok=True)
    journal = folder.open_journal()
    journal.append(*written)
    journal.close()
    content = bytearray(folder.journal_path.read_bytes())
    if damaged is not None:
        content[damaged % len(content)] ^= 1
    replay = Replay(folder)
    for cut in [*sorted(cuts), 1.0]:
        folder.journal_path.write_bytes(content[: round(cut * len(content))])
        anew = Replay(folder)
        replay.refresh()
        anew.refresh()
        assert replay.record() == anew.record()
        assert replay.undelivered() == anew.undelivered()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run of three items, each twice."""
    run = RunFolder(tmp_path / "run")
    run.write_run_spec(make_run_spec(item_count=len(ITEMS), experiments=HEADS), ITEMS)
    return run


@pytest.fixture
def _one_line_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "LINES_PER_LOOK", 1)


@pytest.mark.usefixtures("_one_line_at_a_time")
def test_a_replay_without_time_reads_a_little_and_says_that_there_is_more(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1), ended("a"), ended("b"))
    replay = Replay(folder)
    seen = []
    while not replay.refresh(0):
        assert not replay.is_current
        seen.append((len(replay.state.ended), replay.share_read))
    assert seen == sorted(seen)
    assert [count for count, _ in seen] == [0, 0, 1]
    assert (replay.is_current, replay.share_read, len(replay.state.ended)) == (True, 1.0, 2)
    assert replay.record() == read_record(folder)


def test_a_record_is_the_same_object_until_something_changes_and_keeps_the_results_that_did_not(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1), ended("a"))
    replay = Replay(folder)
    replay.refresh()
    first = replay.record()
    replay.refresh()
    assert replay.record() is first
    journal = folder.open_journal()
    journal.append(ended("b"))
    journal.close()
    replay.refresh()
    second = replay.record()
    assert [item.status for item in second.items] == ["succeeded", "succeeded"]
    assert second.items[0] is first.items[0]


def test_replays_of_many_results_are_dropped_but_for_the_one_asked_for_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "MAX_RESULTS", 3)
    kept = Replays()
    first, second = (make_folder(tmp_path / name, ended("a"), ended("b")) for name in ("first", "second"))
    one = kept.of(first)
    one.refresh()
    assert kept.of(first) is one
    two = kept.of(second)
    two.refresh()
    assert kept.of(second) is two
    assert kept.of(first) is not one
