"""Run folders that earlier versions wrote are read: `unframed` before records had checksums, `framed` since."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.model import (
    TEN,
    EvaluatorFailure,
    EvaluatorInfo,
    FileVersion,
    GitState,
    JudgeMaker,
    ModelCaller,
    ModelUsage,
    Provenance,
    RecordedLimits,
    ScriptMaker,
)
from lfexp_mcp.runs.folder import RunFolder
from tests.runs.records import read_record

RECORDED = Path(__file__).parent / "recorded"
JUDGE = JudgeMaker("judge-tone", 2, "openai", "gpt-4o-mini", TEN, "default")


@pytest.fixture(params=["unframed", "framed"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    shutil.copytree(RECORDED / request.param, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def provenance_of(folder: RunFolder) -> Provenance:
    provenance = read_record(folder).provenance
    assert provenance is not None
    return provenance


def test_a_run_spec_is_read_with_its_judges(folder: RunFolder) -> None:
    run_spec = folder.run_spec()
    assert (run_spec.run_name, run_spec.total_items, run_spec.metadata) == ("first", 2, {"owner": "me"})
    assert (run_spec.limits.max_concurrency, run_spec.limits.item_timeout) == (3, 30)
    [judge] = run_spec.judges
    assert (judge.maker, judge.score_name, judge.parameters) == (JUDGE, "tone", {"temperature": 0})
    assert [(message.role, message.content) for message in judge.messages] == [("user", "Rate {{output}}")]


def test_dataset_items_are_read(folder: RunFolder) -> None:
    first, second = folder.items(folder.run_spec())
    assert (first.id, first.input, first.expected_output, first.metadata) == ("a", {"q": 1}, "1", {"topic": "x"})
    assert (second.id, second.input, second.expected_output, second.metadata) == ("b", "two", None, {})


def test_results_and_scores_are_read_with_their_makers(folder: RunFolder) -> None:
    record = read_record(folder)
    first, second = record.items
    assert (record.status, first.status, first.output, first.trace_id) == (
        "completed",
        "succeeded",
        {"answer": "1"},
        "1" * 32,
    )
    assert (second.status, second.error, second.seconds) == ("failed", "ValueError: no", 0.1)
    tone, exact = first.scores
    assert (tone.value, tone.raw, tone.comment, tone.maker) == (0.8, 8.0, "Why.", JUDGE)
    assert (exact.value, isinstance(exact.maker, ScriptMaker)) == (1.0, True)
    assert first.unscored == (EvaluatorFailure("other", "It broke."),)
    assert [(score.name, score.value) for score in record.run_scores] == [("f1", 0.5)]


def test_usage_warnings_and_what_langfuse_has_are_read(folder: RunFolder) -> None:
    state = folder.read_state()
    usage = ModelUsage(calls=1, input_tokens=10, output_tokens=5, seconds=1.0)
    assert state.model_usage == {ModelCaller("tone", "gpt-4o-mini"): usage}
    assert ([*state.unstored], state.warnings) == (["s-exact"], ["Look."])
    assert [(refusal.id, refusal.message) for refusal in state.refused] == [("s-exact", "HTTP 400")]
    assert state.damaged_lines == []


def test_provenance_is_read(folder: RunFolder) -> None:
    provenance = provenance_of(folder)
    assert provenance.task == FileVersion("task.py", "ab" * 32)
    assert provenance.script_maker == ScriptMaker(file="checks.py", sha256="cd" * 32)
    assert (provenance.git, provenance.limits) == (GitState("0123abc", dirty=False), RecordedLimits(30, 3))
    assert provenance.evaluators == (EvaluatorInfo.of_judge(JUDGE), EvaluatorInfo("exact", "script"))


def test_the_plan_is_read_where_there_was_one_and_else_the_scales_of_the_judges(folder: RunFolder) -> None:
    provenance = provenance_of(folder)
    if provenance.plan is None:
        assert provenance.scales is not None
        assert (provenance.scales["tone"].scale, provenance.scales["tone"].prompt) == (TEN, "judge-tone")
    else:
        assert (provenance.plan.results, provenance.plan.judges) == (2, {"tone": JUDGE})


def test_provenance_is_read_however_often_langfuse_encoded_it(folder: RunFolder) -> None:
    provenance = provenance_of(folder)
    text = provenance.as_json()
    for value in (json.loads(text), text, json.dumps(text), json.dumps(json.dumps(text))):
        assert Provenance.of({"lfexp": value}) == provenance


@pytest.mark.parametrize("foreign", [None, "", "text", "[]", 3, [], {}, '"', pytest.param("[" * 100_000, id="deep")])
def test_what_is_no_provenance_is_none(foreign: str | int | None) -> None:
    assert Provenance.of({"lfexp": foreign}) is None


def test_a_foreign_field_costs_no_other_field() -> None:
    evaluators: JsonValue = [{"name": "e", "kind": "script"}, 1, {}]
    written: JsonValue = {"git": 3, "plan": {"items": "many"}, "repeats": {"count": 0}, "later": {}, "description": "d"}
    assert isinstance(written, dict)
    provenance = Provenance.of({"lfexp": {**written, "evaluators": evaluators}})
    assert provenance == Provenance(description="d", evaluators=(EvaluatorInfo("e", "script"),))
