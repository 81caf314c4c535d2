"""Results of another machine, taken over into a journal."""

import gc
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lfexp_mcp.model import Content, ItemResult, Score, ScriptMaker
from lfexp_mcp.runs.events import ItemEnded, ItemScored, ScoresStored
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.services.experiments.earlier_results import events_of


@pytest.mark.parametrize("seconds", [None, 0.0, 1.5])
def test_a_time_that_langfuse_does_not_tell_stays_unknown(tmp_path: Path, seconds: float | None) -> None:
    result = ItemResult(
        "one",
        "succeeded",
        content=Content(output="yes"),
        trace_id="0" * 32,
        observation_id="0" * 16,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=seconds,
    )
    (ended,) = events_of([result], RunState(JournalReader(tmp_path / "journal.jsonl")))
    assert isinstance(ended, ItemEnded)
    assert ended.seconds == seconds


RESULTS = 3000
BYTES = 200


@pytest.mark.slow
def test_what_is_taken_over_of_many_results_lies_on_disk(tmp_path: Path) -> None:
    maker = ScriptMaker("right", "check.py", "0" * 64)
    results = [
        ItemResult(
            f"item-{number}",
            "succeeded",
            content=Content(output=f"{number} {'x' * 2000}"),
            trace_id=f"{number:032x}",
            observation_id=f"{number:016x}",
            started=datetime(2026, 1, 1, tzinfo=UTC),
            scores=(Score(f"{number:032x}", "right", 1.0, "NUMERIC", maker=maker),),
        )
        for number in range(RESULTS)
    ]
    state = RunState(JournalReader(tmp_path / "journal.jsonl"))
    # The first one pays for what is made once.
    events_of(results[:1], state)
    tracemalloc.start()
    try:
        events = events_of(results, state)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < BYTES * RESULTS
    kinds = [ItemEnded, ItemScored, ScoresStored]
    assert [type(event) for event in events] == kinds * RESULTS
    assert [event.output for event in events if isinstance(event, ItemEnded)] == [each.output for each in results]
