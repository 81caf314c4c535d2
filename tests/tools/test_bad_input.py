"""Bad input: each refusal names what is wrong and says what to do, and nothing is lost."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from mcp import Client
from pydantic import JsonValue, SecretStr

from lfexp_mcp.answers.run import RunAnswer, RunDetail, RunList
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import stop_store
from lfexp_mcp.tools.server import build_server
from tests.tools.conftest import Caller, WriteScript, stdio_server

GOOD = "def task(*, item, **kwargs):\n    return item.input\n"
DATASET = "bad input"
NOT_THERE = Path("not", "there.py").absolute()
RUN: dict[str, JsonValue] = {"run_name": "r", "dataset": "d", "task_prompt": "p"}


@pytest.fixture
async def dataset(caller: Caller) -> str:
    """A dataset of two items, made anew or as it is."""
    items: list[JsonValue] = [{"id": "bad-input-a", "input": "a"}, {"id": "bad-input-b", "input": "b"}]
    await caller.answer("create_dataset", name=DATASET, items=items)
    return DATASET


@dataclass(frozen=True)
class BadScript:
    """A script that cannot be used, and what the refusal has to say."""

    name: str
    source: str
    says: tuple[str, ...]


TASKS = [
    BadScript("task.txt", GOOD, ("task.txt", ".py")),
    BadScript("no_task.py", "def tusk(*, item):\n    return 1\n", ("no_task.py", "task")),
    BadScript("broken.py", "import no_such_module_anywhere\n" + GOOD, ("broken.py", "no_such_module_anywhere")),
    BadScript("syntax.py", "def task(*, item:\n", ("syntax.py", "SyntaxError")),
    BadScript("exits.py", "import sys\nsys.exit(3)\n", ("exits.py", "SystemExit")),
    BadScript("signature.py", "def task(first, second):\n    return 1\n", ("signature.py", "item")),
    BadScript("not_callable.py", "task = 3\n", ("not_callable.py", "task")),
]
EVALUATORS = [
    BadScript("none.py", "X = 1\n", ("none.py", "EVALUATORS")),
    BadScript("empty.py", "EVALUATORS = []\n", ("empty.py", "EVALUATORS")),
    BadScript("fails.py", "raise RuntimeError('not today')\n", ("fails.py", "not today")),
]


@pytest.mark.slow
@pytest.mark.parametrize("script", TASKS, ids=lambda script: script.name)
@pytest.mark.anyio
async def test_a_task_script_that_cannot_be_used_is_refused_before_anything_runs(
    caller: Caller, dataset: str, write_script: WriteScript, script: BadScript
) -> None:
    path = write_script(script.name, script.source)
    refusal = await caller.refusal("run_experiment", run_name="refused", dataset=dataset, task_script=str(path))
    assert refusal.error.code == "script"
    for part in script.says:
        assert part in refusal.error.message
    runs = RunList.model_validate(await caller.answer("list_runs", dataset=dataset))
    assert "refused" not in {run.name for run in runs.runs}


@pytest.mark.slow
@pytest.mark.parametrize("script", EVALUATORS, ids=lambda script: script.name)
@pytest.mark.anyio
async def test_an_evaluator_script_that_cannot_be_used_is_refused(
    caller: Caller, dataset: str, write_script: WriteScript, script: BadScript
) -> None:
    refusal = await caller.refusal(
        "run_experiment",
        run_name="refused",
        dataset=dataset,
        task_script=str(write_script("task.py", GOOD)),
        evaluator_script=str(write_script(script.name, script.source)),
    )
    assert refusal.error.code == "script"
    for part in script.says:
        assert part in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_script_that_is_missing_is_named_with_where_it_was_looked_for(caller: Caller, dataset: str) -> None:
    refusal = await caller.refusal("run_experiment", run_name="r", dataset=dataset, task_script="not/there.py")
    assert refusal.error.code == "script"
    assert str(NOT_THERE) in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_unknown_dataset_is_answered_with_the_names_near_it(
    caller: Caller, dataset: str, write_script: WriteScript
) -> None:
    task = str(write_script("task.py", GOOD))
    refusal = await caller.refusal("run_experiment", run_name="r", dataset="bad imput", task_script=task)
    assert refusal.error.code == "not_found"
    assert "'bad imput'" in refusal.error.message
    assert f"'{dataset}'" in refusal.error.message
    corrected = {"run_name": "r", "dataset": dataset, "task_script": task}
    assert (refusal.next[0].tool, refusal.next[0].arguments) == ("run_experiment", corrected)
    for tool in ("list_runs", "get_run", "analyze_run", "cancel_run"):
        arguments = {} if tool == "list_runs" else {"run_name": "r"}
        assert "'bad imput'" in (await caller.refusal(tool, dataset="bad imput", **arguments)).error.message


@pytest.mark.anyio
async def test_a_misspelt_name_that_stands_in_two_places_is_not_corrected_for_the_caller(
    caller: Caller, dataset: str
) -> None:
    refusal = await caller.refusal("get_run", run_name="bad imput", dataset="bad imput")
    assert f"'{dataset}'" in refusal.error.message
    assert "get_run" not in {step.tool for step in refusal.next}


@pytest.mark.anyio
async def test_an_unknown_run_is_answered_with_what_to_call(caller: Caller, dataset: str) -> None:
    for tool in ("get_run", "analyze_run", "cancel_run"):
        refusal = await caller.refusal(tool, dataset=dataset, run_name="no such run")
        assert "'no such run'" in refusal.error.message
        assert "list_runs" in {step.tool for step in refusal.next}
    refusal = await caller.refusal("compare_runs", dataset=dataset, runs=["no such run", "nor this"])
    assert "'no such run'" in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_name_that_is_taken_is_refused_with_resume_as_the_way_on(
    caller: Caller, write_script: WriteScript, request: pytest.FixtureRequest
) -> None:
    name = f"taken {request.node.name}"
    await caller.answer("create_dataset", name=name, items=[{"input": 1}])
    task = str(write_script("task.py", GOOD))
    await caller.answer("run_experiment", run_name="r", dataset=name, task_script=task)
    refusal = await caller.refusal("run_experiment", run_name="r", dataset=name, task_script=task)
    assert refusal.error.code == "run_exists"
    assert "'r'" in refusal.error.message
    assert any(step.arguments.get("resume") is True for step in refusal.next)
    again = await caller.answer("run_experiment", run_name="r", dataset=name, task_script=task, resume=True)
    assert RunAnswer.model_validate(again).succeeded == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "value"),
    [("max_concurrency", 0), ("sample_size", 0), ("repeats", 0), ("item_timeout", 0), ("wait_seconds", -1)],
)
@pytest.mark.anyio
async def test_a_number_out_of_its_range_is_refused_by_its_name(
    caller: Caller, dataset: str, write_script: WriteScript, argument: str, value: int
) -> None:
    arguments: dict[str, JsonValue] = {argument: value, "task_script": str(write_script("task.py", GOOD))}
    refusal = await caller.refusal("run_experiment", run_name="r", dataset=dataset, **arguments)
    assert refusal.error.code == "usage"
    assert argument in refusal.error.message
    assert "greater than" in refusal.error.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("run_experiment", {"concurrency": 50}, "no argument concurrency: the nearest is max_concurrency"),
        ("compare_runs", {"run_a": "x"}, "no argument run_a: the nearest is runs"),
        ("list_runs", {"zzz": 1}, "no argument zzz: the arguments are dataset, limit, cursor."),
        ("run_experiment", {"judges": "x"}, "judges: Input should be a valid list"),
        ("get_run", {"wait_seconds": "45s"}, "wait_seconds: Input should be a valid number"),
        ("run_experiment", {**RUN, "max_cost": True}, "max_cost: true is not a number"),
        ("get_run", {"dataset": "d", "run_name": "r", "below": False}, "below: false is not a number"),
        ("create_dataset", {"name": "x", "holdout": True}, "holdout: true is not a number"),
        ("run_experiment", {**RUN, "run_name": "a\nb"}, "control character"),
        ("run_experiment", {**RUN, "run_name": "a\x00b"}, "control character"),
        ("analyze_run", {"dataset": "d"}, "run_name is missing"),
        ("create_dataset", {"items": [{"input": 1, "expected": 2}]}, "items.0.expected"),
        ("create_dataset", {"name": "x", "traces": {"usr": "u"}}, "traces.usr"),
        ("create_dataset", {"name": "x", "from_run": "r"}, "name the dataset of the run"),
        ("create_dataset", {"name": "x", "dataset": "d", "from_run": "r", "only": "passing"}, "`failing`"),
    ],
)
@pytest.mark.anyio
async def test_an_argument_that_is_wrong_is_named_with_what_it_should_be(
    caller: Caller, tool: str, arguments: dict[str, JsonValue], says: str
) -> None:
    refusal = await caller.refusal(tool, **arguments)
    assert refusal.error.code == "usage"
    assert says in refusal.error.message
    for foreign in ("pydantic", "validation error", "Arguments"):
        assert foreign not in refusal.error.message


@pytest.mark.anyio
async def test_a_call_that_lacks_what_it_needs_says_what(caller: Caller, dataset: str) -> None:
    refusal = await caller.refusal("run_experiment", run_name="r", dataset=dataset)
    assert "task_script" in refusal.error.message
    assert "task_prompt" in refusal.error.message
    refusal = await caller.refusal("run_experiment", run_name="r", task_script="t.py")
    assert "dataset" in refusal.error.message
    assert "live" in refusal.error.message
    assert "runs" in (await caller.refusal("compare_runs", dataset=dataset, runs=["only one"])).error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_empty_dataset_is_refused_with_how_to_fill_it(caller: Caller, write_script: WriteScript) -> None:
    await caller.answer("create_dataset", name="empty one")
    task = str(write_script("task.py", GOOD))
    refusal = await caller.refusal("run_experiment", run_name="r", dataset="empty one", task_script=task)
    assert "'empty one'" in refusal.error.message
    assert "create_dataset" in {step.tool for step in refusal.next}


@pytest.mark.anyio
async def test_an_item_without_input_is_refused(caller: Caller) -> None:
    refusal = await caller.refusal("create_dataset", name="no input", items=[{"expected_output": "x"}])
    assert "input" in refusal.error.message
    refusal = await caller.refusal("create_dataset", name="no input", items=[{"input": None}])
    assert "input" in refusal.error.message


@pytest.mark.anyio
async def test_a_broken_line_of_a_file_is_named_and_nothing_is_stored(caller: Caller, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"input": 1}\n{"input": 2\n', encoding="utf-8")
    refusal = await caller.refusal("create_dataset", name="never stored", items_file=str(path))
    assert refusal.error.code == "data_file"
    assert "line 2" in refusal.error.message
    assert "'never stored'" in (await caller.refusal("list_runs", dataset="never stored")).error.message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a/b", "a,b", 'say "hi"', "it's", "näme 名前 🎉", "100% & more?#x"])
@pytest.mark.anyio
async def test_names_of_any_letters_work(caller: Caller, write_script: WriteScript, name: str) -> None:
    task = str(write_script("task.py", GOOD))
    await caller.answer("create_dataset", name=f"names {name}", items=[{"input": "x"}])
    run_name = f"{name} {type(caller).__name__} {id(caller)}"
    ran = await caller.answer("run_experiment", run_name=run_name, dataset=f"names {name}", task_script=task)
    assert RunAnswer.model_validate(ran).status == "completed"
    answer = await caller.answer("get_run", dataset=f"names {name}", run_name=run_name)
    read = RunDetail.model_validate(answer)
    assert (read.run_name, read.succeeded) == (run_name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("item_id", ["null", "{}", "[]", '{"a": 1}', "true", "7"])
@pytest.mark.anyio
async def test_a_text_that_could_be_json_is_read_as_the_text_that_it_is(
    caller: Caller, write_script: WriteScript, item_id: str, request: pytest.FixtureRequest
) -> None:
    name = f"json texts {request.node.name}"
    await caller.answer("create_dataset", name=name, items=[{"input": "another"}], description=item_id)
    task = str(write_script("task.py", GOOD))
    await caller.answer("run_experiment", run_name="r", dataset=name, task_script=task, description=item_id)
    refusal = await caller.refusal("get_run", dataset=name, run_name="r", item_id=item_id)
    assert repr(item_id) in refusal.error.message
    read = RunDetail.model_validate(await caller.answer("get_run", dataset=name, run_name="r", item_id=None))
    assert (len(read.items), read.description) == (1, item_id)


@pytest.mark.slow
@pytest.mark.anyio
async def test_an_item_whose_task_raises_scores_nothing_and_stops_nobody(
    caller: Caller, write_script: WriteScript, request: pytest.FixtureRequest
) -> None:
    name = f"raises {request.node.name}"
    await caller.answer("create_dataset", name=name, items=[{"input": number} for number in range(5)])
    task = write_script("task.py", "def task(*, item, **kwargs):\n    return 1 / (item.input - 2)\n")
    evaluators = write_script("evaluators.py", "def fine(*, output, **kwargs):\n    return 1.0\n")
    ran = RunAnswer.model_validate(
        await caller.answer(
            "run_experiment", run_name="r", dataset=name, task_script=str(task), evaluator_script=str(evaluators)
        )
    )
    assert (ran.status, ran.succeeded, ran.failed) == ("completed", 4, 1)
    assert "ZeroDivisionError" in ran.errors[0].error
    assert [(score.name, score.count) for score in ran.scores] == [("fine", 4)]


@pytest.mark.anyio
async def test_wrong_keys_are_refused_without_showing_them(settings: Settings, home: Path) -> None:
    wrong = settings.model_copy(update={"langfuse_secret_key": SecretStr("sk-lf-quite-wrong"), "home": home})
    async with Client(build_server(wrong)) as client:
        refusal = await Caller(client).refusal("list_runs", dataset="x")
    assert refusal.error.code == "credentials"
    assert "LANGFUSE_SECRET_KEY" in refusal.error.message
    assert "quite-wrong" not in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_server_that_cannot_be_reached_is_named(settings: Settings, home: Path) -> None:
    gone = settings.model_copy(update={"langfuse_url": "http://127.0.0.1:9", "home": home})
    async with Client(build_server(gone)) as client:
        refusal = await Caller(client).refusal("list_runs", dataset="x")
    assert refusal.error.code == "unreachable"
    assert "127.0.0.1:9" in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_one_key_of_two_is_an_error_that_says_so(home: Path) -> None:
    async with Client(stdio_server(home, None, LANGFUSE_PUBLIC_KEY="pk-lf-alone")) as client:
        assert (await client.list_tools()).tools
        refusal = await Caller(client).refusal("list_runs", dataset="x")
    assert refusal.error.code == "credentials"
    assert "LANGFUSE_SECRET_KEY" in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_variable_with_an_impossible_value_is_named(home: Path) -> None:
    async with Client(stdio_server(home, None, LFEXP_KEEP_RUNS="many")) as client:
        refusal = await Caller(client).refusal("list_runs", dataset="x")
    assert refusal.error.code == "usage"
    assert "LFEXP_KEEP_RUNS" in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_judge_that_does_not_exist_is_refused_before_anything_runs(
    caller: Caller, dataset: str, write_script: WriteScript
) -> None:
    refusal = await caller.refusal(
        "run_experiment",
        run_name="judged",
        dataset=dataset,
        task_script=str(write_script("task.py", GOOD)),
        judges=["judge-that-is-not-there"],
    )
    assert "judge-that-is-not-there" in refusal.error.message
    assert "create_judge" in {step.tool for step in refusal.next}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_judge_with_a_placeholder_nobody_fills_is_refused(
    settings: Settings, write_script: WriteScript
) -> None:
    keyed = settings.model_copy(update={"openai_api_key": SecretStr("sk-not-used")})
    async with Client(build_server(keyed)) as client:
        caller = Caller(client)
        await caller.answer("create_dataset", name=DATASET, items=[{"id": "bad-input-a", "input": "a"}])
        await caller.answer("create_judge", name="judge-odd-placeholder", prompt="Rate {{outptu}} from 0 to 10.")
        refusal = await caller.refusal(
            "run_experiment",
            run_name="judged",
            dataset=DATASET,
            task_script=str(write_script("task.py", GOOD)),
            judges=["judge-odd-placeholder"],
        )
    assert refusal.error.code == "judge"
    assert "outptu" in refusal.error.message
    assert "judge-odd-placeholder" in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_judge_without_a_key_of_its_model_is_refused_before_anything_runs(
    caller: Caller, dataset: str, write_script: WriteScript
) -> None:
    await caller.answer("create_judge", name="judge-keyless", prompt="Rate {{output}} from 0 to 10.")
    refusal = await caller.refusal(
        "run_experiment",
        run_name="judged",
        dataset=dataset,
        task_script=str(write_script("task.py", GOOD)),
        judges=["judge-keyless"],
    )
    assert refusal.error.code == "judge"
    assert "OPENAI_API_KEY" in refusal.error.message
    assert "ANTHROPIC_API_KEY" in refusal.error.message


@pytest.mark.slow
@pytest.mark.anyio
async def test_no_judges_found_is_said_with_how_to_make_one(home: Path, write_script: WriteScript) -> None:
    async with Client(build_server(Settings(home=home))) as client:
        caller = Caller(client)
        await caller.answer("create_dataset", name="unjudged", items=[{"input": "a"}])
        task = str(write_script("task.py", GOOD))
        refusal = await caller.refusal(
            "run_experiment", run_name="r", dataset="unjudged", task_script=task, use_langfuse_judges=True
        )
    stop_store(home / "store")
    assert "create_judge" in {step.tool for step in refusal.next}


@pytest.mark.anyio
async def test_a_judges_name_has_to_be_one_that_is_found(caller: Caller) -> None:
    assert "judge-" in (await caller.refusal("create_judge", name="accuracy", prompt="Rate {{output}}.")).error.message


@pytest.mark.slow
@pytest.mark.parametrize("path", ["nul\0.py", "x" * 5_000 + ".py", "~no-such-user-here/x.py"])
@pytest.mark.anyio
async def test_a_path_that_no_file_can_have_is_refused_by_every_argument(
    caller: Caller, dataset: str, write_script: WriteScript, path: str
) -> None:
    task = str(write_script("task.py", GOOD))
    said = [
        await caller.refusal("create_dataset", name=dataset, items_file=path.replace(".py", ".jsonl")),
        await caller.refusal("run_experiment", run_name="r", dataset=dataset, task_script=path),
        await caller.refusal("run_experiment", run_name="r", dataset=dataset, task_script=task, evaluator_script=path),
        await caller.refusal(
            "run_experiment", run_name="r", dataset=dataset, task_script=task, evaluator_script=task, python=path
        ),
    ]
    assert [refusal.error.code for refusal in said] == ["data_file", "script", "script", "worker"]
    assert all(len(refusal.error.message) < 1_000 for refusal in said[:3])
