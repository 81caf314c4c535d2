"""Results of another machine, taken over into a journal."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lfexp_mcp.model import Content, ItemResult
from lfexp_mcp.runs.events import ItemEnded
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
