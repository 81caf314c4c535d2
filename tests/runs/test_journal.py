"""The journal: what is in it survives, half a line does no harm, a damaged one is said."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from lfexp_mcp.errors import StateError
from lfexp_mcp.model import TEN, EvaluatorFailure, HumanMaker, JudgeMaker, Score, ScriptMaker
from lfexp_mcp.runs import journal
from lfexp_mcp.runs.events import (
    Damaged,
    Event,
    ItemEnded,
    ItemScored,
    ItemStarted,
    RunEnded,
    ScoresStored,
    Warned,
    WorkerAccepted,
)
from lfexp_mcp.runs.framing import frame
from lfexp_mcp.runs.journal import JournalReader, JournalWriter, read_run_end

text = st.text(max_size=50)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
events = st.lists(
    st.builds(ItemStarted, item_id=text)
    | st.builds(
        ItemEnded,
        item_id=text,
        status=st.sampled_from(["succeeded", "failed"]),
        output=json_values,
        error=st.none() | text,
        trace_id=text,
        root_id=text,
        observation_id=text,
        started=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
        seconds=st.floats(0, 1e6),
    )
    | st.builds(
        ItemScored,
        item_id=text,
        scores=st.lists(
            st.builds(
                Score,
                id=text,
                name=text,
                value=st.booleans() | text | st.floats(allow_nan=False, allow_infinity=False),
                data_type=st.just("NUMERIC"),
            ),
            max_size=2,
        ).map(tuple),
        unscored=st.lists(st.builds(EvaluatorFailure, name=text, error=text), max_size=2).map(tuple),
    )
    | st.builds(ScoresStored, ids=st.lists(text, max_size=3).map(tuple))
    | st.builds(Warned, text=text),
    max_size=6,
)


@pytest.mark.slow
@given(written=events)
def test_any_events_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append(*written)
    writer.close()
    assert list(JournalReader(path).read()) == written


@pytest.mark.slow
@given(written=events, cut=st.integers(1, 400))
def test_half_a_line_at_the_end_is_left_alone_and_cut_off(
    tmp_path_factory: pytest.TempPathFactory, written: list[Event], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append(*written, Warned(text="x" * 200))
    writer.close()
    content = path.read_bytes()
    path.write_bytes(content[: max(len(content) - cut, 0)])
    whole = list(JournalReader(path).read())
    assert whole == written[: len(whole)]
    writer = JournalWriter(path)
    writer.append(Warned(text="after"))
    writer.close()
    *before, last = JournalReader(path).read()
    assert before == whole
    assert isinstance(last, Warned)


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    reader = JournalReader(path)
    assert list(reader.read()) == []
    writer = JournalWriter(path)
    for number in range(3):
        event = Warned(text=str(number))
        writer.append(event)
        assert list(reader.read()) == [event]
    writer.close()


def write_journal(path: Path, *written: Event) -> None:
    writer = JournalWriter(path)
    writer.append(*written)
    writer.close()


def texts(path: Path) -> list[str | int]:
    """Texts of the warnings in a journal, and lines of damage."""
    return [event.text if isinstance(event, Warned) else event.line for event in read(path)]


def read(path: Path) -> list[Warned | Damaged]:
    return [event for event in JournalReader(path).read() if isinstance(event, Warned | Damaged)]


@pytest.mark.slow
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_the_records_that_it_touches_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    written = [f"{number} is 1 ffffffff {{}}" for number in range(5)]
    write_journal(path, *(Warned(text=text) for text in written))
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    found = texts(path)
    kept = [each for each in found if isinstance(each, str)]
    assert set(kept) <= set(written)
    # A line feed that is none any more joins two lines, both of which are whole; the last one makes half a line.
    assert len(kept) >= 4
    assert any(isinstance(each, int) for each in found) or position % len(content) == len(content) - 1


def test_what_follows_half_a_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write_journal(path, Warned(text="a"))
    torn = path.read_bytes() + b'77 1234abcd {"at":"2026'
    write_journal(tmp_path / "next", Warned(text="b"), Warned(text="c"))
    path.write_bytes(torn + (tmp_path / "next").read_bytes())
    assert texts(path) == ["a", 3, "b", "c"]


def test_a_journal_of_the_version_before_is_read_also_where_a_full_disk_tore_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [f'{{"at":"2026-01-01T00:00:00Z","event":"warned","text":"{text}"}}\n' for text in "abc"]
    path.write_text(lines[0] + lines[1][:30] + lines[1] + "{}\n" + lines[2], encoding="utf-8")
    assert texts(path) == ["a", 2, "b", 3, "c"]
    write_journal(path, Warned(text="d"))
    assert texts(path) == ["a", 2, "b", 3, "c", "d"]


def test_a_journal_of_a_newer_version_is_refused_with_both_versions_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    content = frame(b'{"event":"opened","format":3,"version":"9.1.0"}') + frame(b'{"event":"unheard of"}')
    path.write_bytes(content)
    reader = JournalReader(path)
    for _ in range(2):
        with pytest.raises(StateError, match=r"9\.1\.0.*format 3.*format 2") as refused:
            list(reader.read())
        assert "delete" not in str(refused.value)
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("room", range(0, 400, 37))
def test_a_write_that_finds_no_room_leaves_nothing_half_written(tmp_path: Path, room: int) -> None:
    import resource

    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append(Warned(text="before"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, limits[1]))
    try:
        with pytest.raises(StateError, match=path.name):
            writer.append(*(Warned(text=f"{number}" * 40) for number in range(5)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    during = texts(path)
    writer.append(Warned(text="after"))
    writer.close()
    assert texts(path) == [*during, "after"]
    assert during == ["before", *(f"{number}" * 40 for number in range(len(during) - 1))]


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_the_end_of_a_run_is_found_from_the_journals_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append(WorkerAccepted(pid=1))
    assert read_run_end(path) is None
    writer.append(RunEnded(status="cancelled"))
    misleading: dict[str, JsonValue] = {"event": "run_ended", "note": "x" * size}
    ended = ItemEnded(
        item_id="i",
        status="succeeded",
        output=misleading,
        trace_id="t",
        root_id="r",
        observation_id="o",
        started=datetime.now(UTC),
        seconds=0,
    )
    writer.append(ended, ended)
    found = read_run_end(path)
    assert found is not None
    assert found.status == "cancelled"
    writer.append(WorkerAccepted(pid=2), Warned(text="y" * size))
    assert read_run_end(path) is None
    writer.close()


def test_the_end_of_a_run_is_looked_for_no_further_back_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    ended = RunEnded(status="cancelled")
    writer.append(WorkerAccepted(pid=1), ended, *[Warned(text="y" * 1000)] * 300)
    writer.close()
    assert read_run_end(path, max_bytes=100_000) is None
    assert read_run_end(path, max_bytes=1_000_000) == ended


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["end", "start", "short", "long"]), max_size=12),
    cut=st.sampled_from([b"", b"123 half a line", b'99 {"event":"run_ended"']),
    piece=st.integers(1, 400),
    since=st.integers(0, 12),
)
def test_the_end_of_a_run_is_the_same_in_whatever_pieces_the_journal_is_read(
    tmp_path: Path, kinds: list[str], cut: bytes, piece: int, since: int
) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    writer = JournalWriter(path)
    places = [0]
    for number, kind in enumerate(kinds):
        event: Event = Warned(text="y" * (1000 if kind == "long" else 1))
        if kind in ("end", "start"):
            event = RunEnded(status="failed", reason=str(number)) if kind == "end" else WorkerAccepted(pid=number)
        writer.append(event)
        places.append(path.stat().st_size)
    writer.close()
    with path.open("ab") as file:
        file.write(cut)
    known = [*enumerate(kinds)][since:]
    newest = next(((number, kind) for number, kind in reversed(known) if kind in ("end", "start")), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "TAIL_BYTES", piece)
        patch.setattr(journal, "MAX_PIECE_BYTES", piece * 2)
        found = read_run_end(path, since=places[min(since, len(kinds))])
    expected = str(newest[0]) if newest is not None and newest[1] == "end" else None
    assert (found.reason if found is not None else None) == expected


def test_scores_of_version_0_1_are_its_judges_or_its_scripts(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    judged = {"scale": "0-10", "scale_source": "default", "prompt": "judge-tone", "prompt_version": 1, "model": "m"}
    scores = [
        {"id": "1", "name": "tone", "value": 0.8, "data_type": "NUMERIC", "metadata": judged},
        {"id": "2", "name": "exact", "value": 1.0, "data_type": "NUMERIC", "metadata": {}},
        {"id": "3", "name": "tone", "value": 1.0, "data_type": "NUMERIC", "source": "ANNOTATION"},
    ]
    line = {"event": "scored", "at": "2026-01-01T00:00:00Z", "item_id": "a", "scores": scores}
    journal.write_text(json.dumps(line) + "\n", encoding="utf-8")
    [event] = JournalReader(journal).read()
    assert isinstance(event, ItemScored)
    assert [score.maker for score in event.scores] == [
        JudgeMaker("judge-tone", 1, None, "m", TEN, "default"),
        ScriptMaker(),
        HumanMaker(),
    ]
