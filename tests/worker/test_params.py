"""Parameters of runs: how they reach a task, and that a run has one set of them."""

import json
import re
from dataclasses import replace

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import LfexpError, ScriptError, UsageError
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.workspace import Workspace
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GIVEN = "def task(*, item, params):\n    return params\n"
CHANGING = "def task(*, item, params):\n    params['n'] += 1\n    params['l'].append(1)\n    return params\n"
ODD: dict[str, JsonValue] = {
    "item": "x",
    "params": {},
    "self": 1,
    "big": 12345678901234567890123,
    "n": 9007199254740993,
    "number as text": "123",
    "null as text": "null",
    "": "",
    "a.b": [1, {"y": None}],
    "__class__": True,
    "ключ": "🦊",
}


async def outputs(scene: Scene, name: str = "run") -> list[JsonValue]:
    return [item.output for item in (await replace(scene, run_name=name).record()).items]


@pytest.mark.parametrize(
    ("source", "params", "seen"),
    [
        (GIVEN, None, {}),
        (GIVEN, {}, {}),
        # As text, since outputs keep such numbers as text.
        ("import json\n\n\ndef task(*, item, params):\n    return json.dumps(params)\n", ODD, json.dumps(ODD)),
        ("def task(*, item, params=None):\n    return params\n", None, None),
        ("def task(item, params=None):\n    return params\n", {"k": 3}, {"k": 3}),
        ("def task(*, item, **kwargs):\n    return kwargs\n", {"k": 3}, {"params": {"k": 3}}),
        ("def task(*, item, **kwargs):\n    return kwargs\n", None, {}),
        ("def task(*given, **kwargs):\n    return [kwargs['params'], *given]\n", {"k": 3}, [{"k": 3}]),
        ("async def task(*, item, params):\n    return params\n", {"k": 3}, {"k": 3}),
        (
            "class Task:\n    def __call__(self, *, item, params):\n        return params\n\n\ntask = Task()\n",
            {"k": 3},
            {"k": 3},
        ),
        (
            (
                "import functools\n\n\ndef run(n, *, item, params):\n    return [n, params]\n\n\n"
                "task = functools.partial(run, 1)\n"
            ),
            {"k": 3},
            [1, {"k": 3}],
        ),
        (CHANGING, {"n": 1, "l": []}, {"n": 2, "l": [1]}),
    ],
)
async def test_a_task_gets_the_parameters_that_it_takes(
    scene: Scene, source: str, params: dict[str, JsonValue] | None, seen: JsonValue
) -> None:
    await scene.fill(3)
    answer = await scene.run(scene.script(source), params=params)
    assert (answer.succeeded, answer.params) == (3, params or None)
    assert await outputs(scene) == [seen] * 3


async def test_a_task_that_takes_none_is_refused_and_the_name_stays_free(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("def task(*, item):\n    return 1\n")
    with pytest.raises(ScriptError):
        await scene.run(task, params={"k": 3})
    assert (await scene.run(task)).status == "completed"


async def test_a_parameter_named_like_an_argument_is_told_of(scene: Scene) -> None:
    await scene.fill(1)
    answer = await scene.run(scene.script("def task(*, item, k=1, **kwargs):\n    return k\n"), params={"k": 3})
    assert await outputs(scene) == [1]
    assert [warning for warning in answer.warnings if re.search(r"\bk\b", warning)]


@pytest.mark.parametrize(
    "params",
    [
        {"t": float("nan")},
        {"t": [float("inf")]},
        {"t": "\ud800"},
        {"\ud800": 1},
        {"t": "x" * 5000},
        [1],
        "k=3",
        {"t": json},
    ],
    ids=["nan", "infinity", "surrogate", "key", "long", "list", "text", "object"],
)
async def test_what_cannot_be_stored_is_refused(scene: Scene, params: object) -> None:
    with pytest.raises(ValueError, match="params"):
        scene.request(scene.folder, params=params)


FLAKY = """
    import pathlib

    def task(*, item, params):
        if item.metadata["number"] and not pathlib.Path(__file__ + ".go").exists():
            raise ValueError("not yet")
        return params
"""


async def test_a_resume_keeps_the_parameters_and_refuses_others(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(3)
    task = scene.script(FLAKY)
    given: dict[str, JsonValue] = {"k": 3, "t": 1.0, "o": {"x": 1, "y": [1, 2]}, "v": "123"}
    assert (await scene.run(task, params=given, metadata={"params": "mine"})).failed == 2
    others: list[dict[str, JsonValue]] = [{}, {"k": 4}, given | {"t": True}, given | {"o": {"x": 1, "y": [2, 1]}}]
    there = replace(scene, ws=elsewhere)
    for other in [*others, given | {"v": 123}, given | {"new": None}]:
        with pytest.raises(UsageError):
            await scene.run(None, resume=True, params=other)
        with pytest.raises(UsageError):
            await there.run(task, resume=True, params=other)
    read = await get_run(elsewhere, scene.dataset, "run")
    assert read.params == given
    same: dict[str, JsonValue] = {"v": "123", "o": {"y": [1, 2], "x": 1}, "t": 1, "k": 3.0}
    assert (await scene.run(None, resume=True, params=same)).params == given
    task.with_name("task.py.go").touch()
    answer = await there.run(task, resume=True)
    assert (answer.succeeded, answer.params) == (3, given)
    assert await outputs(scene) != [given] * 3
    assert await outputs(there) == [given] * 3


async def test_runs_that_differ_in_parameters_are_compared_and_say_so(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script("def task(*, item, params):\n    return item.input.upper()[: params['k']]\n")
    evaluators = scene.script("def exact(*, output, expected_output):\n    return output == expected_output\n", "c.py")
    for name, k in (("short", 3), ("long", 90)):
        await scene.run(task, run_name=name, evaluator_script=evaluators, params={"k": k, "same": 1})
    answer = await compare_runs(scene.ws, CompareRequest(dataset=scene.dataset, runs=["short", "long"]))
    assert [(issue.unfair, issue.message) for issue in answer.comparability if issue.kind == "params"] == [
        (False, "Parameters, 'short' -> 'long': k: 3 -> 90.")
    ]
    assert [score.verdict != "not comparable" for score in answer.scores] == [True]


async def test_parameters_of_a_run_of_others_are_not_known(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script(GIVEN)
    await scene.run(task)
    with pytest.raises(LfexpError):
        await scene.run(None, resume=True, params={"k": 3})
    assert (await scene.run(None, resume=True, params={})).status == "completed"
