"""Runs that are recorded and replayed: real SDKs in real workers, models on loopback."""

import json
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.answers.run import RunAnswer, RunDetail
from lfexp_mcp.errors import JudgeError, UsageError
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.recordings import RecordedRunRequest
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.providers.server import Failure, ProviderServer, Reply
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene, with_keys

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KEY = "sk-loopback-1234567890"
BOTH = """
import json
from anthropic import Anthropic
from openai import AsyncOpenAI, OpenAI

client = OpenAI()

def ask(text):
    answer = client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content

def task(*, item, **kwargs):
    message = Anthropic().messages.create(
        model="claude-test", max_tokens=9, messages=[{"role": "user", "content": item.input}]
    )
    return ask(item.input) + " | " + message.content[0].text
"""
ASK = BOTH.partition("def task")[0] + "def task(*, item, **kwargs):\n    return ask(item.input)\n"


@pytest.fixture
def _providers(
    openai_server: ProviderServer, anthropic_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, server in (("OPENAI", openai_server), ("ANTHROPIC", anthropic_server)):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.setenv(f"{name}_BASE_URL", server.base_url)
        server.respond = lambda call: Reply(f"{call.text.split()[-1]}!")


class Recorder:
    """Records a run, and replays it without models."""

    def __init__(self, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene = scene
        self.settings = settings
        self.file = scene.folder / "recording.jsonl"
        self._patch = monkeypatch

    async def run(self, script: Path | None, run_name: str = "recorded", **arguments: Any) -> RunAnswer:  # noqa: ANN401
        """Make a run, recorded unless told otherwise."""
        how = {} if arguments.keys() & {"record", "replay"} else {"record": self.file}
        given = {"dataset": self.scene.dataset, "run_name": run_name, "task_script": script, **how, **arguments}
        async with open_workspace(with_keys(self.settings)) as ws:
            return await run_experiment(ws, RecordedRunRequest.model_validate(given), wait_seconds=PATIENCE_S)

    async def replay(self, script: Path | None, run_name: str = "replayed", **arguments: Any) -> RunAnswer:  # noqa: ANN401
        """Replay it where no key is set and no model can be reached."""
        for name in ("OPENAI", "ANTHROPIC"):
            self._patch.delenv(f"{name}_API_KEY")
            self._patch.setenv(f"{name}_BASE_URL", "http://127.0.0.1:9")
        return await self.run(script, run_name, replay=self.file, record=None, **arguments)

    def lines(self) -> list[dict[str, Any]]:
        """What the file holds."""
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines() if line]


@pytest.fixture
def recorder(_providers: None, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    scene.folder.mkdir(parents=True, exist_ok=True)
    return Recorder(scene, settings, monkeypatch)


def _counts(answer: RunAnswer) -> dict[str, tuple[int, int]]:
    return {score.name: (score.count, score.unscored) for score in answer.scores}


def _outcomes(run: RunDetail, score: str) -> dict[str, tuple[object, list[object]]]:
    return {item.item_id: (item.output, [one.value for one in item.scores if one.name == score]) for item in run.items}


async def test_a_replay_gives_the_recorded_outputs_and_verdicts_and_asks_no_model(
    recorder: Recorder, openai_server: ProviderServer, anthropic_server: ProviderServer
) -> None:
    scene = recorder.scene
    await scene.fill(4)
    scores = iter((7, 3, 9, 5))
    openai_server.respond = lambda call: (
        Reply(f'{{"reasoning": "r", "score": {next(scores)}}}') if "judge" in call.text else Reply(call.text + "!")
    )
    judge = f"judge-{scene.dataset}"
    await create_judge(scene.ws, judge, "Rate {{input}}: {{output}}", config={"scale": "0-10", "model": "gpt-test"})
    recorded = await recorder.run(scene.script(BOTH), judges=[judge], evaluators=["latency", "cost"])
    assert (recorded.status, recorded.replayed) == ("completed", False)
    assert _counts(recorded) == {scene.dataset: (4, 0), "latency": (4, 0), "cost": (0, 4)}
    asked = len(openai_server.calls), len(anthropic_server.calls)
    assert asked == (8, 4)

    text = recorder.file.read_text(encoding="utf-8")
    assert KEY not in text
    assert not {"headers", "authorization", "x-api-key"} & set(recorder.lines()[1])
    assert recorder.lines()[-1] == {"calls": 12}

    replayed = await recorder.replay(scene.script(BOTH), judges=[judge], evaluators=["latency", "cost"])
    assert (replayed.status, replayed.replayed) == ("completed", True)
    assert (len(openai_server.calls), len(anthropic_server.calls)) == asked
    assert (replayed.models, replayed.cost_usd) == ([], None)
    assert _counts(replayed) == {scene.dataset: (4, 0), "latency": (0, 4), "cost": (0, 4)}

    async with open_workspace(recorder.settings) as ws:
        before, after = [await get_run(ws, scene.dataset, name) for name in ("recorded", "replayed")]
        listed = {run.name: run.replayed for run in (await list_runs(ws, scene.dataset)).runs}
        whole = await get_run(ws, scene.dataset, "replayed", item_id=scene.item_id(0))
        request = CompareRequest(dataset=scene.dataset, runs=["recorded", "replayed"], fail_if=["worse"])
        comparison = await compare_runs(ws, request)
    assert _outcomes(before, scene.dataset) == _outcomes(after, scene.dataset)
    assert listed == {"recorded": False, "replayed": True}
    assert {item.seconds for item in after.items} == {None}
    assert whole.replayed
    assert {(each.seconds, each.cost_usd) for each in whole.items[0].observations} <= {(None, None)}
    metrics = {run.run: run for run in comparison.runs}
    assert metrics["replayed"].replayed
    assert (metrics["replayed"].seconds_median, metrics["replayed"].cost_usd, metrics["replayed"].input_tokens) == (
        None,
        None,
        None,
    )
    assert [contrast.measure for contrast in comparison.contrasts] == []
    assert [issue.unfair for issue in comparison.comparability if issue.kind == "replay"] == [True]
    assert {score.verdict for score in comparison.scores} == {"not comparable"}
    assert comparison.gate is not None
    assert not comparison.gate.passed
    with pytest.raises(UsageError, match="'replayed'"):
        await recorder.run(scene.script(BOTH), "stops", record=None, compare_with="replayed", stop_when="decided")


async def test_a_call_that_was_not_recorded_fails_the_replay_and_says_what_changed(
    recorder: Recorder, openai_server: ProviderServer
) -> None:
    scene = recorder.scene
    await scene.fill(2)
    await recorder.run(scene.script(ASK))
    asked = len(openai_server.calls)
    edited = ASK.replace("ask(item.input)", "ask('Briefly: ' + item.input)")
    caught = (
        "    try:\n        return ask('Briefly: ' + item.input)\n    except Exception:\n        return 'no answer'\n"
    )
    swallowed = ASK.replace("    return ask(item.input)\n", caught)
    failed = await recorder.replay(scene.script(edited))
    assert (failed.status, failed.failed, len(openai_server.calls)) == ("failed", 2, asked)
    assert all(
        "messages[0].content: 'input" in error.error and "'Briefly: input" in error.error for error in failed.errors
    )
    # A task that goes on without its model has no result of the recorded run either.
    hidden = await recorder.run(scene.script(swallowed), "hidden", replay=recorder.file)
    assert (hidden.status, hidden.succeeded, len(openai_server.calls)) == ("failed", 2, asked)
    assert "2 calls" in " ".join(hidden.warnings)
    async with open_workspace(recorder.settings) as ws:
        request = CompareRequest(dataset=scene.dataset, runs=["recorded", "hidden"], fail_if=["error_rate>5%"])
        gate = (await compare_runs(ws, request)).gate
    assert gate is not None
    assert not gate.passed


STREAMED = """
import anthropic
import openai

async def task(*, item, **kwargs):
    messages = [{"role": "user", "content": item.input}]
    said = []
    stream = await openai.AsyncOpenAI().chat.completions.create(model="gpt-test", messages=messages, stream=True)
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")
    asked = anthropic.AsyncAnthropic().messages.stream(model="claude-test", max_tokens=9, messages=messages)
    async with asked as stream:
        async for text in stream.text_stream:
            said.append(text)
    return said
"""


async def test_streamed_replies_are_replayed_and_equal_requests_get_their_replies_in_order(
    recorder: Recorder, openai_server: ProviderServer
) -> None:
    scene = recorder.scene
    await scene.fill(1)
    numbers = iter(range(9))
    openai_server.respond = lambda _call: Reply(f"reply {next(numbers)}")
    recorded = await recorder.run(scene.script(STREAMED), repeats=3, max_concurrency=1)
    assert recorded.status == "completed"
    replayed = await recorder.replay(scene.script(STREAMED), repeats=3, max_concurrency=1)
    assert replayed.status == "completed"
    async with open_workspace(recorder.settings) as ws:
        runs = [await get_run(ws, scene.dataset, name) for name in ("recorded", "replayed")]
    outputs = [{item.repeat: item.output for item in run.items} for run in runs]
    assert outputs[0] == outputs[1]
    assert outputs[0] == {repeat: ["rep", f"ly {repeat}", "0!", ""] for repeat in range(3)}


async def test_a_judge_whose_model_refuses_a_parameter_is_replayed_whatever_the_order_of_calls(
    recorder: Recorder, openai_server: ProviderServer
) -> None:
    scene = recorder.scene
    await scene.fill(5)
    openai_server.respond = lambda call: (
        Failure(400, "No.", param="temperature", headers={"x-key": KEY}) if "temperature" in call.body else Reply()
    )
    judge = f"judge-{scene.dataset}"
    await create_judge(scene.ws, judge, "Rate {{output}}", config={"scale": "0-10", "model": "gpt-test"})
    upper = scene.script("def task(*, item, **kwargs):\n    return item.input.upper()\n")
    recorded = await recorder.run(upper, judges=[judge], max_concurrency=1)
    assert _counts(recorded) == {scene.dataset: (5, 0)}
    replayed = await recorder.replay(upper, judges=[judge], max_concurrency=5)
    assert (replayed.status, _counts(replayed)) == ("completed", {scene.dataset: (5, 0)})


async def test_what_a_replay_cannot_be_is_refused_before_it_begins(recorder: Recorder) -> None:
    scene = recorder.scene
    await scene.fill(1)
    script = scene.script(ASK)
    with pytest.raises(UsageError, match=r"missing\.jsonl"):
        await recorder.run(script, replay=scene.folder / "missing.jsonl")
    await recorder.run(script)
    with pytest.raises(UsageError, match=recorder.file.name):
        await recorder.run(script, "another")
    with pytest.raises(UsageError, match="'recorded'"):
        await recorder.run(script, "recorded", resume=True, replay=recorder.file)
    judge = f"judge-{scene.dataset}"
    await create_judge(scene.ws, judge, "Rate {{trace}}", config={"scale": "0-10", "model": "gpt-test"})
    with pytest.raises(JudgeError, match="trace"):
        await recorder.run(script, "another", replay=recorder.file, judges=[judge])
    # A live run goes on as one, and a replay as a replay, without being told again.
    replayed = await recorder.replay(script)
    again = await recorder.run(script, "replayed", resume=True, record=None)
    assert (replayed.replayed, again.replayed, again.status) == (True, True, "completed")
    recorder.file.write_text(recorder.file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=recorder.file.name):
        await recorder.run(script, "replayed", resume=True, record=None)


STOPS_READING = """
import httpx
import openai

def task(*, item, **kwargs):
    messages = [{"role": "user", "content": item.input}]
    stream = openai.OpenAI().chat.completions.create(model="gpt-test", messages=messages, stream=True)
    first = next(iter(stream)).choices[0].delta.content
    stream.close()
    if item.input == "input 1" and item.metadata.get("elsewhere"):
        try:
            httpx.get("http://192.0.2.1/")
        except Exception:
            return "not reached"
    return first
"""


async def test_a_reply_that_was_not_read_to_its_end_is_replayed_and_other_machines_are_not_reached(
    recorder: Recorder, openai_server: ProviderServer
) -> None:
    scene = recorder.scene
    await scene.fill(2)
    openai_server.respond = lambda _call: Reply("one, two, three " * 50_000)
    recorded = await recorder.run(scene.script(STOPS_READING))
    replayed = await recorder.replay(scene.script(STOPS_READING))
    assert (recorded.status, replayed.status) == ("completed", "completed")
    assert not any("recorded replies" in warning for warning in replayed.warnings)
    strays = scene.script(STOPS_READING.replace('item.metadata.get("elsewhere")', "True"))
    strayed = await recorder.run(strays, "strayed", replay=recorder.file)
    assert (strayed.status, strayed.succeeded) == ("failed", 2)
    assert "'192.0.2.1'" in " ".join(strayed.warnings)
