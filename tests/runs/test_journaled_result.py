"""Tests that a result of a run of this machine is what its events say, with most of it left in the journal."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lfexp_mcp.model import (
    TEN,
    BuiltInMaker,
    Content,
    DatasetItem,
    EvaluatorFailure,
    ItemResult,
    JudgeMaker,
    Score,
    ScriptMaker,
)
from lfexp_mcp.runs import journaled_result
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, RunEnded
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.packed_result import PackedResult
from lfexp_mcp.runs.replay import Replay
from tests.runs.records import read_record
from tests.runs.test_folder import ended, make_folder, make_run_spec

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
JUDGE = JudgeMaker("judge-tone", 2, "openai", "gpt-4o", TEN, "prompt config")
SCRIPT = ScriptMaker("right", "c.py", "0" * 64)
ENDED: ItemEnded = replace(
    ended("a"), output={"out": [1]}, trace_id="f" * 32, observation_id="0123456789abcdef", started=AT, seconds=0.1
)
RIGHT = Score("a", "right", True, "BOOLEAN", "Yes.", timestamp=AT, maker=SCRIPT)
TONE = Score("d", "tone", 0.1, "NUMERIC", raw=1.0, maker=JUDGE, metadata={"votes": [1, {"x": None}], "ä": "\u00e9"})
KIND = Score("e", "kind", "polite", "CATEGORICAL", "", maker=BuiltInMaker("contains"))
FAILURE = EvaluatorFailure("tone", "down", JUDGE, AT)

CASES: dict[str, tuple[ItemEnded, ItemScored | None]] = {
    "not scored": (ENDED, None),
    "failed": (replace(ENDED, status="failed", error="It broke.", output=None), None),
    "failed without a reason": (replace(ENDED, status="failed", output=None), None),
    "scored": (ENDED, ItemScored(item_id="a", scores=(RIGHT, KIND))),
    "without any score": (ENDED, ItemScored(item_id="a")),
    "by a judge that explains its votes": (ENDED, ItemScored(item_id="a", scores=(RIGHT, TONE))),
    "scored in part": (ENDED, ItemScored(item_id="a", scores=(RIGHT,), unscored=(FAILURE,))),
    "not scored by anyone": (ENDED, ItemScored(item_id="a", unscored=(FAILURE,))),
    "failed and scored": (replace(ENDED, status="failed", error="no"), ItemScored(item_id="a", scores=(RIGHT,))),
    "ids of another tool": (replace(ENDED, trace_id="T", observation_id="0A 0b"), None),
    "an id of zeros": (replace(ENDED, observation_id="0" * 16), None),
    "a time without a zone": (replace(ENDED, started=AT.replace(tzinfo=None)), None),
    "of unknown length": (replace(ENDED, seconds=None), None),
}


def attributes(result: ItemResult) -> dict[str, object]:
    return {each.name: getattr(result, each.name) for each in fields(ItemResult)}


def bare(score: Score) -> Score:
    return replace(score, id="", comment=None, timestamp=None, trace_id=None, observation_id=None)


@pytest.fixture(params=[0, 4096], ids=["nothing is shared", "shared"])
def _shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journaled_result, "MAX_SHARED", request.param)


@pytest.mark.usefixtures("_shared")
@pytest.mark.parametrize("case", CASES)
def test_a_result_is_what_its_events_say(tmp_path: Path, case: str) -> None:
    result, scored = CASES[case]
    events = [result, scored] if scored else [result]
    found, pending = read_record(make_folder(tmp_path / "run", *events)).items
    expected = ItemResult(
        "a",
        result.status,
        Content(1, result.output),
        result.error,
        result.trace_id,
        result.observation_id,
        result.started,
        result.seconds,
        scored.scores if scored else (),
        scored.unscored if scored else (),
    )
    assert attributes(found) == attributes(expected)
    assert [type(score.value) for score in found.scores] == [type(score.value) for score in expected.scores]
    assert found.bare_scores == tuple(map(bare, expected.scores))
    assert [type(score.value) for score in found.bare_scores] == [type(score.value) for score in expected.scores]
    assert attributes(pending) == attributes(ItemResult("b", "pending", Content(2)))
    changed = replace(found, scores=(KIND,))
    assert isinstance(changed, PackedResult)
    assert attributes(changed) == attributes(expected) | {"scores": (KIND,)}


@pytest.mark.usefixtures("_shared")
def test_values_of_equal_numbers_keep_their_types_and_their_results(tmp_path: Path) -> None:
    values = [True, 1.0, 0.5, True, 1.0]
    ids = [f"item-{number}" for number in range(len(values))]
    scored = [
        ItemScored(item_id=name, scores=(replace(RIGHT, value=each),)) for name, each in zip(ids, values, strict=True)
    ]
    folder = RunFolder(tmp_path / "run")
    folder.write_run_spec(make_run_spec(item_count=len(ids)), map(DatasetItem, ids))
    journal = folder.open_journal()
    journal.append(*(replace(ENDED, item_id=name) for name in ids), *scored)
    journal.close()
    given = [score.value for item in read_record(folder).items for score in item.bare_scores]
    assert [(type(value), value) for value in given] == [(type(value), value) for value in values]


def test_a_record_stays_as_it_was_when_the_run_goes_on(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", ENDED, ItemScored(item_id="a", scores=(RIGHT,)))
    replay = Replay(folder)
    replay.refresh()
    before = replay.record().items
    kept = [attributes(item) for item in before]
    journal = folder.open_journal()
    journal.append(ItemScored(item_id="a", scores=(KIND, RIGHT)), replace(ENDED, item_id="b"))
    journal.append(replace(ENDED, status="failed", error="no", output=None))
    journal.close()
    replay.refresh()
    assert [attributes(item) for item in before] == kept
    assert [(item.status, len(item.scores)) for item in replay.record().items] == [("failed", 0), ("succeeded", 0)]


RESULTS = 1000
BYTES = 450
"""Of each result with the number that counts it, and the place of its item."""


def _many(*, is_continuous: bool) -> Iterator[Event]:
    for number in range(RESULTS):
        name = f"item-{number:06}"
        yield replace(ENDED, item_id=name, trace_id=f"{number:032x}", observation_id=f"{number:016x}")
        value = number / RESULTS if is_continuous else float(number % 2)
        score = replace(RIGHT, id=f"{number:032x}", value=value, data_type="NUMERIC", comment="because " * 20)
        yield ItemScored(item_id=name, scores=(score,))
    yield RunEnded(status="completed")


@pytest.mark.slow
@pytest.mark.parametrize("is_continuous", [False, True])
def test_results_take_little_memory_whatever_is_said_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_continuous: bool
) -> None:
    monkeypatch.setattr(journaled_result, "MAX_SHARED", 20)
    folder = RunFolder(tmp_path / "run")
    items = [DatasetItem(id=f"item-{number:06}") for number in range(RESULTS)]
    folder.write_run_spec(make_run_spec(item_count=RESULTS), items)
    journal = folder.open_journal()
    journal.append(*_many(is_continuous=is_continuous))
    journal.close()
    read_record(folder)
    tracemalloc.start()
    try:
        replay = Replay(folder)
        replay.refresh()
        assert len(replay.record().items) == RESULTS
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < BYTES * RESULTS
