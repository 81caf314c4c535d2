"""The journal: what is in it survives, half a line does no harm, a broken one is said."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from lfexp_mcp.errors import StateError
from lfexp_mcp.makers import HumanMaker, JudgeMaker, ScriptMaker
from lfexp_mcp.records import Score, Unscored
from lfexp_mcp.runs.journal import (
    Event,
    ItemEnded,
    ItemScored,
    ItemStarted,
    JournalReader,
    JournalWriter,
    RunEnded,
    ScoresStored,
    Warned,
    WorkerAccepted,
    read_run_end,
)
from lfexp_mcp.scale import TEN

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
        unscored=st.lists(st.builds(Unscored, name=text, error=text), max_size=2).map(tuple),
    )
    | st.builds(ScoresStored, ids=st.lists(text, max_size=3).map(tuple))
    | st.builds(Warned, text=text),
    max_size=6,
)


@given(written=events)
def test_any_events_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[Event]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    writer = JournalWriter(path)
    writer.append(*written)
    writer.close()
    assert list(JournalReader(path).read()) == written


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


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event":"warned","text":"a","at":"2026-01-01T00:00:00Z"}\n{"event":\n{}\n', encoding="utf-8")
    with pytest.raises(StateError, match="Line 2"):
        list(JournalReader(path).read())


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
