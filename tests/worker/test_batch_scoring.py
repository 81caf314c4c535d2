"""`score_run` with `batch`: the providers' batch endpoints in place of calls."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.experiments.score_run import score_run
from lfexp_mcp.services.requests import ScoreRunRequest
from lfexp_mcp.services.runs.follower import wait_for_run
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.providers.server import Failure, ProviderServer, Reply
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UPPER = "def task(*, item, **kwargs):\n    return item.input.upper()\n"
ITEMS = 4


@pytest.fixture
def server(openai_for_workers: ProviderServer) -> ProviderServer:
    return openai_for_workers


@pytest.fixture
async def judged(settings: Settings, tmp_path: Path, server: ProviderServer) -> AsyncIterator[Scene]:
    """A run of four items, without scores, and a judge."""
    known = {"openai_api_key": SecretStr("sk-loopback"), "openai_base_url": server.base_url}
    async with open_workspace(settings.model_copy(update=known)) as ws:
        scene = Scene(ws, tmp_path / "scripts")
        await scene.fill(ITEMS)
        await scene.run(scene.script(UPPER))
        config: dict[str, Any] = {"scale": "0-10", "model": "gpt-4o", "provider": "openai", "score_name": "accuracy"}
        await create_judge(ws, f"judge-{scene.dataset}", "Judge {{output}}.", config=config)
        yield scene


async def score(scene: Scene, *, wait_seconds: float = PATIENCE_S, batch: bool = True, **given: object) -> RunAnswer:
    named = {"dataset": scene.dataset, "run_name": scene.run_name, "judges": [f"judge-{scene.dataset}"]}
    request = ScoreRunRequest.model_validate({**named, "batch": batch, **given})
    return await score_run(scene.ws, request, wait_seconds=wait_seconds)


async def test_verdicts_of_a_batch_are_scores_as_any_other_at_half_the_price(
    judged: Scene, server: ProviderServer
) -> None:
    answer = await score(judged)
    assert (answer.scoring, answer.undelivered, server.calls) == ("completed", 0, [])
    [summary] = answer.scores
    assert (summary.display, summary.count, summary.unscored) == ("0.80 (8/10)", ITEMS, 0)
    [use] = answer.models
    assert (use.calls, use.batched, use.input_tokens, use.output_tokens) == (ITEMS, ITEMS, 400, 80)
    cost = (100 * 2.5e-6 + 20 * 10e-6) / 2
    assert use.cost_usd == pytest.approx(ITEMS * cost)
    record = await judged.record()
    spans = await judged.ws.gateway.observations.find(trace_id=str(record.items[0].trace_id))
    [generation] = [span for span in spans if span.type == "GENERATION"]
    assert generation.cost == pytest.approx(cost)
    assert [score.metadata["batched"] for item in record.items for score in item.scores] == [True] * ITEMS


async def test_what_is_scored_by_calls_is_not_asked_in_a_batch(judged: Scene, server: ProviderServer) -> None:
    server.respond = lambda call: Failure(400) if "INPUT 1" in call.text or "INPUT 2" in call.text else Reply()
    assert [summary.count for summary in (await score(judged, batch=False)).scores] == [2]
    server.respond = lambda _call: Reply()
    answer = await score(judged)
    assert [(summary.name, summary.count) for summary in answer.scores] == [("accuracy", ITEMS)]
    assert len(server.batches.requests) == 2
    await score(judged)
    assert len(server.batches.batches) == 1


async def test_a_reply_that_cannot_be_read_is_asked_for_by_a_call(judged: Scene, server: ProviderServer) -> None:
    server.respond = lambda call: Reply("Well.") if "INPUT 1" in call.text and len(call.messages) == 2 else Reply()
    answer = await score(judged)
    assert (answer.scores[0].count, len(server.calls)) == (ITEMS, 1)
    assert [role for role, _ in server.calls[0].messages] == ["system", "user", "assistant", "user"]
    assert (answer.models[0].calls, answer.models[0].batched) == (ITEMS + 1, ITEMS)


async def test_a_failure_in_a_batch_is_unscored_and_asked_again_by_the_same_call(
    judged: Scene, server: ProviderServer
) -> None:
    server.batches.ends, server.batches.answered = "expired", 3
    answer = await score(judged)
    assert [(summary.count, summary.unscored) for summary in answer.scores] == [(3, 1)]
    assert "expired" in answer.errors[0].error
    server.batches.ends, server.batches.answered = "completed", None
    answer = await score(judged)
    assert [(summary.count, summary.unscored) for summary in answer.scores] == [(ITEMS, 0)]
    assert [len(batch.requests) for batch in server.batches.batches.values()] == [ITEMS, 1]


async def test_a_call_that_ends_leaves_the_batch_to_its_worker(judged: Scene, server: ProviderServer) -> None:
    server.batches.held = True
    await score(judged, wait_seconds=0)
    folder = await judged.run_folder()
    await until(lambda: bool(server.batches.batches))
    await until(lambda: any(batch.status == "submitted" for batch in folder.read_state().batches.values()))
    answer = await get_run(judged.ws, judged.dataset, judged.run_name)
    assert (answer.status, answer.scoring, answer.next[0].tool) == ("running", "running", "get_run")
    assert f"0 of {ITEMS} requests in batches settled" in str(answer.progress)
    server.batches.held = False
    await wait_for_run(judged.ws, judged.dataset, judged.run_name, PATIENCE_S)
    assert folder.read_state().batches == {}
    assert len(server.batches.batches) == 1


async def test_cancel_run_cancels_the_batch_and_keeps_what_is_finished(judged: Scene, server: ProviderServer) -> None:
    server.batches.held, server.batches.answered = True, 3
    await score(judged, wait_seconds=0)
    await until(lambda: server.batches.count("poll") > 0)
    await cancel_run(judged.ws, judged.dataset, judged.run_name)
    answer = await get_run(judged.ws, judged.dataset, judged.run_name)
    assert (answer.scoring, server.batches.count("cancel")) == ("cancelled", 1)
    assert [(summary.count, summary.unscored) for summary in answer.scores] == [(3, 1)]
    server.batches.held, server.batches.answered = False, None
    again = await score(judged)
    assert (again.scoring, again.scores[0].count, len(server.batches.requests)) == ("completed", ITEMS, ITEMS + 1)


async def test_a_batch_that_is_still_out_is_told_when_its_worker_is_gone(judged: Scene, server: ProviderServer) -> None:
    server.batches.held = True
    await score(judged, wait_seconds=0)
    await until(lambda: server.batches.count("poll") > 0)
    (batch,) = server.batches.batches.values()
    server.batches.batches.clear()
    folder = await judged.run_folder()
    await until(lambda: not folder.is_running())
    answer = await get_run(judged.ws, judged.dataset, judged.run_name)
    assert answer.scoring == "failed"
    assert sum(batch.id in warning for warning in answer.warnings) == 2
    assert server.batches.count("create") == 1


async def test_only_what_max_cost_covers_is_submitted(judged: Scene, server: ProviderServer) -> None:
    # A request of about 900 characters may cost 300 input and 500 output tokens: 0.0029 USD in a batch.
    answer = await score(judged, max_cost=0.008)
    assert (answer.scoring, answer.scores[0].count, len(server.batches.requests)) == ("failed", 2, 2)
    assert "2 of 4 requests" in " ".join(answer.warnings)


async def test_a_server_without_batch_endpoints_ends_it_before_anything_is_paid(
    judged: Scene, server: ProviderServer
) -> None:
    server.batches.exists = False
    answer = await score(judged)
    assert (answer.scoring, answer.scores, server.calls) == ("failed", [], [])
    assert "batch endpoint" in " ".join(answer.warnings)


@pytest.mark.parametrize("given", [{"judges": None, "evaluators": ["exact_match"]}, {"batch": "perhaps"}])
async def test_a_batch_without_judges_is_refused(judged: Scene, given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        await score(judged, **given)  # type: ignore[arg-type]
