"""What evaluator scripts declare of their scores, through a whole run and a comparison."""

import pytest

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.settings import Settings
from tests.services.humans import Humans
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TASK = "def task(*, item, **kwargs):\n    return item.metadata['number']\n"
DECLARING = """
    from langfuse import Evaluation
    from lfexp_mcp import evaluator

    WORSE = {worse}

    @evaluator(lower_is_better=True)
    def word_errors(*, output, **kwargs):
        return 0.11 + 0.001 * output + 0.31 * WORSE

    def stars(*, output, **kwargs):
        return 1 + output % 5

    stars.scale = "1-5"

    @evaluator(scale={{"good": 1, "bad": 0}})
    def label(*, output, **kwargs):
        return "good" if output else "bad"

    def harm(*, output, **kwargs):
        return Evaluation(name="harm", value=9.0, metadata={{"scale": "0-10", "lower_is_better": True, "by": "hand"}})

    def unreadable(*, output, **kwargs):
        return {{"name": "unreadable", "value": 1, "metadata": {{"scale": "log"}}}}

    EVALUATORS = [word_errors, stars, label, harm, unreadable]
"""


async def test_a_scripts_declared_scale_and_direction_hold_in_its_run_and_in_comparisons(scene: Scene) -> None:
    await scene.fill(24)
    task = scene.script(TASK)
    scripts = {
        name: scene.script(DECLARING.format(worse=at), f"{name}.py") for at, name in enumerate(("before", "after"))
    }
    await scene.run(task, run_name="before", evaluator_script=scripts["before"])
    answer = await scene.run(task, run_name="after", evaluator_script=scripts["after"])
    assert answer.status == "completed"
    shown = {score.name: (score.scale, score.scale_source, score.unscored) for score in answer.scores}
    assert shown["word_errors"] == ("0-1, lower is better", "default of evaluators", 0)
    assert shown["stars"] == ("1-5", "evaluator", 0)
    assert shown["harm"] == ("0-10, lower is better", "evaluation metadata", 0)
    assert shown["unreadable"] == (None, None, 24)
    means = {score.name: score.mean for score in answer.scores}
    assert means["label"] == pytest.approx(23 / 24)
    assert means["harm"] == pytest.approx(0.1)
    assert means["stars"] == pytest.approx(sum(number % 5 for number in range(24)) / 24 / 4)
    record = await read_run(scene.ws, scene.dataset, "after")
    (kept,) = (score.metadata["by"] for score in record.items[0].scores if score.name == "harm")
    assert kept == "hand"
    conditions = ["word_errors>0.3/1", "word_errors<0.7", "word_errors.worse", "harm>8/10", "stars<2/5"]
    request = CompareRequest(dataset=scene.dataset, runs=["before", "after"], fail_if=conditions)
    comparison = await compare_runs(scene.ws, request)
    verdicts = {line.score: line.verdict for line in comparison.scores}
    assert verdicts["word_errors"] == "worse"
    assert comparison.gate is not None
    assert [check.outcome for check in comparison.gate.checks] == ["failed", "failed", "failed", "failed", "passed"]
    assert {listed.kind for listed in comparison.changes if listed.score == "word_errors"} == {"worse"}


async def test_a_scripts_score_that_declares_no_scale_has_that_of_the_score_config_of_its_name(
    settings: Settings, scene: Scene
) -> None:
    await scene.fill(3)
    name = f"graded-{scene.dataset}"
    people = Humans(settings)
    people.config(name, 1, 5)
    people.close()
    script = scene.script(
        f"def grade(*, output, **kwargs):\n    return {{'name': '{name}', 'value': 2}}\n", "checks.py"
    )
    answer = await scene.run(scene.script(TASK), evaluator_script=script)
    (score,) = answer.scores
    assert (score.mean, score.scale, score.scale_source) == (0.25, "1-5", "score config")


async def test_a_declared_scale_that_cannot_be_read_refuses_the_run(scene: Scene) -> None:
    await scene.fill(1)
    script = scene.script("def close(*, output, **kwargs):\n    return 1\n\nclose.scale = 'log'\n", "checks.py")
    with pytest.raises(ScriptError, match=r"`close` .*'log'"):
        await scene.run(scene.script(TASK), evaluator_script=script)
