"""Tasks that a client without a model solves by what answers say: their next steps, names, schemas and cursors."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from mcp import Client
from pydantic import JsonValue, SecretStr

from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.server import build_server
from tests.agent.client import Agent, Answer, Call
from tests.providers.server import ProviderServer, Reply

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

SCRIPTS = {
    "baseline": "def task(*, item, **kwargs):\n    return item.input if int(item.input) % 2 else 'unknown'\n",
    "better": "def task(*, item, **kwargs):\n    return item.input\n",
    "failing": "def task(*, item, **kwargs):\n    return 1 / int(item.input)\n",
    "without_task": "def answer(*, item, **kwargs):\n    return item.input\n",
    "slow": "import time\n\n\ndef task(*, item, **kwargs):\n    time.sleep(0.2)\n    return item.input\n",
    "endless": "import asyncio\n\n\nasync def task(*, item, **kwargs):\n    await asyncio.sleep(600)\n",
    "evaluators": (
        "def right(*, output, expected_output, **kwargs):\n    return float(output == expected_output)\n\n\n"
        "EVALUATORS = [right]\n"
    ),
}
ITEMS: list[dict[str, JsonValue]] = [
    {"input": str(number), "expected_output": str(number), "metadata": {"kind": "odd" if number % 2 else "even"}}
    for number in range(12)
]
JUDGE = "Is {{output}} a number? Score 0 to 10."


class Scene:
    """A server, a dataset of its own, and the files that the agent knows of."""

    def __init__(self, client: Client, folder: Path, name: str) -> None:
        self.client = client
        self.dataset = name
        self.paths = {name: str(folder / f"{name}.py") for name in SCRIPTS}
        self.items_file = str(folder / "items.jsonl")

    def agent(self, **facts: JsonValue) -> Agent:
        """An agent that knows the dataset and these facts; a list is of values to try one after the other."""
        known = {"dataset": self.dataset, **facts}
        return Agent(
            self.client, {name: value if isinstance(value, list) else [value] for name, value in known.items()}
        )

    async def call(self, tool: str, **arguments: JsonValue) -> Answer:
        """Make a call before the agent comes."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return result.structured_content or {}

    async def fill(self) -> None:
        """Make the dataset, with its items."""
        items: list[JsonValue] = [{"id": f"{self.dataset}-{place}", **item} for place, item in enumerate(ITEMS)]
        await self.call("create_dataset", name=self.dataset, items=items)

    async def run(self, run_name: str, script: str, **more: JsonValue) -> Answer:
        """Run a script over the dataset, with the evaluators unless `more` says otherwise."""
        scripts = {"task_script": self.paths[script], "evaluator_script": self.paths["evaluators"]}
        return await self.call("run_experiment", **{"dataset": self.dataset, "run_name": run_name, **scripts, **more})


