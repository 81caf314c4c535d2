"""The main job as an agent does it: from nothing to a comparison, through a server process of its own over stdio."""

import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.comparison import Comparison
from lfexp_mcp.answers.run import RunAnswer, RunDetail, RunList
from tests.tools.conftest import Caller, WriteScript
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

QUESTIONS: list[JsonValue] = [
    {"id": f"main-job-{number}", "input": question, "expected_output": answer, "metadata": {"kind": kind}}
    for number, (question, answer, kind) in enumerate(
        [
            ("capital of France", "Paris", "city"),
            ("capital of Peru", "Lima", "city"),
            ("capital of Japan", "Tokyo", "city"),
            ("largest planet", "Jupiter", "space"),
            ("nearest star", "Sun", "space"),
            ("red planet", "Mars", "space"),
        ]
    )
]
BASELINE = """
ANSWERS = {"capital of France": "Paris", "capital of Peru": "Lima", "largest planet": "Saturn", "nearest star": "Sun"}


def task(*, item, **kwargs):
    return ANSWERS.get(item.input, "unknown")
"""
CANDIDATE = """
async def task(*, item, **kwargs):
    if item.input == "red planet":
        raise ValueError("no such planet")
    return item.expected_output
"""
ASYNC_EVALUATOR = """
from langfuse import Evaluation


async def right(*, output, expected_output, **kwargs):
    return Evaluation(name="right", value=1.0 if output == expected_output else 0.0, comment=f"said {output}")
"""
SLOW = """
import time


def task(*, item, **kwargs):
    time.sleep(0.5)
    return "late"
"""


@pytest.mark.anyio
async def test_an_agent_gets_from_nothing_to_a_comparison(
    stdio: Caller, write_script: WriteScript, specified: Callable[[str], Path]
) -> None:
    dataset = "main job"
    made = await stdio.answer("create_dataset", name=dataset, description="six questions", items=QUESTIONS)
    assert (made["stored"], made["total_items"]) == (6, 6)

    evaluators = str(specified("my_evaluators.py"))
    ran = {}
    for name, script in (("first", BASELINE), ("second", CANDIDATE)):
        path = write_script(f"{name}.py", script)
        ran[name] = RunAnswer.model_validate(
            await stdio.answer(
                "run_experiment", run_name=name, dataset=dataset, task_script=str(path), evaluator_script=evaluators
            )
        )
    assert [run.status for run in ran.values()] == ["completed", "completed"]
    second = ran["second"]
    assert (second.succeeded, second.failed, second.pending) == (5, 1, 0)
    assert "no such planet" in second.errors[0].error
    assert {score.name: score.count for score in second.scores} == {"exact_match": 5, "contains": 5, "length": 5}

    runs = RunList.model_validate(await stdio.answer("list_runs", dataset=dataset))
    assert [entry.name for entry in runs.runs] == ["second", "first"]

    detail = RunDetail.model_validate(await stdio.answer("get_run", dataset=dataset, run_name="first", limit=2))
    assert len(detail.items) == 2
    assert detail.next_cursor is not None
    whole = RunDetail.model_validate(
        await stdio.answer("get_run", dataset=dataset, run_name="first", item_id="main-job-3")
    )
    assert [(item.input, item.output, item.expected_output) for item in whole.items] == [
        ("largest planet", "Saturn", "Jupiter")
    ]
    comments = {score.name: score.comment for score in whole.items[0].scores}
    assert comments["exact_match"] == "No match"

    comparison = Comparison.model_validate(
        await stdio.answer("compare_runs", dataset=dataset, runs=["first", "second"])
    )
    exact = next(score for score in comparison.scores if score.score == "exact_match")
    assert (exact.pairs, exact.wins, exact.losses) == (5, 2, 0)
    assert exact.delta == pytest.approx(0.4)

    analysis = await stdio.answer("analyze_run", dataset=dataset, run_name="first", show_failures=True)
    assert isinstance(analysis["failures"], dict)
    assert analysis["failures"]["total"]


