"""What needs a model: the specification's scripts as printed, judges, live mode; models are loopback servers."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from mcp import Client
from pydantic import JsonValue, SecretStr

from lfexp_mcp.answers.run import RunAnswer, RunDetail
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import ensure_store, stop_store
from lfexp_mcp.tools.server import build_server
from tests.providers.server import ProviderServer, Reply
from tests.tools.conftest import Caller, WriteScript
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

ECHO = "def task(*, item, **kwargs):\n    return item.input\n"
TRACES = """
import time

from langfuse import Langfuse

langfuse = Langfuse()
for number in range(5):
    with langfuse.start_as_current_observation(as_type="span", name="answer", input=f"question {number}") as span:
        span.update(output=f"answer {number}")
    # Langfuse keeps milliseconds: traces of the same one have no order.
    time.sleep(0.005)
langfuse.flush()
"""


@pytest.fixture
def model_keys(openai_for_workers: ProviderServer) -> dict[str, SecretStr | str]:
    """The environment and the settings by which runs and judges reach a model."""
    return {"openai_api_key": SecretStr("sk-loopback"), "openai_base_url": openai_for_workers.base_url}


@pytest.fixture
async def modelled(settings: Settings, model_keys: dict[str, SecretStr | str]) -> AsyncIterator[Caller]:
    """A server that reaches a model."""
    async with Client(build_server(settings.model_copy(update=model_keys))) as client:
        yield Caller(client)


@pytest.fixture
async def alone(home: Path, model_keys: dict[str, SecretStr | str]) -> AsyncIterator[Caller]:
    """The same on a store of its own, in which there is nothing yet."""
    async with Client(build_server(Settings(home=home).model_copy(update=model_keys))) as client:
        yield Caller(client)
    stop_store(home / "store")


async def _run(caller: Caller, dataset: str, **arguments: JsonValue) -> RunAnswer:
    run = RunAnswer.model_validate(await caller.answer("run_experiment", dataset=dataset, **arguments))
    assert run.status == "completed", run
    return run


@pytest.mark.parametrize("script", ["task_documented.py", "task_simple.py"])
@pytest.mark.anyio
async def test_the_specified_tasks_work_as_printed(
    modelled: Caller, openai_server: ProviderServer, specified: Callable[[str], Path], script: str
) -> None:
    openai_server.script(Reply(text="four"))
    dataset = f"printed {script}"
    await modelled.answer("create_dataset", name=dataset, items=[{"input": "Two and two?"}])
    await _run(modelled, dataset, run_name="r", task_script=str(specified(script)))
    detail = RunDetail.model_validate(await modelled.answer("get_run", dataset=dataset, run_name="r"))
    assert detail.items[0].output == "four"
    assert ("user", "Two and two?") in openai_server.calls[0].messages


@pytest.mark.anyio
async def test_the_specified_task_on_a_prompt_works_as_printed(
    modelled: Caller, workspace: Workspace, openai_server: ProviderServer, specified: Callable[[str], Path]
) -> None:
    await workspace.gateway.prompts.create(
        "my-prompt", "Answer in one word.", config={}, labels=["production"], tags=[]
    )
    openai_server.script(Reply(text="four"))
    await modelled.answer("create_dataset", name="printed prompt", items=[{"input": "Two and two?"}])
    await _run(modelled, "printed prompt", run_name="r", task_script=str(specified("task_prompt.py")))
    assert ("system", "Answer in one word.") in openai_server.calls[0].messages


@pytest.mark.anyio
async def test_the_specified_pipeline_imports_its_neighbour(
    modelled: Caller, specified: Callable[[str], Path], write_script: WriteScript
) -> None:
    write_script("my_pipeline.py", "def run_pipeline(text, config):\n    return f'{text} in {config[\"language\"]}'\n")
    items: list[JsonValue] = [{"input": "hello", "metadata": {"language": "Latin"}}]
    await modelled.answer("create_dataset", name="printed pipeline", items=items)
    await _run(modelled, "printed pipeline", run_name="r", task_script=str(specified("task_pipeline.py")))
    detail = RunDetail.model_validate(await modelled.answer("get_run", dataset="printed pipeline", run_name="r"))
    assert detail.items[0].output == "hello in Latin"


@pytest.mark.anyio
async def test_the_specified_judging_evaluator_works_as_printed(
    modelled: Caller, openai_server: ProviderServer, specified: Callable[[str], Path], write_script: WriteScript
) -> None:
    openai_server.script(Reply(text="7"))
    await modelled.answer("create_dataset", name="printed judge", items=[{"input": "x", "expected_output": "x"}])
    run = await _run(
        modelled,
        "printed judge",
        run_name="r",
        task_script=str(write_script("task.py", ECHO)),
        evaluator_script=str(specified("llm_judge_evaluators.py")),
    )
    assert [(score.name, score.mean) for score in run.scores] == [("llm_judge", 0.7)]


@pytest.mark.anyio
async def test_judges_are_found_in_the_specified_order(alone: Caller, write_script: WriteScript) -> None:
    names = [f"judge-{number:02d}" for number in range(12)]
    for name in names:
        await alone.answer("create_judge", name=name, prompt="Rate {{output}} for {{input}} from 0 to 10.")
    task = str(write_script("task.py", ECHO))
    await alone.answer("create_dataset", name="plain", items=[{"input": "a"}])
    await alone.answer(
        "create_dataset", name="with judges", items=[{"input": "b"}], metadata={"judge_prompts": ["judge-03"]}
    )
    named = await _run(alone, "with judges", run_name="named", task_script=task, judges=["judge-01", "judge-02"])
    own = await _run(alone, "with judges", run_name="own", task_script=task, use_langfuse_judges=True)
    every = await _run(alone, "plain", run_name="every", task_script=task, use_langfuse_judges=True)
    assert {score.name for score in named.scores} == {"01", "02"}
    assert {score.name for score in own.scores} == {"03"}
    assert {score.name for score in every.scores} == {name.removeprefix("judge-") for name in names}
    assert [(score.mean, score.display, score.scale) for score in own.scores] == [(0.8, "0.80 (8/10)", "0-10")]


@pytest.mark.anyio
async def test_live_mode_makes_a_dataset_of_the_newest_traces(
    alone: Caller, home: Path, write_script: WriteScript, tmp_path: Path
) -> None:
    await alone.answer("create_dataset", name="starts the store")
    traces = tmp_path / "traces.py"
    traces.write_text(TRACES, encoding="utf-8")
    _trace(home, traces)
    run = RunAnswer.model_validate(
        await alone.answer(
            "run_experiment",
            run_name="today",
            source_type="live",
            sample_size=3,
            task_script=str(write_script("task.py", ECHO)),
        )
    )
    assert (run.dataset, run.status, run.succeeded) == ("live-today", "completed", 3)
    detail = RunDetail.model_validate(await alone.answer("get_run", dataset="live-today", run_name="today"))
    assert {item.input for item in detail.items} == {"question 2", "question 3", "question 4"}


def _trace(home: Path, script: Path) -> None:
    """Trace as an application does that has the keys of the store."""
    store = ensure_store(home / "store")
    environment = {
        **os.environ,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
        "LANGFUSE_BASE_URL": store.base_url,
    }
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=PATIENCE_S)
