"""What is in memory of a run's items, and what is read from its folder when it is looked at."""

import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lfexp_mcp.errors import StateError
from lfexp_mcp.model import DatasetItem, Score
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, RunEnded, ScoresMissing, ScoresStored, WorkerAccepted
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.newest_events import ItemNumbers
from lfexp_mcp.runs.replay import Replay
from lfexp_mcp.runs.run_state import RunState
from tests.runs.test_folder import ended, make_folder, make_run_spec

LONG = "long " * 2_000


def scored(item_id: str, *names: str) -> ItemScored:
    return ItemScored(item_id=item_id, scores=tuple(Score(name, name, 1.0, "NUMERIC") for name in names))


def append(folder: RunFolder, *events: Event) -> None:
    journal = folder.open_journal()
    journal.append(*events)
    journal.close()


def unstored(state: RunState) -> list[str]:
    found = [score.id for score, _, _ in state.unstored_scores()]
    assert state.unstored_count() == len(found)
    return found


SUPERSEDED: dict[str, tuple[list[Event], list[str]]] = {
    "a score of a result that was replaced is not sent": ([ended("a"), scored("a", "x"), ended("a")], []),
    "a score that was sent is not sent again": ([ended("a"), scored("a", "x"), ScoresStored(ids=("x",))], []),
    "a score that Langfuse does not show is sent again": (
        [ended("a"), scored("a", "x", "y"), ScoresStored(ids=("x", "y")), ScoresMissing(ids=("y",))],
        ["y"],
    ),
    "a score that was made again is sent again": (
        [ended("a"), scored("a", "x"), ScoresStored(ids=("x",)), scored("a", "x")],
        ["x"],
    ),
    "of scores that were made again, those that are no more are not sent": (
        [ended("a"), scored("a", "x", "y"), scored("a", "y")],
        ["y"],
    ),
    "scores of no result are not sent": ([scored("a", "x")], []),
}


@pytest.mark.parametrize("case", SUPERSEDED)
def test_later_events_supersede_what_is_to_be_sent(tmp_path: Path, case: str) -> None:
    events, expected = SUPERSEDED[case]
    # A time of its own for each score, as they are made one after the other.
    stamped = [
        replace(each, scores=tuple(replace(score, timestamp=each.at) for score in each.scores))
        if isinstance(each, ItemScored)
        else each
        for each in events
    ]
    assert unstored(make_folder(tmp_path / "run", *stamped).read_state()) == expected


def test_a_failure_that_a_later_result_mends_counts_no_more(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", replace(ended("a"), status="failed", task_version="1", error="no"))
    state = folder.read_state()
    assert (state.failed_count, state.attempts((0, "a")), state.succeeded((0, "a"))) == (1, 1, False)
    append(folder, replace(ended("a"), task_version="2"))
    state.read_to_end()
    assert (state.failed_count, state.attempts((0, "a")), state.succeeded((0, "a"))) == (0, 2, True)
    assert (+state.task_versions, state.ended[0, "a"].error) == ({"2": 1}, None)


def test_a_record_that_is_cut_off_does_not_count_until_it_is_written_whole(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1), ended("a"), ended("b"))
    whole = folder.journal_path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    state = folder.read_state()
    for cut in {last, last + 1, (last + len(whole)) // 2, len(whole) - 1}:
        folder.journal_path.write_bytes(whole[:cut])
        state = folder.read_state()
        assert [*state.ended] == [(0, "a")]
    folder.journal_path.write_bytes(whole)
    state.read_to_end()
    assert [*state.ended] == [(0, "a"), (0, "b")]


def test_outputs_are_read_behind_a_damaged_record(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1), ended("a"), replace(ended("b"), output="good"))
    content = folder.journal_path.read_bytes()
    folder.journal_path.write_bytes(content.replace(b'"item_id":"a"', b'"item_id":"x"'))
    replay = Replay(folder)
    replay.refresh()
    assert [(item.status, item.output) for item in replay.record().items] == [("pending", None), ("succeeded", "good")]
    assert len(replay.state.damaged_lines) == 1


@pytest.mark.parametrize("further", [(), ("b",)], ids=["as long", "longer"])
def test_a_run_that_was_deleted_and_begun_anew_is_never_taken_for_the_one_before(
    tmp_path: Path, further: tuple[str, ...]
) -> None:
    path = tmp_path / "run"
    replay = Replay(make_folder(path, WorkerAccepted(pid=1), replace(ended("a"), output="old")))
    replay.refresh()
    [old, _] = replay.record().items
    assert old.output == "old"
    unread = RunState.of(path / "journal.jsonl")
    shutil.rmtree(path)
    make_folder(path, WorkerAccepted(pid=1), replace(ended("a"), output="new"), *map(ended, further))
    replay.folder.journal_path.touch()
    other = RunState.of(path / "journal.jsonl")
    assert replay.state.ended[0, "a"].output == "old"
    with pytest.raises(StateError):
        _ = unread.ended[0, "a"]
    replay.refresh()
    assert [item.output for item in replay.record().items][:1] == ["new"]
    assert len(replay.state.ended) == len(other.ended) == 1 + len(further)


def test_a_result_has_its_content_also_after_a_resume_wrote_the_items_anew(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", ended("b"))
    replay = Replay(folder)
    replay.refresh()
    before = replay.record().items
    items = [*folder.items(folder.run_spec()), DatasetItem(id="c", input="third")]
    folder.write_run_spec(make_run_spec(item_count=3), items, is_new=True)
    replay.refresh()
    assert [item.input for item in before] == [item.input for item in items[:2]]
    assert [item.input for item in replay.record().items] == [item.input for item in items]


def _peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        kept = work()
        del kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _read(folder: RunFolder) -> object:
    replay = Replay(folder)
    replay.refresh()
    record = replay.record()
    assert len(record.items) == len(replay.state.ended)
    return replay, record


def _many(count: int, output: str) -> Iterator[Event]:
    for number in range(count):
        yield replace(ended(f"item-{number}"), output=output)


def _ended_run(path: Path, count: int, text: str) -> RunFolder:
    folder = RunFolder(path)
    items = [DatasetItem(id=f"item-{number}", input=text) for number in range(count)]
    folder.write_run_spec(make_run_spec(item_count=count), items)
    append(folder, *_many(count, text), RunEnded(status="completed"))
    return folder


def test_memory_depends_on_how_many_items_a_run_has_and_not_on_how_large_they_are(tmp_path: Path) -> None:
    short, long = (_ended_run(tmp_path / str(len(text)), 300, text) for text in ("short", LONG))
    _read(short)
    few, much = _peak_bytes(lambda: _read(short)), _peak_bytes(lambda: _read(long))
    assert much < few + 10 * len(LONG) < 300 * len(LONG)
    assert isinstance(long.read_state().ended[0, "item-7"], ItemEnded)


def test_items_are_told_apart_by_digests_and_others_have_none(tmp_path: Path) -> None:
    first, second = make_folder(tmp_path / "1"), make_folder(tmp_path / "2")
    items = [DatasetItem(id="b", input=2), DatasetItem(id="a", input=2)]
    second.write_run_spec(make_run_spec(), items)
    numbers = ItemNumbers()
    # Of an item that has a result, and is none of the run's.
    numbers.of((0, "x"))
    one, other = first.stored_items(make_run_spec(), numbers), second.stored_items(make_run_spec())
    assert one.digest("b") == other.digest("b") is not None
    assert one.digest("a") != other.digest("a")
    numbers.of((0, "later"))
    assert [one.digest(item_id) for item_id in ("x", "later", "unknown")] == [None] * 3
