"""A Langfuse before 4.59 takes one score a request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.faults.proxy import SCORES, Fault, FaultProxy, Request
from tests.store.recorded_world import RECORDED
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


REFUSED = (RECORDED / "post_scores_list_to_4.16.0.json").read_bytes()


def _refuse_lists(request: Request) -> Fault | None:
    is_list = request.path.startswith(SCORES) and request.body.startswith(b"[")
    return Fault(status=400, headers={"content-type": "application/json"}, content=REFUSED) if is_list else None


@pytest.fixture
def old_server(settings: Settings) -> Iterator[FaultProxy]:
    with FaultProxy(settings.langfuse_url) as proxy:
        proxy.faults = _refuse_lists
        yield proxy


async def test_a_run_stores_its_scores_one_by_one(settings: Settings, old_server: FaultProxy, tmp_path: Path) -> None:
    async with open_workspace(settings.model_copy(update={"langfuse_url": old_server.url})) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        await scene.fill(12)
        evaluators = scene.script("def a(**k):\n    return 1.0\n\ndef b(**k):\n    return True\n", "ev.py")
        answer = await scene.run(scene.script("def task(*, item, **k):\n    return 1\n"), evaluator_script=evaluators)
        assert (answer.status, answer.undelivered, answer.warnings) == ("completed", 0, [])
        items = await ws.gateway.experiments.results(str(answer.experiment_id))
        assert [sorted(score.name for score in item.scores) for item in items] == [["a", "b"]] * 12
    assert [request for request in old_server.requests if _refuse_lists(request)]
