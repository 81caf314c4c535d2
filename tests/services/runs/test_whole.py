"""A run whose journal is elsewhere: what Langfuse tells of the whole of it, and of who made its scores."""

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import JsonValue

from lfexp_mcp.gateway import STATUS_SCORE_NAME, Dataset
from lfexp_mcp.model import (
    OTHERS,
    TEN,
    JudgeMaker,
    MissingScores,
    RecordedStatus,
    RunMaker,
    RunPlan,
    RunStatus,
    Scale,
    Score,
    ScriptMaker,
)
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace
from tests.services.recording import Recorded, RecordedRun, make_dataset, record_run

pytestmark = pytest.mark.anyio

JUDGE = JudgeMaker("judge-tone", 1, "openai", "m", TEN, "default")
SECOND = replace(JUDGE, version=2, scale=Scale(1, 5))
SCRIPT = ScriptMaker("exact", "checks.py", "a" * 64)


def marked(status: str, planned: int, done: int, **changes: object) -> RecordedStatus:
    mark = RecordedStatus("running", datetime.now(UTC), RunPlan(planned, scores=("tone",), makers=(JUDGE,)), done)
    return replace(mark, **{"status": status, "makers": (JUDGE,), **changes})  # type: ignore[arg-type]


async def ours(
    ws: Workspace, dataset: Dataset, name: str, count: int, mark: RecordedStatus | None = None
) -> RecordedRun:
    results = [Recorded(f"i{n:03}", output="o", scores={"tone": 0.9}) for n in range(count)]
    return await record_run(ws, dataset, name, results, makers={"tone": JUDGE}, mark=mark)


@pytest.mark.parametrize(
    ("left", "status"),
    [("completed", "completed"), ("cancelled", "cancelled"), ("failed", "failed"), ("running", "unknown")],
)
async def test_a_run_is_what_its_newest_worker_left(workspace: Workspace, left: str, status: RunStatus) -> None:
    dataset = await make_dataset(workspace, f"whole-{left}")
    await ours(workspace, dataset, "run", 3, marked(left, 12, 3, reason="Somebody cancelled it."))
    answer = await get_run(workspace, dataset.name, "run")
    assert (answer.status, answer.total_items, answer.succeeded, answer.pending) == (status, 12, 3, 9)
    assert answer.run_scores == {}
    (entry,) = (await list_runs(workspace, dataset.name)).runs
    assert (entry.status, entry.planned) == (status, 12)


