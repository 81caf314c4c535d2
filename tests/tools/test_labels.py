"""From a run to labels, and from labels to a judge that is checked: through the server, and in the shell."""

import json
import re
from pathlib import Path
from uuid import uuid4

import anyio.to_thread
import pytest
from mcp import Client
from pydantic import JsonValue, SecretStr

from lfexp_mcp.answers.labels import JudgeCheck, LabelsAnswer
from lfexp_mcp.cli.app import run_command
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.server import build_server
from tests.providers.server import Call, Outcome, ProviderServer, Reply
from tests.services.humans import Humans
from tests.services.labels.people import queue_named
from tests.tools.conftest import Caller, WriteScript, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_SHOWN = re.compile(r"<data-\w+>the answer (\d+)</data-\w+>")
ITEMS = 24


@pytest.fixture
def judged(settings: Settings, openai_for_workers: ProviderServer) -> Settings:
    """Settings whose judges, in this process and in workers, are asked on loopback; each gives 5 of 10."""
    openai_for_workers.respond = lambda _: Reply('{"reasoning": "So.", "score": 5}')
    keys = {"openai_api_key": SecretStr("sk-loopback"), "openai_base_url": openai_for_workers.base_url}
    return settings.model_copy(update=keys)


async def _label(settings: Settings, humans: Humans, dataset: str, queue: str, value: float) -> None:
    """Let people give all that is in a queue the same value."""
    async with open_workspace(settings) as ws:
        record = await read_run(ws, dataset, "first")
        traces = {item.observation_id: item.trace_id for item in record.items}
        found = await queue_named(ws, queue)
        for entry in await ws.gateway.queues.items(found.id):
            trace = traces[entry.object_id]
            assert trace is not None
            config = found.score_config_ids[0]
            humans.annotate("human-tone", value, config, trace, entry.object_id, queue_id=found.id)


async def test_a_run_is_labelled_and_its_judge_is_checked(
    judged: Settings,
    openai_server: ProviderServer,
    humans: Humans,
    write_script: WriteScript,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset, judge = f"labels {uuid4().hex[:8]}", f"judge-{uuid4().hex[:8]}"
    config: dict[str, JsonValue] = {"model": "gpt-test", "score_name": "tone"}
    script = write_script("task.py", "def task(*, item, **kwargs):\n    return f'the answer {item.input}'\n")
    about: dict[str, JsonValue] = {"dataset": dataset, "run_name": "first", "score_name": "tone"}
    async with Client(build_server(judged)) as client:
        caller = Caller(client)
        items: list[JsonValue] = [{"input": f"{n}"} for n in range(ITEMS)]
        await caller.answer("create_dataset", name=dataset, items=items)
        await caller.answer("create_judge", name=judge, prompt="Rate {{output}} from 0 to 10.", config=config)
        run: dict[str, JsonValue] = {
            "dataset": dataset,
            "run_name": "first",
            "task_script": str(script),
            "judges": [judge],
        }
        await caller.answer("run_experiment", **run)

        refusal = await caller.refusal("check_judge", **about)
        assert (refusal.error.code, refusal.next[0].tool) == ("usage", "request_labels")
        asked = LabelsAnswer.model_validate(await caller.answer("request_labels", **about, n=22))
        assert (asked.population, asked.drawn, asked.labelled, asked.random) == (ITEMS, 22, 0, 0)
        await _label(judged, humans, dataset, asked.queue, 6)
        again = LabelsAnswer.model_validate(await caller.answer("request_labels", **about))
        assert (again.drawn, again.labelled, again.random) == (22, 22, 22)
        assert "check_judge" in {step.tool for step in again.next}

        await caller.answer("create_judge", name=judge, prompt="Rate {{output}} from 0 to 10, kindly.", config=config)
        before = len(openai_server.calls)
        openai_server.respond = _kinder
        result = await caller.result("check_judge", **about, votes=2)
        checked = JudgeCheck.model_validate(result.structured_content)
        assert len(openai_server.calls) == before + 44
        assert checked.shift is not None
        assert checked.shift.value == pytest.approx(0.2)
        assert (checked.verdict, checked.newly_pass, checked.self_disagreement) == ("higher", 22, 0)
        assert checked.then.bias == pytest.approx(-0.1)
        assert checked.now.bias == pytest.approx(0.1)
        assert "higher" in text_of(result)

    home = str(judged.home)
    for name, value in _environment(judged, home).items():
        monkeypatch.setenv(name, value)
    flags = ["--dataset", dataset, "--run-name", "first", "--score-name", "tone"]
    for command, tool in (("request-labels", LabelsAnswer), ("check-judge", JudgeCheck)):
        code = await anyio.to_thread.run_sync(run_command, [command, *flags, "--json"])
        printed = json.loads(capsys.readouterr().out)
        assert (code, tool.model_validate(printed).backend) == (0, judged.langfuse_url)


def _kinder(call: Call) -> Outcome:
    assert _SHOWN.search(call.text)
    return Reply('{"reasoning": "So.", "score": 7}')


def _environment(settings: Settings, home: str) -> dict[str, str]:
    assert settings.langfuse_public_key is not None
    assert settings.langfuse_secret_key is not None
    return {
        "LANGFUSE_PUBLIC_KEY": settings.langfuse_public_key,
        "LANGFUSE_SECRET_KEY": settings.langfuse_secret_key.get_secret_value(),
        "LANGFUSE_HOST": settings.langfuse_url,
        "LFEXP_HOME": str(Path(home)),
    }
