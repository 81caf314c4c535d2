"""Scoring a run again: no task is called, its results stay, and each score knows its maker."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.services.experiments.score_run import score_run
from lfexp_mcp.services.requests import ScoreRunRequest
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene

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


def counted_task(scene: Scene) -> tuple[Path, Path]:
    """A task that counts its calls in a file."""
    calls = scene.folder / "calls"
    return scene.script(COUNTED.format(calls=str(calls))), calls


async def score(scene: Scene, **arguments: Any) -> RunAnswer:  # noqa: ANN401
    """Score the scene's run again."""
    request = ScoreRunRequest.model_validate({"dataset": scene.dataset, "run_name": scene.run_name, **arguments})
    return await score_run(scene.ws, request, wait_seconds=PATIENCE_S)


async def test_an_edited_script_scores_all_results_again_and_calls_no_task(scene: Scene) -> None:
    await scene.fill(5)
    task, calls = counted_task(scene)
    first = await scene.run(task, evaluator_script=scene.script(RIGHT, "checks.py"))
    assert [(one.name, one.mean, one.count) for one in first.scores] == [("right", 1.0, 5)]
    answer = await score(scene, evaluator_script=scene.script(WRONG, "checks.py"))
    assert (answer.status, answer.scoring, answer.undelivered) == ("completed", "completed", 0)
    assert calls.read_text() == "xxxxx"

    dataset = await scene.ws.gateway.datasets.get(scene.dataset)
    head = await scene.ws.gateway.experiments.find(dataset.id, scene.run_name)
    assert head is not None
    stored = await scene.ws.gateway.experiments.results(head.id)
    assert [len(item.scores) for item in stored] == [2] * 5

    shutil.rmtree((await scene.run_folder()).path)
