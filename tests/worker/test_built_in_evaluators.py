"""Built-in evaluators through whole runs: by name, in a script, and with a script's own."""

from collections import Counter

import pytest

from lfexp_mcp.errors import NotFoundError, ScriptError, UsageError
from lfexp_mcp.model import BuiltInMaker
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.read_run import read_run
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TASK = "def task(*, item, **kwargs):\n    return item.input.upper() if item.metadata['number'] else 'IN'\n"
ALL = [
    "exact_match",
    "contains:value=INPUT,score_name=mentions",
    r"regex:^INPUT \d{1,2}$",
    {"name": "json_schema", "schema": {"type": "string", "minLength": 6}},
    "numeric",
    "edit_similarity",
]


async def test_a_run_needs_no_script_to_be_scored_and_says_who_scored_it(scene: Scene) -> None:
    await scene.fill(3)
    answer = await scene.run(scene.script(TASK), evaluators=ALL)
    assert answer.status == "completed"
    found = {score.name: (score.mean, score.count, score.unscored, score.scale_source) for score in answer.scores}
    assert found["exact_match"] == (2 / 3, 3, 0, "evaluator")
    assert found["mentions"] == found["regex"] == found["json_schema"] == found["exact_match"]
    assert found["numeric"] == found["exact_match"]
    similarity = found["edit_similarity"][0]
    assert similarity is not None
    assert 2 / 3 < similarity < 1
    assert set(answer.evaluators) == {
        "exact_match (built-in)",
        'mentions: contains {"value": "INPUT"} (built-in)',
        'regex {"pattern": "^INPUT \\\\d{1,2}$"} (built-in)',
        'json_schema {"schema": {"minLength": 6, "type": "string"}} (built-in)',
        "numeric (built-in)",
        "edit_similarity (built-in)",
    }
    elsewhere = await read_run(scene.ws, scene.dataset, scene.run_name)
    makers = {score.name: score.maker for score in elsewhere.scores}
    assert makers["mentions"].label == 'built-in contains {"value": "INPUT"}'
    assert isinstance(makers["numeric"], BuiltInMaker)
    assert (makers["numeric"].version, makers["numeric"].options) == (1, None)


async def test_a_pattern_that_would_take_for_ever_leaves_its_items_unscored_and_the_run_goes_on(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("def task(*, item, **kwargs):\n    return 'a' * 90 + 'b'\n")
    answer = await scene.run(task, evaluators=["regex:^(a|aa)+$", "contains:b"])
    assert answer.status == "completed"
    found = {score.name: (score.count, score.unscored, score.mean) for score in answer.scores}
    assert found == {"regex": (0, 2, None), "contains": (2, 0, 1.0)}


async def test_an_item_without_a_reference_is_unscored_and_no_zero(scene: Scene) -> None:
    await scene.fill(2, expected_output=None)
    answer = await scene.run(scene.script(TASK), evaluators=["exact_match", "regex:INPUT"])
    exact, pattern = answer.scores
    assert (exact.count, exact.unscored, exact.mean) == (0, 2, None)
    assert (pattern.count, pattern.unscored, pattern.mean) == (2, 0, 0.5)
    assert answer.errors[0].error == "exact_match: The item has no expected_output."


async def test_a_script_lists_built_in_evaluators_beside_its_own_and_they_are_the_same_makers(scene: Scene) -> None:
    await scene.fill(2)
    script = scene.script(
        """
        from lfexp_mcp.evaluators import exact_match, numeric

        def own(*, output, **kwargs):
            return 0.5

        EVALUATORS = [own, exact_match, numeric(tolerance=1)]
        """,
        "checks.py",
    )
    task = scene.script(TASK)
    await scene.run(task, run_name="by-script", evaluator_script=script)
    await scene.run(task, run_name="by-name", evaluators=["exact_match", "numeric:2"])
    records = [await read_run(scene.ws, scene.dataset, name) for name in ("by-script", "by-name")]
    first, second = ({score.name: score.maker for score in record.scores} for record in records)
    assert first["own"].kind == "script"
    assert first["exact_match"] == second["exact_match"]
    assert first["numeric"] != second["numeric"]
    comparison = await compare_runs(scene.ws, CompareRequest(dataset=scene.dataset, runs=["by-script", "by-name"]))
    verdicts = {score.score: score.verdict for score in comparison.scores}
    assert verdicts["exact_match"] != "not comparable"
    assert verdicts["numeric"] == "not comparable"


async def test_a_resume_scores_with_a_new_evaluator_and_with_other_options_of_a_known_one(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script(TASK)
    await scene.run(task, evaluators=["numeric:1"])
    answer = await scene.run(None, evaluators=["numeric:1", "numeric:2,score_name=wide"], resume=True)
    assert {score.name: score.count for score in answer.scores} == {"numeric": 2, "wide": 2}
    kept = await scene.run(None, resume=True)
    assert set(kept.evaluators) == {
        'numeric {"tolerance": 1.0} (built-in)',
        'wide: numeric {"tolerance": 2.0} (built-in)',
    }
    await scene.run(None, evaluators=["numeric:2"], resume=True)
    makers = Counter(score.maker.label for score in (await scene.record()).scores if score.name == "numeric")
    assert sorted(makers.values()) == [2, 2]


async def test_what_cannot_score_is_refused_before_any_item_runs(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script(TASK)
    with pytest.raises(NotFoundError):
        await scene.run(task, evaluators=["exact"])
    with pytest.raises(UsageError, match=r"regex: .*\("):
        await scene.run(task, evaluators=["regex:("])
    script = scene.script("def exact_match(*, output, **kwargs):\n    return 1\n", "checks.py")
    with pytest.raises(ScriptError, match="'exact_match'"):
        await scene.run(task, evaluator_script=script, evaluators=["exact_match"])
    assert (await scene.ws.gateway.experiments.page((await scene.ws.gateway.datasets.get(scene.dataset)).id))[0] == []
