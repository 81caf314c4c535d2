"""A provider that quotes the key in its errors: the key stays out of all that a run leaves behind."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.judges.asking import SECRETS
from tests.providers.server import Failure, Outcome, ProviderServer, Reply
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TASK = "def task(*, item, **kwargs):\n    return item.input\n"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_key_appears_in_no_answer_journal_log_trace_or_error(
    provider: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{provider}_server")
    assert isinstance(server, ProviderServer)
    key = SECRETS[provider]
    failures: list[Outcome] = [Failure(status, f"Key {key} is not good here.") for status in (400, 422, 401, 403)]
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", key)
    monkeypatch.setenv(f"{provider.upper()}_BASE_URL", server.base_url)
    changes = {f"{provider}_api_key": SecretStr(key), f"{provider}_base_url": server.base_url}
    async with open_workspace(settings.model_copy(update=changes)) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        await scene.fill(5)
        judge = f"judge-{scene.dataset}"
        await create_judge(ws, judge, "Rate {{output}}.", config={"provider": provider, "model": "some-model"})
        seen: list[str] = []
        for outcomes in (failures[:3], failures[3:], [Reply(f"My key is not {key[:3]}")] * 2):
            server.script(*outcomes)
            answer = await scene.run(scene.script(TASK), judges=[judge], max_concurrency=1, resume=bool(seen))
            seen += [answer.model_dump_json(), repr(await scene.record())]
        record = await scene.record()
        for item in record.items:
            observations = await ws.gateway.observations.find(trace_id=item.trace_id)
            seen += [repr(observation) for observation in observations]
    assert len(server.calls) >= 6
    assert key not in "".join(seen)
    written = [path for path in settings.home.rglob("*") if path.is_file()]
    assert written
    assert [path for path in written if key.encode() in path.read_bytes()] == []
