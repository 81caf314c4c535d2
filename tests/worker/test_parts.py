"""Runs over a part of a dataset: going on, reading them on another machine, and what may be concluded from them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.comparison import GateCheck
from lfexp_mcp.errors import LfexpError, RunExistsError, ScriptError, UsageError
from lfexp_mcp.model import ItemResult
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.definitions.new_items import NewItem
from lfexp_mcp.services.experiments.cancel_run import ALREADY_ENDED, ELSEWHERE, cancel_run
from lfexp_mcp.services.experiments.score_run import score_run
from lfexp_mcp.services.requests import CompareRequest, ScoreRunRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace
from tests.tools.test_gsm8k import DATA, EVALUATORS, TASK
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COUNTING = """
    def task(*, item, **kwargs):
        with open(__file__ + ".calls", "a") as calls:
            calls.write(item.id + "\\n")
        return item.input.upper()
"""
CHECKS = """
    def exact(*, output, expected_output, **kwargs):
        return float(output == expected_output)

    EVALUATORS = [exact]
"""


def calls(task: Path) -> list[str]:
    """The ids of the items that the task was called on, in that order."""
    return task.with_name(f"{task.name}.calls").read_text(encoding="utf-8").split()


async def gate_of(ws: Workspace, scene: Scene, runs: list[str], *conditions: str) -> list[GateCheck]:
    request = CompareRequest(dataset=scene.dataset, runs=runs, fail_if=list(conditions))
    answer = await compare_runs(ws, request)
    assert answer.gate is not None
    return answer.gate.checks


async def test_a_part_grows_by_resumes_and_is_a_part_until_it_is_the_whole(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(12)
    task = scene.script(COUNTING)
    answer = await scene.run(task, items=3, evaluator_script=scene.script(CHECKS, "c.py"))
    assert (answer.status, answer.succeeded, answer.total_items) == ("completed", 3, 3)
    assert answer.part == "3 of 12 items: a sample"
    go_on = next(step for step in answer.next if step.tool == "run_experiment")
    assert go_on.arguments == {"dataset": scene.dataset, "run_name": "run", "items": "all", "resume": True}
    for items in (None, 3):
        assert (await scene.run(None, resume=True, items=items)).part == "3 of 12 items: a sample"
    assert len(calls(task)) == 3
    read = await get_run(elsewhere, scene.dataset, "run")
    assert (read.status, read.part, read.pending) == ("completed", "3 of 12 items: a sample", 0)
    answer = await scene.run(None, resume=True, items=8)
    assert (answer.part, answer.succeeded, len(calls(task))) == ("8 of 12 items: a sample", 8, 8)
    assert [(run.part, run.planned) for run in (await list_runs(elsewhere, scene.dataset)).runs] == [(answer.part, 8)]
    with pytest.raises(UsageError, match=" 5:") as refused:
        await scene.run(None, resume=True, items=3)
    assert [step.arguments.get("items") for step in refused.value.next] == [None, "all"]
    answer = await scene.run(None, resume=True, items="all")
    assert (answer.part, answer.succeeded, answer.total_items) == (None, 12, 12)
    assert sorted(calls(task)) == sorted(map(scene.item_id, range(12)))
    read = await get_run(elsewhere, scene.dataset, "run")
    assert (read.status, read.part, read.succeeded, read.pending) == ("completed", None, 12, 0)


async def test_a_run_that_cannot_be_extended_stays_what_it_was(scene: Scene) -> None:
    await scene.fill(5)
    await scene.run(scene.script(COUNTING), items=2)
    with pytest.raises(ScriptError):
        await scene.run(scene.script("def tusk(): ...", "broken.py"), resume=True, items="all")
    read = await get_run(scene.ws, scene.dataset, "run")
    assert (read.status, read.part, read.succeeded, read.pending) == ("completed", "2 of 5 items: a sample", 2, 0)
    assert len(read.items) == 2


async def test_a_resume_takes_items_that_were_added_and_keeps_what_it_has_as_it_was(scene: Scene) -> None:
    await scene.fill(2)
    await scene.run(scene.script(COUNTING))
    dataset_items = scene.ws.gateway.dataset_items
    await dataset_items.upsert(scene.dataset, id=scene.item_id(0), input="edited")
    await dataset_items.upsert(scene.dataset, id=scene.item_id(99), input="added")
    assert (await scene.run(None, resume=True)).total_items == 2
    answer = await scene.run(None, resume=True, items="all")
    assert (answer.part, answer.succeeded) == (None, 3)
    assert [warning for warning in answer.warnings if re.match(r"1\b", warning)]
    outputs = {item.item_id: item.output for item in (await scene.record()).items}
    assert outputs == {scene.item_id(0): "INPUT 0", scene.item_id(1): "INPUT 1", scene.item_id(99): "ADDED"}


async def test_another_choice_of_the_same_size_is_refused(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script(COUNTING)
    await scene.run(task, items="number in [0, 1]")
    for items in ("number in [2, 3]", ["unknown"], "number=9", {"run": "run", "which": "errored"}):
        with pytest.raises(LfexpError):
            await scene.run(None, resume=True, items=items)
    answer = await scene.run(None, resume=True, items="number<4")
    assert (answer.part, len(calls(task))) == ("4 of 6 items: number<4", 4)


async def test_another_machine_goes_on_with_the_part_that_was_begun(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(9)
    task = scene.script(COUNTING.replace("return", "1 / (item.metadata['number'] % 3)\n        return"))
    answer = await scene.run(task, items="number<6")
    assert (answer.part, answer.succeeded, answer.failed) == ("6 of 9 items: number<6", 4, 2)
    there = replace(scene, ws=elsewhere)
    answer = await there.run(task, resume=True)
    assert (answer.part, answer.succeeded, answer.failed, len(calls(task))) == ("6 of 9 items: number<6", 4, 2, 8)


async def test_another_machine_does_not_guess_what_the_part_was(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(4)
    task = scene.script(COUNTING)
    await scene.run(task, items="number<2")
    await scene.ws.gateway.dataset_items.upsert(scene.dataset, id=scene.item_id(99), input="x", metadata={"number": 1})
    there = replace(scene, ws=elsewhere)
    with pytest.raises(UsageError) as refused:
        await there.run(task, resume=True)
    assert refused.value.next[0].arguments["items"] == "all"
    with pytest.raises(UsageError, match=" 1:"):
        await there.run(task, resume=True, items=[scene.item_id(0)])
    answer = await there.run(task, resume=True, items="number<2")
    assert (answer.part, answer.succeeded, len(calls(task))) == ("3 of 5 items: number<2", 3, 3)


async def test_what_stopped_early_is_unfinished_and_not_a_part_that_is_done(scene: Scene) -> None:
    await scene.fill(9)
    failing = scene.script("def task(*, item, **kwargs):\n    raise ValueError\n")
    answer = await scene.run(failing, items=6, fail_on_error=2, max_concurrency=1)
    assert (answer.status, answer.part, answer.pending) == ("failed", "6 of 9 items: a sample", 4)
    checks = await gate_of(scene.ws, scene, ["run", await _whole(scene)], "error_rate.delta>0")
    assert [check.outcome for check in checks] == ["undecided"]


async def _whole(scene: Scene) -> str:
    await scene.run(scene.script(COUNTING, "whole.py"), run_name="whole", evaluator_script=scene.script(CHECKS, "c.py"))
    return "whole"


async def test_a_gate_on_a_part_decides_and_says_that_it_is_one(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(30)
    whole = await _whole(scene)
    evaluators = scene.script(CHECKS, "c.py")
    await scene.run(scene.script(COUNTING), evaluator_script=evaluators, items=12)
    conditions = ("exact<0.8", "exact.delta<-0.02", "worse", "error_rate>0")
    for runs in ([whole, "run"], ["run", whole]):
        for ws in (scene.ws, elsewhere):
            checks = await gate_of(ws, scene, runs, *conditions)
            assert [check.outcome for check in checks] == ["passed"] * 4
            part = "12 of 30 items: a sample"
            mine = part if runs[1] == "run" else None
            assert [check.part for check in checks] == [mine, part, part, mine]
    answer = await compare_runs(scene.ws, CompareRequest(dataset=scene.dataset, runs=[whole, "run"]))
    assert [(run.part, run.items) for run in answer.runs] == [(None, 30), ("12 of 30 items: a sample", 12)]
    assert [score.pairs for score in answer.scores] == [12]
    assert {issue.kind for issue in answer.comparability} == {"part", "items"}


async def test_parts_without_a_common_item_are_not_compared(scene: Scene) -> None:
    await scene.fill(12)
    task, evaluators = scene.script(COUNTING), scene.script(CHECKS, "c.py")
    for name, items in (("low", "number<6"), ("high", "number>=6")):
        await scene.run(task, run_name=name, evaluator_script=evaluators, items=items)
    answer = await compare_runs(
        scene.ws, CompareRequest(dataset=scene.dataset, runs=["low", "high"], fail_if=["worse"])
    )
    assert [(score.verdict, score.delta) for score in answer.scores] == [("not comparable", None)]
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided"]


async def test_a_run_over_the_failures_of_another_is_no_evidence_against_that_one(scene: Scene) -> None:
    await scene.fill(24)
    flaky = scene.script(
        "def task(*, item, **kwargs):\n    return item.input.upper()[: 7 + item.metadata['number'] % 2]\n"
    )
    evaluators = scene.script(CHECKS, "c.py")
    await scene.run(flaky, run_name="base", evaluator_script=evaluators)
    failed: JsonValue = {"run": "base", "which": "failed"}
    fix = await scene.run(scene.script(COUNTING), run_name="fix", evaluator_script=evaluators, items=failed)
    assert fix.part is not None
    assert fix.part.endswith("items: failed in 'base'")
    answer = await compare_runs(
        scene.ws, CompareRequest(dataset=scene.dataset, runs=["base", "fix"], fail_if=["worse"])
    )
    assert [score.verdict for score in answer.scores] == ["not comparable"]
    assert [issue.kind for issue in answer.comparability if issue.unfair] == ["part"]
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided"]


async def test_a_dry_run_estimates_the_part(scene: Scene) -> None:
    await scene.fill(9)
    task = scene.script(COUNTING)
    answer = await scene.run(task, items=5, dry_run=True, repeats=3)
    assert answer.estimate is not None
    assert (answer.estimate.results, answer.part) == (15, "5 of 9 items: a sample")
    assert len(calls(task)) == 2


@pytest.mark.skipif(not DATA.exists(), reason="the GSM8K data lies beside the project, not in it")
async def test_a_sample_of_gsm8k_and_then_the_rest_is_the_whole_run(scene: Scene) -> None:
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()[:400]]
    # Without their ids, which another test may use in the same project.
    items = [NewItem(input=row["question"], expected_output=row["answer"]) for row in rows]
    await create_dataset(scene.ws, scene.dataset, items=items)
    task = scene.script(TASK.format(model="6b_finetuning", data=str(DATA)))
    evaluators = scene.script(EVALUATORS, "evaluators.py")
    await scene.run(task, run_name="whole", evaluator_script=evaluators, max_concurrency=20)
    await scene.run(task, evaluator_script=evaluators, max_concurrency=20, items=200)
    assert (await scene.record()).part_shown == "200 of 400 items: a sample"
    answer = await scene.run(None, max_concurrency=20, resume=True, items="all")
    assert (answer.status, answer.part, answer.succeeded, answer.total_items) == ("completed", None, 400, 400)
    assert [(score.name, score.count, round(score.mean or 0, 6)) for score in answer.scores] == [
        ("correct", 400, 0.2225)
    ]
    assert task.with_name(f"{task.name}.calls").stat().st_size == 2 * 400
    parts, whole = [await read_run(scene.ws, scene.dataset, name) for name in ("run", "whole")]
    assert sorted(map(_told, parts.items), key=str) == sorted(map(_told, whole.items), key=str)


def _told(item: ItemResult) -> tuple[object, ...]:
    scores = tuple((score.name, score.value, score.maker) for score in item.scores)
    return (item.item_id, item.status, item.input, item.output, item.expected_output, scores)


async def test_a_resume_on_another_machine_keeps_the_repetitions_of_the_run(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(2)
    await scene.run(scene.script("def task(*, item):\n    raise ValueError('not here')\n"), repeats=2)
    there = replace(scene, ws=elsewhere)
    task = scene.script(COUNTING, "fixed.py")
    with pytest.raises(UsageError) as refused:
        await there.run(task, resume=True, repeats=3)
    assert refused.value.next[0].arguments.get("repeats") is None
    answer = await there.run(task, resume=True)
    assert (answer.status, answer.repeats, answer.succeeded, answer.total_items) == ("completed", 2, 4, 4)
    assert sorted(calls(task)) == sorted([scene.item_id(0), scene.item_id(1)] * 2)
    read = await get_run(scene.ws, scene.dataset, "run")
    assert (read.status, read.repeats, read.succeeded, read.failed) == ("completed", 2, 4, 0)


async def test_a_run_whose_repetition_would_have_the_name_of_another_run_is_refused(
    scene: Scene,
) -> None:
    await scene.fill(1)
    task = scene.script(COUNTING)
    await scene.run(task, run_name="try#2")
    with pytest.raises(RunExistsError) as refused:
        await scene.run(task, run_name="try", repeats=2)
    assert refused.value.next == ()


async def test_a_run_that_another_machine_has_completed_is_completed_where_it_began(
    scene: Scene, elsewhere: Workspace
) -> None:
    await scene.fill(3)
    broken = scene.script("def task(*, item):\n    raise ValueError('not here')\n")
    begun = await scene.run(broken, fail_on_error=1, max_concurrency=1)
    assert begun.status == "failed"
    task = scene.script(COUNTING, "fixed.py")
    assert (await replace(scene, ws=elsewhere).run(task, resume=True)).status == "completed"
    read = await get_run(scene.ws, scene.dataset, "run")
    assert (read.status, read.succeeded, read.failed, read.pending) == ("completed", 3, 0, 0)
    listed = {run.name: run.status for run in (await list_runs(scene.ws, scene.dataset)).runs}
    assert listed == {"run": "completed"}


async def test_a_run_that_another_machine_is_running_is_not_proposed_to_be_resumed_here(
    scene: Scene, elsewhere: Workspace
) -> None:
    await scene.fill(2)
    await scene.run(scene.script("def task(*, item):\n    raise ValueError('not here')\n"), fail_on_error=1)
    go = scene.folder / "go"
    waiting = f"import pathlib, time\n\n\ndef task(*, item):\n    while not pathlib.Path({str(go)!r}).exists():\n"
    script = scene.script(waiting + "        time.sleep(0.01)\n    return 1\n", "waiting.py")
    there = replace(scene, ws=elsewhere)
    assert (await there.run(script, resume=True, wait_seconds=0)).status == "running"
    with anyio.fail_after(PATIENCE_S):
        while (read := await get_run(scene.ws, scene.dataset, "run")).status == "failed":  # noqa: ASYNC110
            await anyio.sleep(0.05)
    assert read.status == "unknown"
    assert "run_experiment" not in {step.tool for step in read.next}
    assert [run.status for run in (await list_runs(scene.ws, scene.dataset)).runs] == ["unknown"]
    cancelled = await cancel_run(scene.ws, scene.dataset, "run")
    assert (cancelled.status, cancelled.warnings[0]) == ("unknown", ELSEWHERE)
    go.touch()
    assert (await get_run(elsewhere, scene.dataset, "run", wait_seconds=PATIENCE_S)).status == "completed"
    assert (await get_run(scene.ws, scene.dataset, "run")).status == "completed"
    cancelled = await cancel_run(scene.ws, scene.dataset, "run")
    assert (cancelled.status, cancelled.warnings[0]) == ("completed", ALREADY_ENDED)


async def test_a_run_of_another_machine_that_was_scored_here_has_its_status_there(
    scene: Scene, elsewhere: Workspace
) -> None:
    await scene.fill(2)
    there = replace(scene, ws=elsewhere)
    assert (await there.run(scene.script(COUNTING), wait_seconds=PATIENCE_S)).status == "completed"
    checks = {"dataset": scene.dataset, "run_name": "run", "evaluator_script": str(scene.script(CHECKS, "c.py"))}
    await score_run(scene.ws, ScoreRunRequest.model_validate(checks), wait_seconds=PATIENCE_S)
    assert [run.status for run in (await list_runs(scene.ws, scene.dataset)).runs] == ["completed"]
    cancelled = await cancel_run(scene.ws, scene.dataset, "run")
    assert (cancelled.status, cancelled.warnings[0]) == ("completed", ALREADY_ENDED)
