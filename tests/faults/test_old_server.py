"""A Langfuse before 4.59 takes one score a request."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def old_store(tmp_path: Path) -> Iterator[StoreConnection]:
    folder = tmp_path / "old"
    yield ensure_store(folder, before_score_lists=True)
    stop_store(folder)


async def test_a_run_stores_its_scores_one_by_one(old_store: StoreConnection, tmp_path: Path) -> None:
    settings = Settings(
        langfuse_public_key=old_store.public_key,
        langfuse_secret_key=SecretStr(old_store.secret_key),
        langfuse_url=old_store.base_url,
        home=tmp_path / "home",
    )
    async with open_workspace(settings) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        await scene.fill(12)
        evaluators = scene.script("def a(**k):\n    return 1.0\n\ndef b(**k):\n    return True\n", "ev.py")
        answer = await scene.run(scene.script("def task(*, item, **k):\n    return 1\n"), evaluator_script=evaluators)
        assert (answer.status, answer.undelivered, answer.warnings) == ("completed", 0, [])
        items = await ws.gateway.experiments.results(str(answer.experiment_id))
        assert [sorted(score.name for score in item.scores) for item in items] == [["a", "b"]] * 12