@pytest.mark.anyio
async def test_a_run_outlives_the_call_and_is_cancelled_by_the_tool(stdio: Caller, write_script: WriteScript) -> None:
    items: list[JsonValue] = [{"id": f"slow-{number}", "input": number} for number in range(200)]
    await stdio.answer("create_dataset", name="slow", items=items)
    script = str(write_script("slow.py", SLOW))
    run = RunAnswer.model_validate(
        await stdio.answer(
            "run_experiment", run_name="r", dataset="slow", task_script=script, max_concurrency=2, wait_seconds=0
        )
    )
    assert run.status == "running"
    assert run.next[0].tool == "get_run"
    cancelled = RunAnswer.model_validate(await stdio.answer("cancel_run", dataset="slow", run_name="r"))
    assert cancelled.status == "cancelled"
    assert cancelled.pending
    assert any(step.arguments.get("resume") is True for step in cancelled.next)


@pytest.mark.anyio
async def test_cancelling_the_call_leaves_the_run_at_work(stdio: Caller, write_script: WriteScript) -> None:
    items: list[JsonValue] = [{"id": f"left-{number}", "input": number} for number in range(4)]
    await stdio.answer("create_dataset", name="left", items=items)
    script = str(write_script("slow.py", SLOW))
    with anyio.CancelScope() as call:

        async def leave_once_at_work() -> None:
            with anyio.fail_after(PATIENCE_S):
                await stdio.has_progress.wait()
            call.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_once_at_work)
            await stdio.answer(
                "run_experiment", run_name="r", dataset="left", task_script=script, max_concurrency=1, wait_seconds=600
            )
    assert call.cancelled_caught
    run = RunDetail.model_validate(await stdio.answer("get_run", dataset="left", run_name="r", wait_seconds=PATIENCE_S))
    assert (run.status, run.succeeded) == ("completed", 4)


@pytest.mark.anyio
async def test_progress_is_reported_in_counts_and_words(stdio: Caller, write_script: WriteScript) -> None:
    items: list[JsonValue] = [{"id": f"progress-{number}", "input": number} for number in range(4)]
    await stdio.answer("create_dataset", name="progress", items=items)
    script = str(write_script("slow.py", SLOW))
    await stdio.answer("run_experiment", run_name="r", dataset="progress", task_script=script, max_concurrency=1)
    assert stdio.progress
    done, total, words = stdio.progress[-1]
    assert total == 4
    assert 0 <= done <= 4
    assert words is not None
    assert words.startswith(f"{done:.0f}/4 items")


@pytest.mark.anyio
async def test_an_async_evaluator_scores_as_a_plain_one_does(caller: Caller, write_script: WriteScript) -> None:
    dataset = f"async {time.monotonic_ns()}"
    items: list[JsonValue] = [{"input": "a", "expected_output": "a"}, {"input": "b", "expected_output": "c"}]
    await caller.answer("create_dataset", name=dataset, items=items)
    task = write_script("task.py", "async def task(*, item, **kwargs):\n    return item.input\n")
    evaluators = write_script("evaluators.py", ASYNC_EVALUATOR + "\nEVALUATORS = [right]\n")
    run = RunAnswer.model_validate(
        await caller.answer(
            "run_experiment",
            run_name="r",
            dataset=dataset,
            task_script=str(task),
            evaluator_script=str(evaluators),
        )
    )
    assert [(score.name, score.mean, score.count) for score in run.scores] == [("right", 0.5, 2)]


@pytest.mark.anyio
async def test_an_edited_task_is_measured_as_it_is_now(caller: Caller, write_script: WriteScript) -> None:
    dataset = f"edited {time.monotonic_ns()}"
    await caller.answer("create_dataset", name=dataset, items=[{"input": "x"}])
    outputs = []
    for version in ("one", "two"):
        write_script("answers.py", f"ANSWER = {version!r}\n")
        task = write_script("task.py", "import answers\n\ndef task(*, item, **kwargs):\n    return answers.ANSWER\n")
        await caller.answer("run_experiment", run_name=version, dataset=dataset, task_script=str(task))
        run = RunDetail.model_validate(await caller.answer("get_run", dataset=dataset, run_name=version))
        outputs.append(run.items[0].output)
    assert outputs == ["one", "two"]