async def test_a_part_of_a_run_passes_no_gate_on_another_machine(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-gate")
    await ours(workspace, dataset, "old", 60)
    await ours(workspace, dataset, "new", 14, marked("cancelled", 60, 14))
    conditions = ["tone<0.8", "tone.delta<-0.5", "worse", "error_rate>0.1"]
    answer = await compare_runs(
        workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"], fail_if=conditions)
    )
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided"] * 4


async def test_a_run_without_a_mark_may_be_running_elsewhere(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-none")
    plan: JsonValue = {"plan": {"items": 2}}
    await record_run(workspace, dataset, "run", [Recorded("a")], metadata={"lfexp": json.dumps(plan)})
    answer = await get_run(workspace, dataset.name, "run")
    assert (answer.status, answer.pending) == ("unknown", 1)
    assert (await list_runs(workspace, dataset.name)).runs[0].status == "unknown"


async def test_a_mark_by_others_is_none(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-forged")
    run = await record_run(
        workspace, dataset, "run", [Recorded("a")], metadata={"lfexp": json.dumps({"plan": {"items": 2}})}
    )
    forged = Score("forged", STATUS_SCORE_NAME, "completed", "CATEGORICAL", experiment_id=run.experiment_id)
    assert await workspace.gateway.scores.write([forged]) == {}
    assert (await get_run(workspace, dataset.name, "run")).status == "unknown"


@pytest.mark.parametrize(("ran", "status"), [(3, "completed"), (2, "unknown")])
async def test_a_run_of_others_is_whole_when_it_has_every_item_of_its_dataset(
    workspace: Workspace, ran: int, status: RunStatus
) -> None:
    dataset = await make_dataset(workspace, f"whole-others-{ran}")
    for n in range(3):
        await workspace.gateway.dataset_items.upsert(dataset.name, id=f"{dataset.name}-{n}", input="q")
    now = datetime.now(UTC)
    results = [Recorded(f"{dataset.name}-{n}", scores={"ok": 1.0}, started=now) for n in range(ran)]
    await record_run(workspace, dataset, "run", results)
    # What was added later the run could not have.
    await workspace.gateway.dataset_items.upsert(dataset.name, id=f"{dataset.name}-late", input="q")
    answer = await get_run(workspace, dataset.name, "run")
    assert answer.status == status
    assert (await list_runs(workspace, dataset.name)).runs[0].status is None


async def test_what_an_evaluator_failed_on_is_unscored_on_another_machine(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-unscored")
    results = [Recorded(f"i{n}", output="o", scores={"exact": 1.0} if n % 2 else {}) for n in range(10)]
    missing = MissingScores(4, tuple((0, f"i{n}") for n in (0, 2, 4, 6)))
    plan = RunPlan(10, makers=(SCRIPT,))
    mark = RecordedStatus("completed", datetime.now(UTC), plan, 10, unscored={"exact": missing}, makers=(SCRIPT,))
    for name in ("old", "new"):
        await record_run(workspace, dataset, name, results, makers={"exact": SCRIPT}, mark=mark)
    answer = await get_run(workspace, dataset.name, "new")
    assert [(score.name, score.count, score.unscored) for score in answer.scores] == [("exact", 5, 4)]
    request = CompareRequest(dataset=dataset.name, runs=["old", "new"], fail_if=["exact<0.5"])
    gate = (await compare_runs(workspace, request)).gate
    assert gate is not None
    assert [check.outcome for check in gate.checks] == ["undecided"]


async def test_where_too_many_are_unscored_to_be_listed_every_item_without_a_score_is(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-unlisted")
    results = [Recorded(f"i{n}", output="o", scores={"exact": 1.0} if n == 0 else {}) for n in range(5)]
    plan = RunPlan(5, makers=(SCRIPT,))
    mark = RecordedStatus(
        "completed", datetime.now(UTC), plan, 5, unscored={"exact": MissingScores(3, ((0, "i1"),))}, makers=(SCRIPT,)
    )
    await record_run(workspace, dataset, "run", results, makers={"exact": SCRIPT}, mark=mark)
    assert (await get_run(workspace, dataset.name, "run")).scores[0].unscored == 4


async def write(
    ws: Workspace, run: RecordedRun, item_id: str, value: float, maker: RunMaker | None = None, name: str = "tone"
) -> None:
    """Write a score as a worker does, or as anybody can."""
    observation = run.observations[item_id]
    identity = score_id(run.experiment_id, item_id, observation, name, maker) if maker else secrets.token_hex(8)
    score = Score(
        identity,
        name,
        value,
        "NUMERIC",
        maker=maker or OTHERS,
        trace_id=run.traces[item_id],
        observation_id=observation,
    )
    assert await ws.gateway.scores.write([score]) == {}


async def test_a_score_of_the_same_name_by_others_does_not_take_the_judges_place(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-same-name")
    run = await ours(workspace, dataset, "run", 4)
    await write(workspace, run, "i001", 0.0)
    answer = await get_run(workspace, dataset.name, "run")
    (tone,) = answer.scores
    assert tone.mean == pytest.approx(0.9)
    assert tone.count == 4
    assert tone.makers == [f"4 by {JUDGE.label} with mean 0.90", f"1 by {OTHERS.label} (left out)"]


@pytest.mark.parametrize("ended", [True, False])
async def test_each_version_of_a_judge_keeps_its_scores_on_another_machine(workspace: Workspace, ended: bool) -> None:
    dataset = await make_dataset(workspace, f"whole-versions-{ended}")
    plan = RunPlan(3, scores=("tone",), makers=(SECOND,))
    # A run at work elsewhere has not told of all makers yet: the scores themselves do.
    makers = (JUDGE, SECOND) if ended else (SECOND,)
    mark = RecordedStatus("completed" if ended else "running", datetime.now(UTC), plan, 3, makers=makers)
    results = [Recorded(f"i{n}", output="o", scores={"tone": 0.79} if n < 2 else {}) for n in range(3)]
    run = await record_run(workspace, dataset, "run", results, makers={"tone": JUDGE}, mark=mark)
    await write(workspace, run, "i2", 0.5, SECOND)
    record = await read_run(workspace, dataset.name, "run")
    assert [item.scores[0].maker for item in record.items] == [JUDGE, JUDGE, SECOND]
    answer = await get_run(workspace, dataset.name, "run")
    assert answer.scores[0].mean is None
    assert answer.scores[0].makers == [f"2 by {JUDGE.label} with mean 0.79", f"1 by {SECOND.label} with mean 0.50"]


async def test_a_mixed_score_is_compared_with_nothing(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-mixed")
    mark = marked("completed", 8, 8, makers=(JUDGE, SECOND))
    await ours(workspace, dataset, "old", 8)
    results = [Recorded(f"i{n:03}", output="o", scores={"tone": 0.9} if n < 5 else {}) for n in range(8)]
    run = await record_run(workspace, dataset, "new", results, makers={"tone": JUDGE}, mark=mark)
    for n in range(5, 8):
        await write(workspace, run, f"i{n:03}", 0.2, SECOND)
    request = CompareRequest(dataset=dataset.name, runs=["old", "new"], fail_if=["tone<0.1", "tone.worse"])
    answer = await compare_runs(workspace, request)
    (line,) = answer.scores
    assert (line.verdict, line.delta) == ("not comparable", None)
    (issue,) = (issue for issue in answer.comparability if issue.unfair)
    assert (issue.kind, issue.score, issue.message) == ("judge", "tone", line.reason)
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided", "undecided"]


async def test_scores_that_version_0_1_wrote_are_still_its_judges(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "whole-0-1")
    provenance = {
        "scales": {"tone": {"low": 0, "high": 10, "source": "default", "prompt": "judge-tone"}},
        "evaluators": [{"name": "judge-tone", "kind": "judge", "version": 3, "model": "m"}],
        "evaluator_script": {"file": "checks.py", "sha256": "a" * 64},
    }
    run = await record_run(
        workspace, dataset, "run", [Recorded("a"), Recorded("b")], metadata={"lfexp": json.dumps(provenance)}
    )
    judged: dict[str, JsonValue] = {"scale": "0-10", "scale_source": "default", "model": "m"}
    judged |= {"prompt": "judge-tone", "prompt_version": 2}
    none: dict[str, JsonValue] = {}
    written = [("a", "tone", judged), ("b", "tone", none), ("a", "exact", none)]
    for item, name, metadata in written:
        observation = run.observations[item]
        identity = score_id(run.experiment_id, item, observation, name)
        score = Score(
            identity,
            name,
            0.5,
            "NUMERIC",
            metadata=metadata,
            trace_id=run.traces[item],
            observation_id=observation,
        )
        assert await workspace.gateway.scores.write([score]) == {}
    record = await read_run(workspace, dataset.name, "run")
    makers = {(item.item_id, score.name): score.maker for item in record.items for score in item.scores}
    assert makers == {
        ("a", "tone"): JudgeMaker("judge-tone", 2, None, "m", TEN, "default"),
        ("b", "tone"): JudgeMaker("judge-tone", 3, None, "m"),
        ("a", "exact"): ScriptMaker(file="checks.py", sha256="a" * 64),
    }
