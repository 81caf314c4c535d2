"""Runs of this machine, read from Langfuse and from their journal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lfexp_mcp.model import Content, EvaluatorFailure, ItemResult, JudgeMaker, ModelCaller, ModelUsage, RunRecord, Score
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import CompareRequest, RunRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.runs.merged_run import merge_journal
from lfexp_mcp.services.workspace import Workspace
from tests.waiting import PATIENCE_S

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = """
def task(*, item, **kwargs):
    if item.input == "bad":
        raise ValueError("no such thing")
    return {"length": len(item.input)}
"""
EVALUATORS = """
from langfuse import Evaluation

def short(*, output, **kwargs):
    return Evaluation(name="short", value=float(output["length"] < 6), comment="counted")

EVALUATORS = [short]
"""


def _item(item_id: str, *scores: str, observation: str = "o", age: int = 0) -> ItemResult:
    return ItemResult(
        item_id,
        "succeeded",
        content=Content(output="out"),
        trace_id="t",
        observation_id=f"{observation}-{item_id}",
        started=NOW - timedelta(minutes=age),
        scores=tuple(Score(f"{item_id}-{name}", name, 1.0, "NUMERIC") for name in scores),
    )


def _record(*items: ItemResult) -> RunRecord:
    return RunRecord("d", "id", "run", ("e",), "completed", items, len(items))


def test_what_langfuse_does_not_show_yet_comes_from_the_journal_and_is_said() -> None:
    merged = merge_journal(_record(_item("a", "x")), _record(_item("a", "x", "y"), _item("b", "x")))
    assert [(item.item_id, len(item.scores)) for item in merged.items] == [("a", 2), ("b", 1)]
    (warning,) = merged.warnings
    assert "1 result and 2 scores" in warning


def test_a_run_that_is_fully_visible_has_no_such_warning() -> None:
    record = _record(_item("a", "x"))
    assert merge_journal(record, record).warnings == ()


def test_humans_scores_stay_and_reasons_come_from_the_journal() -> None:
    human = Score("h", "human-x", 0.0, "NUMERIC", source="ANNOTATION")
    shown = _item("a", "x")
    kept = replace(
        shown, scores=(replace(shown.scores[0], comment="why"),), unscored=(EvaluatorFailure("tone", "timed out"),)
    )
    (item,) = merge_journal(_record(replace(shown, scores=(*shown.scores, human))), _record(kept)).items
    assert {score.name: score.comment for score in item.scores} == {"x": "why", "human-x": None}
    assert item.unscored == (EvaluatorFailure("tone", "timed out"),)


def test_what_models_used_stays_known_once_langfuse_shows_the_run() -> None:
    used = {ModelCaller("tone", "model-1"): ModelUsage(calls=3, input_tokens=30, output_tokens=6)}
    record = _record(_item("a", "x"))
    assert merge_journal(record, replace(record, model_usage=used)).model_usage == used


def test_a_newer_result_of_another_machine_counts() -> None:
    elsewhere = _item("a", "x", observation="newer")
    merged = merge_journal(_record(elsewhere), _record(_item("a", "x", observation="older", age=5)))
    assert merged.items == (elsewhere,)


def test_what_a_resume_on_another_machine_scored_is_missing_no_more() -> None:
    unscored = (EvaluatorFailure("y", "unreadable"), EvaluatorFailure("z", "unreadable"))
    given = Score("elsewhere", "y", 1.0, "NUMERIC", maker=JudgeMaker("judge-y", 1))
    shown, kept = _item("a", "x"), replace(_item("a", "x"), unscored=unscored)
    (item,) = merge_journal(_record(replace(shown, scores=(*shown.scores, given))), _record(kept)).items
    assert [missing.name for missing in item.unscored] == ["z"]
    (item,) = merge_journal(_record(shown), _record(kept)).items
    assert item.unscored == unscored


def test_a_pending_item_stays_pending() -> None:
    pending = ItemResult("b", "pending")
    shown = replace(_record(_item("a")), status="unknown")
    merged = merge_journal(shown, replace(_record(_item("a"), pending), total_items=2, status="cancelled"))
    assert [item.status for item in merged.items] == ["succeeded", "pending"]
    assert (merged.status, merged.total_items) == ("cancelled", 2)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_run_of_our_own_is_read_with_its_errors_reasons_and_description(
    workspace: Workspace, tmp_path: Path
) -> None:
    await workspace.gateway.datasets.upsert("journal-own")
    for text in ("short", "rather long", "bad"):
        await workspace.gateway.dataset_items.upsert("journal-own", id=f"journal-{text}", input=text)
    task, evaluators = tmp_path / "task.py", tmp_path / "evaluators.py"
    task.write_text(TASK, encoding="utf-8")
    evaluators.write_text(EVALUATORS, encoding="utf-8")
    for name in ("first", "second"):
        request = RunRequest(
            run_name=name,
            task_script=task,
            dataset="journal-own",
            evaluator_script=evaluators,
            description=f"the {name}",
        )
        await run_experiment(workspace, request, wait_seconds=PATIENCE_S)

    answer = await get_run(workspace, "journal-own", "first")

    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 2, 1)
    by_id = {item.item_id: item for item in answer.items}
    assert "no such thing" in (by_id["journal-bad"].error or "")
    assert by_id["journal-short"].output == {"length": 5}
    assert (by_id["journal-short"].scores[0].value, by_id["journal-short"].scores[0].comment) == (1.0, "counted")
    assert answer.log is None
    listed = await list_runs(workspace, "journal-own")
    assert {run.name: (run.description, run.status) for run in listed.runs} == {
        "first": ("the first", "completed"),
        "second": ("the second", "completed"),
    }
    compared = await compare_runs(workspace, CompareRequest(dataset="journal-own", runs=["first", "second"]))
    assert (compared.scores[0].pairs, compared.scores[0].delta) == (2, 0.0)
    assert "Only 2 pairs" in compared.scores[0].reason


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_run_that_was_stopped_passes_no_gate_and_its_waiting_items_are_no_failures(
    workspace: Workspace, tmp_path: Path
) -> None:
    await workspace.gateway.datasets.upsert("journal-gate")
    for number, text in enumerate(("bad", *(f"text {number}" for number in range(7)))):
        await workspace.gateway.dataset_items.upsert("journal-gate", id=f"gate-{number}", input=text)
    whole, stopping, evaluators = tmp_path / "whole.py", tmp_path / "stopping.py", tmp_path / "evaluators.py"
    whole.write_text(TASK.replace('"bad"', '"never"'), encoding="utf-8")
    stopping.write_text(TASK, encoding="utf-8")
    evaluators.write_text(EVALUATORS, encoding="utf-8")
    for name, task, limit in (("whole", whole, None), ("stopped", stopping, 1)):
        request = RunRequest(
            run_name=name,
            task_script=task,
            dataset="journal-gate",
            evaluator_script=evaluators,
            fail_on_error=limit,
            max_concurrency=1,
        )
        await run_experiment(workspace, request, wait_seconds=PATIENCE_S)

    conditions = ["short<0.1", "short.delta<-0.9", "error_rate>0.99", "worse"]
    gated = CompareRequest(dataset="journal-gate", runs=["whole", "stopped"], fail_if=conditions)
    answer = await compare_runs(workspace, gated)

    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided"] * 4
    assert all("the run is failed" in check.message for check in answer.gate.checks)
    other = await compare_runs(workspace, CompareRequest(dataset="journal-gate", runs=["stopped", "whole"]))
    assert answer.runs[1].pending > 0
    assert {listed.kind: listed.total for listed in other.changes if listed.score is None} == {
        "no longer erroring": answer.runs[1].failed
    }
