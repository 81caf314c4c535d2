"""Scoring a run again: no task is called, its results stay, and each score knows its maker."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.score_run import score_run
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest, ScoreRunRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.settings import Settings
from tests.providers.server import ProviderServer, Reply
from tests.services.recording import Recorded, record_run
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene, with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COUNTED = """
from pathlib import Path

def task(*, item, **kwargs):
    with Path({calls!r}).open("a") as file:
        file.write("x")
    return item.input.upper()
"""
RIGHT = "def right(*, output, expected_output, **kwargs):\n    return float(output == expected_output)\n"
WRONG = "def right(*, output, expected_output, **kwargs):\n    return float(output != expected_output)\n"
PROMPT = "Rate it.\nInput: {{input}}\nOutput: {{output}}"
FIRST = {"scale": "0-10", "model": "gpt-one", "provider": "openai", "score_name": "tone"}
SECOND = {**FIRST, "scale": "1-5", "model": "gpt-two"}


@pytest.fixture
def _with_openai(openai_for_workers: ProviderServer) -> None:
    openai_for_workers.respond = lambda _call: Reply(text='{"score": 3}')


def counted_task(scene: Scene) -> tuple[Path, Path]:
    """A task that counts its calls in a file."""
    calls = scene.folder / "calls"
    return scene.script(COUNTED.format(calls=str(calls))), calls


async def score(scene: Scene, **arguments: Any) -> RunAnswer:  # noqa: ANN401
    """Score the scene's run again."""
    request = ScoreRunRequest.model_validate({"dataset": scene.dataset, "run_name": scene.run_name, **arguments})
    return await score_run(scene.ws, request, wait_seconds=PATIENCE_S)


def shown(answer: RunAnswer) -> dict[str, tuple[str, int, int]]:
    """What a run's scores are, by name: shown mean, count, unscored."""
    return {one.name: (one.display, one.count, one.unscored) for one in answer.scores}


async def elsewhere(scene: Scene) -> RunAnswer:
    """The run as another machine reads it."""
    shutil.rmtree((await scene.run_folder()).path)
    return await get_run(scene.ws, scene.dataset, scene.run_name)


async def test_an_edited_script_scores_all_results_again_and_calls_no_task(scene: Scene) -> None:
    await scene.fill(5)
    task, calls = counted_task(scene)
    first = await scene.run(task, evaluator_script=scene.script(RIGHT, "checks.py"))
    assert shown(first) == {"right": ("1.00", 5, 0)}
    answer = await score(scene, evaluator_script=scene.script(WRONG, "checks.py"))
    assert (answer.status, answer.scoring, answer.undelivered) == ("completed", "completed", 0)
    assert calls.read_text() == "xxxxx"
    (older,) = shown(answer).keys() - {"right"}
    assert older.startswith("right@checks.py:")
    both = {"right": ("0.00", 5, 0), older: ("1.00", 5, 0)}
    assert shown(answer) == both
    assert shown(await get_run(scene.ws, scene.dataset, scene.run_name)) == both
    there = await elsewhere(scene)
    assert (there.status, there.scoring) == ("completed", "completed")
    assert shown(there) == both


