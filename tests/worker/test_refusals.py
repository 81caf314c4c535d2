"""What is refused before the first item, and leaves the name free."""

from pathlib import Path

import anyio
import pytest

from lfexp_mcp.errors import LfexpError, NotFoundError, RunExistsError, ScriptError, StateError, UsageError
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.requests import RunRequest, build
from tests.worker.scene import Scene

pytestmark = pytest.mark.anyio

GOOD = "def task(*, item, **kwargs):\n    return 1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "evaluators", "words"),
    [
        ("x = 1\n", None, "task"),
        ("def task():\n    return 1\n", None, "item"),
        ("import no_such_module_here\n", None, "no_such_module_here"),
        ("def task(*, item:\n", None, "SyntaxError"),
        ("raise SystemExit(2)\n", None, "SystemExit"),
        (GOOD, "x = 1\n", "evaluator"),
    ],
)
async def test_a_script_that_cannot_be_used_is_refused_and_leaves_the_name_free(
    scene: Scene, task: str, evaluators: str | None, words: str
) -> None:
    await scene.fill(1)
    evaluator_script = scene.script(evaluators, "evaluators.py") if evaluators else None
    with pytest.raises(ScriptError, match=words):
        await scene.run(scene.script(task), evaluator_script=evaluator_script)
    assert (await scene.run(scene.script(GOOD))).status == "completed"


@pytest.mark.slow
async def test_what_does_not_exist_is_named(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script(GOOD)
    with pytest.raises(NotFoundError) as unknown:
        await scene.run(task, dataset=scene.dataset[:-1])
    assert scene.dataset in unknown.value.near
    with pytest.raises(ScriptError, match=r"missing\.py"):
        await scene.run(scene.folder / "missing.py")
    with pytest.raises(ScriptError, match=r"task\.txt"):
        await scene.run(scene.script(GOOD, "task.txt"))
    with pytest.raises(NotFoundError) as unknown:
        await scene.run(task, resume=True)
    assert [step.tool for step in unknown.value.next] == ["run_experiment", "list_runs"]
    with pytest.raises(NotFoundError) as unknown:
        await cancel_run(scene.ws, scene.dataset, "never")
    assert unknown.value.name == "never"


@pytest.mark.slow
async def test_an_empty_dataset_is_refused(scene: Scene) -> None:
    await scene.fill(0)
    with pytest.raises(UsageError) as refused:
        await scene.run(scene.script(GOOD))
    assert [step.tool for step in refused.value.next] == ["create_dataset"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_concurrency": 0},
        {"sample_size": 0},
        {"sample_size": 1001},
        {"dry_run": True, "resume": True},
        {"task_prompt": "p"},
        {"model": "m"},
        {"sample_size": 3},
        {"fail_on_error": float("inf")},
        {"run_name": " "},
        {"repeats": 0},
        {"item_timeout": 0},
        {"fail_on_error": 0},
        {"task_script": None},
        {"dataset": None},
    ],
)
async def test_arguments_out_of_bounds_are_refused(arguments: dict[str, object]) -> None:
    given = {"run_name": "r", "dataset": "d", "task_script": Path("t.py")} | arguments
    with pytest.raises(UsageError):
        build(RunRequest, **given)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a/b", "a,b", 'it\'s "quoted"', "żółć 漢字 🙂", "..", "con"])
async def test_any_run_name_works(scene: Scene, name: str) -> None:
    await scene.fill(1)
    scene.run_name = name
    answer = await scene.run(scene.script(GOOD))
    assert (answer.status, answer.run_name) == ("completed", name)
    with pytest.raises(RunExistsError) as refused:
        await scene.run(scene.script(GOOD))
    assert refused.value.next[0].arguments["resume"] is True


@pytest.mark.slow
async def test_of_two_calls_with_one_name_the_second_is_refused(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script(GOOD)
    outcomes: list[str] = []

    async def run() -> None:
        try:
            outcomes.append((await scene.run(task)).status)
        except RunExistsError:
            outcomes.append("refused")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(run)
    assert sorted(outcomes) == ["completed", "refused", "refused"]
    assert len((await scene.record()).items) == 2


@pytest.mark.slow
async def test_a_name_with_results_in_langfuse_is_refused_without_a_folder_too(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script(GOOD)
    await scene.run(task)
    (await scene.run_folder()).delete()
    with pytest.raises(RunExistsError) as refused:
        await scene.run(task)
    assert refused.value.next[0].arguments["resume"] is True


@pytest.mark.slow
async def test_an_unwritable_state_folder_is_said(scene: Scene) -> None:
    await scene.fill(1)
    scene.ws.runs.root.parent.mkdir(parents=True, exist_ok=True)
    scene.ws.runs.root.write_text("a file where the folder should be")
    with pytest.raises(StateError, match="LFEXP_HOME"):
        await scene.run(scene.script(GOOD))


@pytest.mark.slow
async def test_an_error_never_shows_the_secret_key(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script("import os\nprint(dict(os.environ))\nraise ValueError('x')\n")
    with pytest.raises(LfexpError) as raised:
        await scene.run(task)
    assert scene.ws.gateway.secret_key.get_secret_value() not in str(raised.value)
