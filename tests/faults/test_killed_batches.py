"""A worker killed while it judges by batches: each verdict is asked for, paid and stored once."""

from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.killing import kill_process_tree
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.score_run import score_run
from lfexp_mcp.services.requests import ScoreRunRequest
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.providers.batches import Step
from tests.providers.server import ProviderServer
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = {"openai": 200, "anthropic": 200}
UPPER = "def task(*, item, **kwargs):\n    return item.input.upper()\n"
SOME: Literal["some verdicts"] = "some verdicts"
Moment = Step | Literal["some verdicts"]
MOMENTS: dict[str, tuple[Moment, ...]] = {
    "openai": ("upload", "uploaded", "created", "poll", "some verdicts"),
    "anthropic": ("list", "create", "created", "poll", "results", "some verdicts"),
}


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ProviderServer:
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, ProviderServer)
    monkeypatch.setenv(f"{found.kind.upper()}_API_KEY", "sk-loopback")
    monkeypatch.setenv(f"{found.kind.upper()}_BASE_URL", found.base_url)
    return found


class Killing:
    """Scores a run by one judge after another, killing the worker once for each."""

    def __init__(self, scene: Scene, folder: RunFolder, server: ProviderServer) -> None:
        self._scene = scene
        self._folder = folder
        self._server = server
        self._items = ITEMS[server.kind]

    @property
    def _verdicts(self) -> int:
        return sum(len(each.scores) for each in self._folder.read_state().scored.values())

    def _scored_since(self, offset: int) -> int:
        """How many results were scored after a place in the journal, without reading it as the worker does."""
        return self._folder.journal_path.read_bytes()[offset:].count(b'"event":"scored"')

    async def request(self, judge: str) -> ScoreRunRequest:
        config: dict[str, JsonValue] = {"scale": "0-10", "model": f"{judge}-model", "provider": self._server.kind}
        await create_judge(self._scene.ws, judge, "Judge {{output}}.", config=config)
        given = {"dataset": self._scene.dataset, "run_name": self._scene.run_name, "judges": [judge], "batch": True}
        return ScoreRunRequest.model_validate(given)

    async def score_until(self, moment: Moment, request: ScoreRunRequest) -> None:
        """Score the run, and kill its worker at a moment, with SIGKILL."""

        def kill_at(step: Step) -> None:
            if step == moment and (pid := self._folder.worker.pid) is not None:
                self._server.batches.on_step = lambda _step: None
                kill_process_tree(pid)

        before, offset = self._verdicts, self._folder.journal_path.stat().st_size
        self._server.batches.on_step = kill_at
        await score_run(self._scene.ws, request, wait_seconds=0)
        await until(lambda: self._folder.worker.is_locked() or moment in self._server.batches.steps)
        if moment == SOME:
            await until(lambda: self._scored_since(offset) >= self._items // 10)
            kill_process_tree(self._folder.worker.pid or 0)
        await until(lambda: not self._folder.worker.is_locked())
        assert self._folder.read_state().run_ended is None, "it was killed"
        # It may be through with all of them by the time that the signal reaches it, though not with the run.
        assert self._verdicts - before in (range(1, self._items + 1) if moment == SOME else [0])


async def test_a_worker_killed_at_any_moment_loses_and_doubles_no_verdict(
    settings: Settings, tmp_path: Path, server: ProviderServer
) -> None:
    known = {f"{server.kind}_api_key": SecretStr("sk-loopback"), f"{server.kind}_base_url": server.base_url}
    async with open_workspace(settings.model_copy(update=known)) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        await scene.fill(ITEMS[server.kind])
        await scene.run(scene.script(UPPER), max_concurrency=50)
        folder = await scene.run_folder()
        killing = Killing(scene, folder, server)
        for number, moment in enumerate(MOMENTS[server.kind], start=1):
            judge = f"judge-{number}-{scene.dataset}"
            request = await killing.request(judge)
            server.batches.steps.clear()
            await killing.score_until(moment, request)
            answer = await score_run(ws, request, wait_seconds=PATIENCE_S)
            assert (answer.status, answer.scoring, answer.undelivered) == ("completed", "completed", 0), moment
            batches = [batch for batch in server.batches.batches.values() if judge in str(batch.requests[0]["body"])]
            assert [len(batch.requests) for batch in batches] == [ITEMS[server.kind]], moment
            assert server.calls == []
        dataset = await ws.gateway.datasets.get(scene.dataset)
        identity = await ws.gateway.experiments.id_of(dataset.id, scene.run_name)
        await _stored_once(ws, identity, ITEMS[server.kind], len(MOMENTS[server.kind]))


async def _stored_once(ws: Workspace, experiment_id: str, count: int, judges: int) -> None:
    items = await ws.gateway.experiments.results(experiment_id)
    assert len(items) == count
    counts = Counter(len(item.scores) for item in items)
    names = Counter(score.name for item in items for score in item.scores)
    assert counts == {judges: count}
    assert set(names.values()) == {count}
