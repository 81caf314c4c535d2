"""A run from the call to what Langfuse shows."""

import anyio
import pytest

from lfexp_mcp.gateway import STATUS_SCORE_NAME
from lfexp_mcp.model import EvaluatorInfo, FileVersion, Progress
from lfexp_mcp.services.runs.follower import wait_for_run
from lfexp_mcp.services.runs.list_runs import list_runs
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UPPER = "def task(*, item, **kwargs):\n    return item.input.upper()\n"
EVALUATORS = """
    from langfuse import Evaluation

    def exact(*, output, expected_output, **kwargs):
        return Evaluation(name="exact", value=1.0 if output == expected_output else 0.0, comment="compared")

    async def length(*, output, **kwargs):
        return {"name": "length", "value": len(output) / 100}

    EVALUATORS = [exact, length]
"""


async def test_a_run_stores_every_item_with_its_scores_where_langfuse_looks_for_them(scene: Scene) -> None:
    await scene.fill(7)
    answer = await scene.run(
        scene.script(UPPER),
        evaluator_script=scene.script(EVALUATORS, "evaluators.py"),
        description="first try",
        metadata={"variant": "a"},
    )
    assert (answer.status, answer.total_items, answer.succeeded, answer.failed, answer.pending) == (
        "completed",
        7,
        7,
        0,
        0,
    )
    assert answer.undelivered == 0
    assert answer.warnings == []
    assert {score.name: (score.mean, score.count) for score in answer.scores} == {
        "exact": (1.0, 7),
        "length": (pytest.approx(0.07), 7),
    }

    dataset = await scene.ws.gateway.datasets.get(scene.dataset)
    experiment = await scene.ws.gateway.experiments.find(dataset.id, scene.run_name)
    assert experiment is not None
    assert experiment.id == answer.experiment_id
    assert experiment.metadata["variant"] == "a"
    found = await scene.ws.gateway.experiments.described_results(experiment.id)
    items, description = found.results, found.description
    assert {item.item_id: item.output for item in items} == {scene.item_id(n): f"INPUT {n}" for n in range(7)}
    assert {item.expected_output for item in items} == {f"INPUT {n}" for n in range(7)}
    assert description == "first try"
    assert all({score.name for score in item.scores} == {"exact", "length"} for item in items)
    assert items[0].metadata["number"] in range(7)