@pytest.fixture
async def scene(settings: Settings, tmp_path: Path, openai_for_workers: ProviderServer) -> AsyncIterator[Scene]:
    """A server that reaches a judge's model, and a dataset that is not there yet."""
    openai_for_workers.script(Reply('{"score": 8, "reasoning": "A number."}'))
    for name, source in SCRIPTS.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    (tmp_path / "items.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in ITEMS), encoding="utf-8")
    changes = {
        "openai_api_key": SecretStr("sk-loopback"),
        "openai_base_url": openai_for_workers.base_url,
        "cancel_grace": 0.1,
    }
    async with Client(build_server(settings.model_copy(update=changes))) as client:
        yield Scene(client, tmp_path, uuid4().hex)


def completed(answer: Answer) -> bool:
    return answer.get("status") == "completed"


def scored(answer: Answer) -> bool:
    return completed(answer) and bool(answer.get("scores"))


def always(_answer: Answer) -> bool:
    return True


def _rows(answer: Answer, name: str) -> list[dict[str, JsonValue]]:
    rows = answer.get(name, [])
    assert isinstance(rows, list)
    return [row for row in rows if isinstance(row, dict)]


def _verdicts(answer: Answer) -> Mapping[JsonValue, JsonValue]:
    return {row["run"]: row["verdict"] for row in _rows(answer, "scores")}


async def test_a_dataset_that_is_missing_is_created_and_filled_and_run(scene: Scene) -> None:
    agent = scene.agent(run_name="first", task_script=scene.paths["better"], items_file=scene.items_file)
    answer = await agent.pursue("run_experiment", completed)
    assert answer["succeeded"] == len(ITEMS)


async def test_from_a_list_of_datasets_to_a_scored_run(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="first", task_script=scene.paths["better"], evaluator_script=scene.paths["evaluators"])
    start = Call("get_dataset", {"dataset": scene.dataset})
    await agent.pursue("run_experiment", completed, start)


async def test_an_empty_dataset_is_filled(scene: Scene) -> None:
    await scene.call("create_dataset", name=scene.dataset)
    agent = scene.agent(run_name="first", task_script=scene.paths["better"], items_file=scene.items_file)
    await agent.pursue("run_experiment", completed)


async def test_a_misspelt_dataset_is_corrected(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    for tool in ("get_run", "analyze_run", "fetch_annotation_comments", "list_runs", "get_dataset"):
        agent = scene.agent(dataset=scene.dataset[:-1], run_name="first")
        await agent.pursue(tool, always)
        assert len(agent.calls) == 2, tool


async def test_a_misspelt_run_is_corrected(scene: Scene) -> None:
    await scene.fill()
    await scene.run("with-context", "baseline")
    for tool in ("get_run", "analyze_run", "fetch_annotation_comments", "cancel_run"):
        agent = scene.agent(run_name="with-contxt")
        await agent.pursue(tool, always)
        assert len(agent.calls) == 2, tool


async def test_a_misspelt_run_in_a_list_is_corrected(scene: Scene) -> None:
    await scene.fill()
    await scene.run("with-context", "baseline")
    await scene.run("second", "better")
    agent = scene.agent()
    start = Call("compare_runs", {"dataset": scene.dataset, "runs": ["with-contxt", "second"]})
    answer = await agent.pursue("compare_runs", always, start)
    assert _verdicts(answer) == {"second": "better"}


async def test_a_misspelt_score_is_corrected(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    await scene.run("second", "better")
    start = Call("compare_runs", {"dataset": scene.dataset, "runs": ["first", "second"], "score_name": "rihgt"})
    answer = await scene.agent().pursue("compare_runs", always, start)
    assert [row["score"] for row in _rows(answer, "scores")] == ["right"]


async def test_a_misspelt_item_is_corrected(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    agent = scene.agent(run_name="first", item_id=f"{scene.dataset}7")
    answer = await agent.pursue("get_run", always)
    assert [row["item_id"] for row in _rows(answer, "items")] == [f"{scene.dataset}-7"]


async def test_a_run_name_that_is_taken_is_resumed(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    agent = scene.agent(run_name="first", task_script=scene.paths["baseline"])
    await agent.pursue("run_experiment", completed)


async def test_a_script_without_a_task_is_exchanged(scene: Scene) -> None:
    await scene.fill()
    scripts: list[JsonValue] = [scene.paths["without_task"], scene.paths["better"]]
    answer = await scene.agent(run_name="first", task_script=scripts).pursue("run_experiment", completed)
    assert answer["succeeded"] == len(ITEMS)


async def test_a_run_that_outlives_its_call_is_followed_to_its_end(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="slow", task_script=scene.paths["slow"], wait_seconds=0)
    answer = await agent.pursue(
        "get_run", completed, Call("run_experiment", (await agent.first("run_experiment")).arguments)
    )
    assert answer["succeeded"] == len(ITEMS)


async def test_a_run_that_does_not_end_is_cancelled(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="endless", task_script=scene.paths["endless"], wait_seconds=0)
    start = await agent.first("run_experiment")
    await agent.pursue("cancel_run", lambda answer: answer["status"] == "cancelled", start)


async def test_a_cancelled_run_is_resumed(scene: Scene) -> None:
    await scene.fill()
    await scene.run("slow", "slow", wait_seconds=0, max_concurrency=1)
    await scene.call("cancel_run", dataset=scene.dataset, run_name="slow")
    start = Call("get_run", {"dataset": scene.dataset, "run_name": "slow", "wait_seconds": 30})
    await scene.agent().pursue("run_experiment", completed, start)


async def test_failed_items_are_found_with_their_error(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="failing", task_script=scene.paths["failing"])
    answer = await agent.pursue(
        "get_run", lambda answer: bool(_rows(answer, "items")), await agent.first("run_experiment")
    )
    assert any("ZeroDivisionError" in str(row.get("error")) for row in _rows(answer, "items"))


async def test_a_run_without_scores_is_scored(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="first", task_script=scene.paths["better"], evaluator_script=scene.paths["evaluators"])
    start = Call(
        "run_experiment", {"dataset": scene.dataset, "run_name": "first", "task_script": scene.paths["better"]}
    )
    await agent.pursue("run_experiment", scored, start)


async def test_a_sample_is_extended_to_the_whole_dataset(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="part", task_script=scene.paths["better"], items=3)
    start = await agent.first("run_experiment")
    more = {**start.arguments, "evaluator_script": scene.paths["evaluators"]}
    await agent.pursue(
        "run_experiment",
        lambda answer: completed(answer) and answer.get("succeeded") == len(ITEMS),
        Call("run_experiment", more),
    )


async def test_a_dry_run_is_followed_by_the_run(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="first", task_script=scene.paths["better"], dry_run=True)
    answer = await agent.pursue("run_experiment", lambda answer: answer.get("succeeded") == len(ITEMS))
    assert completed(answer)


async def test_the_newest_two_runs_are_compared(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    await scene.run("second", "better")
    answer = await scene.agent().pursue("compare_runs", always, Call("list_runs", {"dataset": scene.dataset}))
    assert _verdicts(answer) == {"second": "better"}


async def test_a_finished_run_leads_to_a_comparison_with_the_one_before(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    agent = scene.agent(
        run_name="second", task_script=scene.paths["better"], evaluator_script=scene.paths["evaluators"]
    )
    answer = await agent.pursue("compare_runs", always, await agent.first("run_experiment"))
    assert _verdicts(answer) == {"second": "better"}


async def test_variants_are_ranked_and_then_compared(scene: Scene) -> None:
    await scene.fill()
    variants: list[JsonValue] = [{"name": name, "task_script": scene.paths[name]} for name in ("baseline", "better")]
    agent = scene.agent(run_name="sweep", evaluator_script=scene.paths["evaluators"], variants=[variants])
    answer = await agent.pursue("compare_runs", always, await agent.first("run_experiment"))
    assert _verdicts(answer) == {"sweep-better": "better"}


async def test_an_item_that_got_worse_is_read(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "better")
    await scene.run("second", "baseline")
    start = Call("compare_runs", {"dataset": scene.dataset, "runs": ["first", "second"]})
    answer = await scene.agent().pursue("get_run", always, start)
    assert [row["output"] for row in _rows(answer, "items")] == ["unknown"]


async def test_the_worst_item_of_a_run_is_read(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    start = Call("analyze_run", {"dataset": scene.dataset, "run_name": "first"})
    answer = await scene.agent().pursue("get_run", always, start)
    assert [row["output"] for row in _rows(answer, "items")] == ["unknown"]


async def test_an_item_is_found_on_a_later_page(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    agent = scene.agent(run_name="first", limit=3)
    wanted = f"{scene.dataset}-11"
    await agent.pursue("get_run", lambda answer: wanted in [row["item_id"] for row in _rows(answer, "items")])


async def test_a_cursor_of_nowhere_starts_the_list_over(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    answer = await scene.agent(run_name="first", cursor="page-2").pursue("get_run", always)
    assert len(_rows(answer, "items")) == len(ITEMS)


async def test_comments_of_people_are_looked_for_after_an_analysis(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    start = Call("analyze_run", {"dataset": scene.dataset, "run_name": "first"})
    await scene.agent().pursue("fetch_annotation_comments", always, start)


async def test_a_judge_that_is_missing_is_created(scene: Scene) -> None:
    await scene.fill()
    judge = f"judge-{uuid4().hex}"
    agent = scene.agent(run_name="judged", task_script=scene.paths["better"], judges=[[judge]], prompt=JUDGE)
    answer = await agent.pursue("run_experiment", completed)
    assert [row["mean"] for row in _rows(answer, "scores")] == [0.8]


async def test_a_new_judge_scores_a_run(scene: Scene) -> None:
    await scene.fill()
    agent = scene.agent(run_name="judged", task_script=scene.paths["better"])
    start = Call("create_judge", {"name": f"judge-{uuid4().hex}", "prompt": JUDGE})
    answer = await agent.pursue("run_experiment", scored, start)
    assert [row["mean"] for row in _rows(answer, "scores")] == [0.8]


async def test_a_run_that_lacks_the_judge_of_the_other_is_scored_and_compared(scene: Scene) -> None:
    await scene.fill()
    judge = f"judge-{uuid4().hex}"
    await scene.call("create_judge", name=judge, prompt=JUDGE)
    await scene.call("run_experiment", dataset=scene.dataset, run_name="first", task_script=scene.paths["baseline"])
    judged: list[JsonValue] = [judge]
    await scene.run("second", "better", judges=judged, evaluator_script=None)
    start = Call("compare_runs", {"dataset": scene.dataset, "runs": ["first", "second"]})
    agent = scene.agent()
    answer = await agent.pursue("score_run", scored, start)
    assert answer["run_name"] == "first"


async def test_a_prompt_that_is_missing_is_created_and_run(scene: Scene) -> None:
    await scene.fill()
    name = f"answer-{uuid4().hex}"
    agent = scene.agent(run_name="prompted", task_prompt=name, prompt="Say {{input}}", model="gpt-x", provider="openai")
    answer = await agent.pursue("run_experiment", completed)
    assert answer["succeeded"] == len(ITEMS)


async def test_a_gate_that_fails_leads_to_the_items_behind_it(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "better")
    await scene.run("second", "baseline")
    start = Call("compare_runs", {"dataset": scene.dataset, "runs": ["first", "second"], "fail_if": ["worse"]})
    answer = await scene.agent().pursue("analyze_run", always, start)
    assert answer["run_name"] == "second"


async def test_a_run_of_a_list_is_analyzed(scene: Scene) -> None:
    await scene.fill()
    await scene.run("first", "baseline")
    answer = await scene.agent().pursue("analyze_run", always, Call("list_runs", {"dataset": scene.dataset}))
    assert answer["run_name"] == "first"
