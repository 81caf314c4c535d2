"""Answers of a real server, read as the services read them."""

import json
from pathlib import Path

from lfexp_mcp.gateway.wire import ExperimentItemRow, ScoreRow, read_scores
from lfexp_mcp.model import ItemResult, RunRecord
from lfexp_mcp.scores.interpretation import interpret_scores
from lfexp_mcp.services.annotations.comments import comments_of_scores
from lfexp_mcp.services.comparison.run_metrics import error_rate
from lfexp_mcp.services.runs.read_run import newest_good
from lfexp_mcp.services.runs.run_summary import summarise_scores

RECORDED = Path(__file__).parent / "recorded"


def _items(name: str) -> list[ItemResult]:
    rows = json.loads((RECORDED / name).read_text(encoding="utf-8"))["data"]
    return [ExperimentItemRow.model_validate(row).result() for row in rows]


def test_a_run_name_used_twice_gives_one_result_per_dataset_item() -> None:
    results = _items("same_run_name_twice_with_failures.json")
    kept = newest_good(results)
    assert len(results) == 8
    assert len(kept) == 4
    assert all(
        result.started and (result.started.second, result.started.microsecond) > (48, 800_000) for result in kept
    )


def test_failures_are_counted_and_their_errors_are_text() -> None:
    items = newest_good(_items("same_run_name_twice_with_failures.json"))
    failed = [item for item in items if item.status == "failed"]
    assert [(item.item_id[-1], item.error, item.output) for item in failed] == [("1", "boom", None)]
    assert error_rate(items) == 0.25


def test_inputs_outputs_and_metadata_are_decoded() -> None:
    items = {item.item_id[-1]: item for item in _items("same_run_name_twice_with_failures.json")}
    first = items["0"]
    assert isinstance(first.input, dict)
    assert first.input["i"] == 0
    assert first.output == {"i": 0}
    assert isinstance(first.expected_output, str)
    assert first.metadata["flag"] is True
    assert first.metadata["nested.a.b"] == 1
    assert items["2"].output == ""


def test_scores_keep_their_kinds_and_humans_stay_apart() -> None:
    items = tuple(_items("experiment-items.json"))
    record = RunRecord("capitals", "id", "run", ("e",), "completed", items, len(items))
    summaries = {summary.name: summary for summary in summarise_scores(record, interpret_scores(record, {}))}
    assert summaries["accuracy"].mean == 2 / 3
    assert summaries["is_ok"].display == "67% (2 of 3)"
    assert summaries["verdict"].categories == {"pass": 2, "fail": 1}
    assert [item.metadata["region"] for item in items] == ["eu", "eu", "sa"]
    humans = [score for item in items for score in item.scores if score.source == "ANNOTATION"]
    assert [(score.name, score.value) for score in humans] == [("human-accuracy", 0.5)]


def test_a_humans_comment_is_found_with_its_trace() -> None:
    rows = json.loads((RECORDED / "scores_v3_by_trace.json").read_text(encoding="utf-8"))["data"]
    scores = read_scores(ScoreRow.model_validate(row) for row in rows)
    comments = comments_of_scores(score for score in scores if score.source == "ANNOTATION")
    assert [(one.untrusted_text, one.kind) for one in comments] == [("looks half right", "score")]
    assert comments[0].trace_id == "555b05edcfb4dfad91362c82b76756f4"