@pytest.mark.usefixtures("_with_openai")
async def test_two_versions_of_a_judge_are_read_back_each_on_its_scale(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(4)
    async with with_models(scene, settings) as judged:
        name, (task, calls) = f"judge-{scene.dataset}", counted_task(judged)
        await create_judge(judged.ws, name, PROMPT, config={**FIRST})
        await judged.run(task, judges=[name])
        other = Scene(judged.ws, scene.folder, scene.dataset, "other")
        await other.run(task, judges=[name])
        await create_judge(judged.ws, name, PROMPT, config={**SECOND})
        asked = len(openai_server.calls)
        answer = await score(judged, judges=[name])
        assert (len(openai_server.calls) - asked, calls.read_text()) == (4, "x" * 8)
        older = f"tone@{name}:1"
        both = {"tone": ("0.50 (3/5)", 4, 0), older: ("0.30 (3/10)", 4, 0)}
        assert shown(answer) == both
        assert shown(await get_run(judged.ws, scene.dataset, "run")) == both
        analysis = await analyze_run(judged.ws, AnalyzeRequest(dataset=scene.dataset, run_name="run"))
        assert {one.name for one in analysis.scores} == {"tone", older}

        # The same call asks nothing.
        asked = len(openai_server.calls)
        assert shown(await score(judged, judges=[f"{name}:2"])) == both
        assert len(openai_server.calls) == asked

        comparison = await compare_runs(judged.ws, CompareRequest(dataset=scene.dataset, runs=["other", "run"]))
        verdicts = {one.score: one.verdict for one in comparison.scores}
        assert verdicts["tone"] != "not comparable", "both have version 1"
        assert verdicts[f"tone@{name}:2"] == "not comparable"
        named = CompareRequest(dataset=scene.dataset, runs=["other", "run"], score_name=older, fail_if=[f"{older}<0.2"])
        alone = await compare_runs(judged.ws, named)
        assert [one.score for one in alone.scores] == ["tone"]
        assert alone.gate is not None
        assert [check.outcome for check in alone.gate.checks] == ["passed"]
        assert any(step.tool == "score_run" for step in comparison.next)

        there = await elsewhere(judged)
        assert shown(there) == both


@pytest.mark.usefixtures("_with_openai")
async def test_a_judge_that_failed_on_some_results_is_asked_about_those_only(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(4)
    async with with_models(scene, settings) as judged:
        name, (task, _) = f"judge-{scene.dataset}", counted_task(judged)
        await judged.run(task)
        await create_judge(judged.ws, name, PROMPT, config={**FIRST})
        openai_server.respond = lambda call: Reply(text="Hm." if "INPUT 2" in call.text else '{"score": 3}')
        answer = await score(judged, judges=[name])
        assert shown(answer) == {"tone": ("0.30 (3/10)", 3, 1)}
        assert answer.next[0].tool == "score_run"
        assert answer.next[0].arguments["judges"] == [f"{name}:1"]
        openai_server.respond = lambda _call: Reply(text='{"score": 5}')
        asked = len(openai_server.calls)
        answer = await score(judged, judges=[name])
        assert (len(openai_server.calls) - asked, shown(answer)) == (1, {"tone": ("0.35 (3.5/10)", 4, 0)})


@pytest.mark.usefixtures("_with_openai")
async def test_a_run_of_another_tool_keeps_its_results_and_gets_scores(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(3)
    async with with_models(scene, settings) as judged:
        dataset = await judged.ws.gateway.datasets.get(scene.dataset)
        results = [
            Recorded(judged.item_id(number), output, f"input {number}", failed=output.startswith("Error"))
            for number, output in enumerate(("OUT 0", "OUT 1", "Error: none"))
        ]
        await record_run(judged.ws, dataset, "run", results, metadata={"by": "others"})
        before = await get_run(judged.ws, scene.dataset, "run")
        name = f"judge-{scene.dataset}"
        await create_judge(judged.ws, name, PROMPT, config={**FIRST})
        answer = await score(judged, judges=[name])
        assert (answer.scoring, answer.succeeded, answer.failed) == ("completed", 2, 1)
        assert shown(answer) == {"tone": ("0.30 (3/10)", 2, 0)}
        after = await get_run(judged.ws, scene.dataset, "run")
        assert (after.status, after.total_items) == (before.status, before.total_items)
        kept = [[(item.output, item.input) for item in answer.items] for answer in (before, after)]
        assert kept[0] == kept[1]
        assert shown(after) == shown(answer)
        head = await judged.ws.gateway.experiments.find(dataset.id, "run")
        assert head is not None
        assert (head.item_count, head.metadata) == (3, {"by": "others"})
        assert shown(await elsewhere(judged)) == shown(answer)


async def test_a_run_without_good_results_is_refused_and_an_unknown_one_named(scene: Scene) -> None:
    await scene.fill(1)
    script = scene.script(RIGHT, "checks.py")
    with pytest.raises(NotFoundError):
        await score(scene, evaluator_script=script)
    await scene.run(scene.script("def task(*, item, **kwargs):\n    raise ValueError\n"))
    with pytest.raises(UsageError) as refused:
        await score(scene, evaluator_script=script)
    assert [(step.tool, step.arguments.get("resume")) for step in refused.value.next] == [("run_experiment", True)]


async def test_what_a_killed_or_cancelled_run_has_is_scored_and_the_run_keeps_its_end(scene: Scene) -> None:
    await scene.fill(4)
    failing = """
        calls = []

        def task(*, item, **kwargs):
            calls.append(item)
            assert len(calls) < 3
            return item.input.upper()
    """
    before = await scene.run(scene.script(failing), fail_on_error=1, max_concurrency=1)
    assert before.status == "failed"
    answer = await score(scene, evaluator_script=scene.script(RIGHT, "checks.py"))
    assert (answer.status, answer.scoring) == ("failed", "completed")
    assert (answer.succeeded, answer.failed, answer.pending) == (before.succeeded, before.failed, before.pending)
    assert shown(answer)["right"] == ("1.00", before.succeeded, 0)