async def test_the_spans_of_an_item_nest_as_the_sdks_do(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script("""
        import asyncio
        from langfuse import get_client, observe

        @observe
        def inner(text):
            return text

        def task(*, item, **kwargs):
            with get_client().start_as_current_observation(name="step", as_type="tool"):
                return inner(item.input)
    """)
    await scene.run(task, evaluator_script=scene.script(EVALUATORS, "evaluators.py"))
    result = (await scene.record()).items[0]
    spans = await scene.ws.gateway.observations.find(trace_id=result.trace_id)
    names = {span.id: span.name for span in spans}
    parents = {span.name: names.get(span.parent_id or "") for span in spans}
    assert parents == {
        "experiment-item-run": None,
        "experiment-item-task": "experiment-item-run",
        "step": "experiment-item-task",
        "inner": "step",
        "experiment-item-evaluation": "experiment-item-run",
        "exact": "experiment-item-evaluation",
        "length": "experiment-item-evaluation",
    }
    assert {span.environment for span in spans} == {"sdk-experiment"}
    assert next(span for span in spans if span.name == "experiment-item-task").id == result.observation_id


async def test_async_tasks_nest_their_spans_too_and_run_side_by_side(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script("""
        import asyncio
        from langfuse import observe

        at_work = most = 0

        @observe
        async def inner(text):
            global at_work, most
            at_work += 1
            most = max(most, at_work)
            while most < 3:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            at_work -= 1
            return most

        async def task(*, item, **kwargs):
            return await inner(item.input)
    """)
    answer = await scene.run(task, max_concurrency=3)
    assert answer.status == "completed"
    record = await scene.record()
    assert {item.output for item in record.items} == {3}
    for item in record.items:
        spans = await scene.ws.gateway.observations.find(trace_id=item.trace_id)
        parent = next(span.parent_id for span in spans if span.name == "inner")
        assert parent == item.observation_id


async def test_sync_tasks_run_side_by_side_but_never_more_than_asked_for(scene: Scene) -> None:
    await scene.fill(9)
    task = scene.script("""
        import threading, time

        lock = threading.Lock()
        at_work = most = 0

        def task(*, item, **kwargs):
            global at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            while most < 3:
                time.sleep(0.001)
            time.sleep(0.01)
            with lock:
                at_work -= 1
            return most
    """)
    assert (await scene.run(task, max_concurrency=3)).status == "completed"
    assert {item.output for item in (await scene.record()).items} == {3}


async def test_a_task_that_raises_is_a_failed_item_and_stops_nobody_else(scene: Scene) -> None:
    await scene.fill(4)
    task = scene.script("""
        import sys

        def task(*, item, **kwargs):
            if item.metadata["number"] == 1:
                raise ValueError("no such thing")
            if item.metadata["number"] == 2:
                sys.exit(3)
            return "fine"
    """)
    answer = await scene.run(task, evaluator_script=scene.script(EVALUATORS, "evaluators.py"))
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 2, 2)
    errors = {error.item_id: error.error for error in answer.errors}
    assert "ValueError: no such thing (task.py, line 6)" in errors[scene.item_id(1)]
    assert "sys.exit(3)" in errors[scene.item_id(2)]
    assert {score.count for score in answer.scores} == {2}
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert {item.item_id for item in items if item.status == "failed"} == {scene.item_id(1), scene.item_id(2)}
    assert len(items) == 4


async def test_an_evaluator_that_fails_leaves_the_item_unscored(scene: Scene) -> None:
    await scene.fill(2)
    evaluators = scene.script(
        """
        def fussy(*, output, **kwargs):
            if output == "INPUT 0":
                raise KeyError("missing")
            return 0.5

        def not_a_number(*, output, **kwargs):
            return float("nan")

        EVALUATORS = [fussy, not_a_number]
        """,
        "evaluators.py",
    )
    answer = await scene.run(scene.script(UPPER), evaluator_script=evaluators)
    scores = {score.name: score for score in answer.scores}
    assert (scores["fussy"].count, scores["fussy"].unscored, scores["fussy"].mean) == (1, 1, 0.5)
    assert (scores["not_a_number"].count, scores["not_a_number"].unscored) == (0, 2)


async def test_an_item_without_input_fails_without_a_call_of_the_task(scene: Scene) -> None:
    await scene.fill(1)
    await scene.ws.gateway.dataset_items.upsert(scene.dataset, id=f"{scene.dataset}-none", input=None)
    answer = await scene.run(scene.script(UPPER))
    assert (answer.succeeded, answer.failed) == (1, 1)
    assert "no input" in answer.errors[0].error


async def test_evaluators_of_the_whole_run_score_the_experiment(scene: Scene) -> None:
    await scene.fill(3)
    evaluators = scene.script(
        """
        def one(*, output, **kwargs):
            return 1.0

        async def total(*, item_results, **kwargs):
            return {"name": "total", "value": sum(len(result.evaluations) for result in item_results)}

        EVALUATORS = [one]
        RUN_EVALUATORS = [total]
        """,
        "evaluators.py",
    )
    answer = await scene.run(scene.script(UPPER), evaluator_script=evaluators)
    assert answer.run_scores == {"total": 3.0}
    stored = await scene.ws.gateway.scores.find(experiment_id=answer.experiment_id)
    assert {score.name: score.value for score in stored} == {"total": 3.0, STATUS_SCORE_NAME: "completed"}


async def test_a_call_that_does_not_wait_leaves_the_run_at_work_and_progress_is_told(scene: Scene) -> None:
    await scene.fill(4)
    gate = scene.folder / "gate"
    task = scene.script(f"""
        import time
        from pathlib import Path

        def task(*, item, **kwargs):
            while item.metadata["number"] and not Path({str(gate)!r}).exists():
                time.sleep(0.005)
            return 1
    """)
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        told.append(progress)

    answer = await scene.run(task, wait_seconds=0.5)
    assert answer.status == "running"
    assert answer.progress is not None
    assert [step.tool for step in answer.next] == ["get_run", "cancel_run"]
    async with anyio.create_task_group() as group:
        group.start_soon(wait_for_run, scene.ws, scene.dataset, scene.run_name, PATIENCE_S, tell)
        await until(lambda: any(progress.total == 4 for progress in told))
        gate.touch()
    assert (await scene.run_folder()).status() == "completed"


async def test_twenty_runs_of_different_names_work_at_once(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script(UPPER)
    statuses: list[str] = []

    async def run(number: int) -> None:
        statuses.append((await scene.run(task, run_name=f"run {number}")).status)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(run, number)
    assert statuses == ["completed"] * 20


async def test_repeats_are_experiments_of_their_own_read_back_as_one_run(scene: Scene) -> None:
    await scene.fill(2)
    answer = await scene.run(scene.script(UPPER), repeats=3)
    assert (answer.status, answer.total_items, answer.succeeded) == ("completed", 6, 6)
    record = await scene.record()
    assert sorted(item.repeat for item in record.items) == [0, 0, 1, 1, 2, 2]
    assert len(set(record.experiment_ids)) == 3
    dataset = await scene.ws.gateway.datasets.get(scene.dataset)
    for name in ("run", "run#2", "run#3"):
        experiment = await scene.ws.gateway.experiments.find(dataset.id, name)
        assert experiment is not None
        assert experiment.item_count == 2


async def test_provenance_tells_code_packages_and_dataset_version(scene: Scene) -> None:
    await scene.fill(1)
    await scene.run(scene.script(UPPER), evaluator_script=scene.script(EVALUATORS, "evaluators.py"))
    provenance = (await scene.record()).provenance
    assert provenance is not None
    assert provenance.task == FileVersion("task.py", _sha256(scene, "task.py"))
    assert provenance.evaluator_script == FileVersion("evaluators.py", _sha256(scene, "evaluators.py"))
    assert provenance.evaluators == (EvaluatorInfo("exact", "script"), EvaluatorInfo("length", "script"))
    assert {"python", "lfexp-mcp", "langfuse"} <= set(provenance.packages or ())
    assert provenance.dataset_version is not None


def _sha256(scene: Scene, name: str) -> str:
    import hashlib

    return hashlib.sha256((scene.folder / name).read_bytes()).hexdigest()


async def test_a_resume_declares_no_other_family_of_candidates(scene: Scene) -> None:
    await scene.fill(2)
    fails = """
        def task(*, item):
            raise ValueError("no")
    """
    await scene.run(scene.script(fails), metadata={"lfexp_family": "autumn", "note": "a"})
    await scene.run(scene.script(UPPER), resume=True, metadata={"lfexp_family": "winter", "note": "b"})
    (entry,) = (await list_runs(scene.ws, scene.dataset)).runs
    assert entry.metadata == {"lfexp_family": "autumn", "note": "b"}
