"""Judges as evaluators of a run: a loopback model, the real SDKs."""

import httpx
import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.judges.prices import published_source
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.requests import AnalyzeRequest
from lfexp_mcp.services.runs.follower import Follower, wait_for_run
from lfexp_mcp.services.runs.observations import read_task_usage
from lfexp_mcp.settings import Settings
from tests.providers.server import Failure, ProviderServer, Reply
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene, with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UPPER = "def task(*, item, **kwargs):\n    return item.input.upper()\n"
PROMPT = "Score from 0 to 10.\nInput: {{input}}\nOutput: {{output}}\nExpected: {{expected_output}}"


async def make_judge(scene: Scene) -> str:
    name = f"judge-{scene.dataset}"
    await create_judge(scene.ws, name, PROMPT, config={"scale": "0-10", "model": "gpt-test", "provider": "openai"})
    return name


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_judge_scores_every_item_and_its_calls_are_generations_of_the_prompt(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(4)
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        answer = await judged.run(judged.script(UPPER), judges=[name])
        assert (answer.status, answer.succeeded) == ("completed", 4)
        [score] = answer.scores
        assert (score.mean, score.count, score.display) == (0.8, 4, "0.80 (8/10)")
        assert [evaluator.startswith(f"{name} (version 1, gpt-test") for evaluator in answer.evaluators] == [True]
        [use] = answer.models
        assert (use.name, use.model, use.calls, use.retries) == (score.name, "gpt-test", 4, 0)
        assert (use.input_tokens, use.output_tokens, use.cost_usd, answer.cost_usd) == (400, 80, None, None)
        record = await judged.record()
        assert (await read_task_usage(judged.ws, record)).items == {}, "a judge's calls are none of the task's"
        assert record.items[0].scores[0].raw == 8
        assert record.items[0].scores[0].comment == "Right."
        spans = await judged.ws.gateway.observations.find(trace_id=record.items[0].trace_id)
    [generation] = [span for span in spans if span.type == "GENERATION"]
    assert generation.model == "gpt-test"
    assert generation.usage["input"] == 100
    names = {span.id: span.name for span in spans}
    assert names[generation.parent_id or ""] == name
    assert len(openai_server.calls) == 4


@pytest.mark.usefixtures("openai_for_workers")
async def test_what_a_judge_could_not_score_is_scored_by_a_resume(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(2)
    openai_server.respond = lambda call: Failure(400) if "INPUT 1" in call.text else Reply()
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        answer = await judged.run(judged.script(UPPER), judges=[name])
        assert [(score.count, score.unscored) for score in answer.scores] == [(1, 1)]
        calls = len(openai_server.calls)
        assert sum(use.calls for use in answer.models) == calls
        openai_server.respond = lambda _call: Reply()
        answer = await judged.run(judged.script(UPPER), judges=[name], resume=True)
        assert sum(use.calls for use in answer.models) == len(openai_server.calls) == calls + 1
        assert [(score.count, score.unscored) for score in answer.scores] == [(2, 0)]


@pytest.mark.usefixtures("openai_for_workers")
async def test_an_items_time_is_its_tasks_alone_whatever_holds_the_runner_up(settings: Settings, scene: Scene) -> None:
    task = scene.script("""
        import threading, time
        from openai import AsyncOpenAI

        is_held_up = threading.Event()
        post = AsyncOpenAI.post

        async def hold_up(self, *args, **kwargs):
            if not is_held_up.is_set():
                is_held_up.set()
                time.sleep(2)
            return await post(self, *args, **kwargs)

        AsyncOpenAI.post = hold_up

        def task(*, item, **kwargs):
            began = time.perf_counter()
            if item.metadata["number"]:
                is_held_up.wait()
            return time.perf_counter() - began
    """)
    await scene.fill(4)
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        answer = await judged.run(task, judges=[name], max_concurrency=4)
        assert (answer.status, answer.succeeded) == ("completed", 4)
        record = await judged.record()
        for item in record.items:
            assert isinstance(item.output, float)
            assert item.seconds == pytest.approx(item.output, abs=0.5)
        for stored in await judged.ws.gateway.experiments.results(str(answer.experiment_id)):
            assert stored.seconds == pytest.approx(float(str(stored.output)), abs=0.5)


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_prompts_time_is_that_of_its_answer_not_of_its_place_in_the_queue(
    settings: Settings, scene: Scene, openai_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFEXP_JUDGE_CONCURRENCY", "1")
    openai_server.script(Failure(429, "Slow down.", headers={"retry-after-ms": "3000"}), Reply())
    await scene.fill(3)
    async with with_models(scene, settings) as prompted:
        name = f"task-{prompted.dataset}"
        await prompted.ws.gateway.prompts.create(
            name, "Say {{input}}.", config={"model": "gpt-test", "provider": "openai"}
        )
        answer = await prompted.run(None, task_prompt=name, max_concurrency=3)
        assert answer.succeeded == 3
        items = {item.item_id: item for item in (await prompted.record()).items}
        assert all(0 < (item.seconds or 0) < 2.5 for item in items.values())
        for stored in await prompted.ws.gateway.experiments.results(str(answer.experiment_id)):
            assert stored.started is not None
            assert stored.seconds == pytest.approx(items[stored.item_id].seconds, abs=0.01)
            spans = await prompted.ws.gateway.observations.find(trace_id=stored.trace_id)
            assert all(span.started >= stored.started for span in spans)


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_prompt_can_be_the_task(settings: Settings, scene: Scene, openai_server: ProviderServer) -> None:
    await scene.fill(3)
    openai_server.respond = lambda call: Reply(text=f"answer to {call.messages[-1][1]}")
    async with with_models(scene, settings) as prompted:
        name = f"task-{scene.dataset}"
        config: dict[str, JsonValue] = {"top_k": 5, "temperature": 0.5}
        await prompted.ws.gateway.prompts.create(name, "Q: {{input}}", config=config, labels=["production"])
        answer = await prompted.run(None, task_prompt=name, model="gpt-test")
        assert (answer.status, answer.succeeded) == ("completed", 3)
        assert ["`top_k`" in warning for warning in answer.warnings if name in warning] == [True]
        record = await prompted.record()
        assert {item.output for item in record.items} == {f"answer to Q: input {number}" for number in range(3)}
        spans = await prompted.ws.gateway.observations.find(trace_id=record.items[0].trace_id)
    [generation] = [span for span in spans if span.type == "GENERATION"]
    assert (generation.model, generation.usage["output"]) == ("gpt-test", 20)
    assert generation.parent_id == record.items[0].observation_id


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_spent_budget_stops_the_run_and_a_resume_with_more_goes_on(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(6)
    model = f"gpt-{scene.dataset}"
    prices = {"modelName": model, "matchPattern": f"^{model}$", "unit": "TOKENS", "inputPrice": 0.01, "outputPrice": 0}
    auth = (settings.langfuse_public_key or "", settings.langfuse_secret_key.get_secret_value())  # type: ignore[union-attr]
    async with httpx.AsyncClient(base_url=settings.langfuse_url, auth=auth) as http:
        assert (await http.post("/api/public/models", json=prices)).is_success
    async with with_models(scene, settings) as judged:
        name = f"judge-{scene.dataset}"
        await create_judge(judged.ws, name, PROMPT, config={"scale": "0-10", "model": model, "provider": "openai"})
        answer = await judged.run(judged.script(UPPER), max_cost=3.5, judges=[name], max_concurrency=1)
        assert answer.status == "failed"
        assert any("max_cost" in warning for warning in answer.warnings)
        assert answer.cost_usd is not None
        assert 1 <= answer.cost_usd <= 3.5
        answer = await judged.run(judged.script(UPPER), max_cost=100, resume=True, judges=[name])
        assert (answer.status, answer.succeeded, answer.cost_usd) == ("completed", 6, 6.0)
        assert [use.price_source for use in answer.models] == ["Langfuse"]
    assert len(openai_server.calls) == 6


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_published_price_bounds_a_run_on_a_store_without_prices(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(6)
    openai_server.respond = lambda _call: Reply(output_tokens=1000)
    config: dict[str, JsonValue] = {"scale": "0-10", "model": "gpt-4o", "provider": "openai"}
    async with with_models(scene, settings) as judged:
        name = f"judge-{scene.dataset}"
        await create_judge(judged.ws, name, PROMPT, config=config)
        tried = await judged.run(judged.script(UPPER), dry_run=True, judges=[name])
        estimate = tried.estimate
        assert estimate is not None
        assert estimate.cost_usd == pytest.approx(6 * (100 * 2.5e-6 + 1000 * 10e-6))
        assert [use.price_source for use in tried.models] == [published_source()]
        openai_server.calls.clear()
        answer = await judged.run(judged.script(UPPER), max_cost=0.035, judges=[name], max_concurrency=1)
    # Three calls of 0.01025 USD: a fourth would pass the limit.
    assert (answer.status, len(openai_server.calls)) == ("failed", 3)
    assert answer.cost_usd == pytest.approx(0.03075)
    assert [use.price_source for use in answer.models] == [published_source()]


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_provider_that_turns_calls_away_is_named_in_the_progress_while_it_does(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(1)
    openai_server.respond = lambda _call: Failure(429, headers={"retry-after-ms": "200"})
    async with with_models(scene, settings) as judged:
        answer = await judged.run(judged.script(UPPER), judges=[await make_judge(judged)], wait_seconds=0)
        folder = await judged.run_folder()
        await until(lambda: bool(folder.read_state().retried))
        follower = Follower(judged.ws.replays.of(folder))
        await follower.wait(0)
        progress = follower.progress()
        openai_server.respond = lambda _call: Reply()
        await wait_for_run(judged.ws, scene.dataset, scene.run_name, PATIENCE_S)
        assert answer.status == "running"
        assert folder.status() == "completed"
    assert (progress.done, progress.scoring, progress.seconds_left) == (1, 1, None)
    [retries] = progress.provider_retries
    assert retries.provider == "openai"
    assert retries.retries == retries.rate_limited > 0


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_limit_on_a_model_whose_price_nobody_knows_is_refused(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(1)
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        with pytest.raises(JudgeError, match="'gpt-test'"):
            await judged.run(judged.script(UPPER), max_cost=1, judges=[name])
    assert openai_server.calls == []


@pytest.mark.usefixtures("openai_for_workers")
async def test_the_votes_of_a_judge_that_disagrees_with_itself_are_listed(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(2)
    votes = iter([2, 9, 5])
    openai_server.respond = lambda call: Reply(
        text=f'{{"score": {next(votes)}}}' if "INPUT 1" in call.text else '{"score": 8}'
    )
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        await judged.run(judged.script(UPPER), judges=[name], judge_samples=3)
        analysis = await analyze_run(judged.ws, AnalyzeRequest(dataset=scene.dataset, run_name=scene.run_name))
    [split] = analysis.split_votes
    assert (split.item_id, sorted(split.votes, key=str), split.spread) == (scene.item_id(1), [2, 5, 9], 0.7)


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_dry_run_stores_nothing_and_estimates_the_whole(settings: Settings, scene: Scene) -> None:
    await scene.fill(6)
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        answer = await judged.run(judged.script(UPPER), judges=[name], dry_run=True)
        assert (answer.status, answer.succeeded) == ("completed", 2)
        estimate = answer.estimate
        assert estimate is not None
        assert (estimate.results, estimate.calls, estimate.input_tokens, estimate.output_tokens) == (6, 6, 600, 120)
        assert (estimate.cost_usd, estimate.unknown_prices) == (None, ["gpt-test"])
        dataset = await judged.ws.gateway.datasets.get(scene.dataset)
        assert await judged.ws.gateway.experiments.find(dataset.id, scene.run_name) is None
        assert list(judged.ws.runs.root.iterdir()) == []
        answer = await judged.run(judged.script(UPPER), judges=[name])
        assert (answer.status, answer.succeeded) == ("completed", 6)


@pytest.mark.usefixtures("openai_for_workers")
async def test_a_provider_that_refuses_the_key_stops_the_run_and_a_resume_scores_the_rest(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(30)
    openai_server.respond = lambda _call: Failure(401)
    async with with_models(scene, settings) as judged:
        name = await make_judge(judged)
        answer = await judged.run(judged.script(UPPER), judges=[name], max_concurrency=1)
        assert (answer.status, answer.succeeded) == ("failed", 1)
        assert "OPENAI_API_KEY" in answer.warnings[0]
        assert len(openai_server.calls) == 1
        openai_server.respond = lambda _call: Reply()
        answer = await judged.run(None, resume=True)
        assert (answer.status, answer.succeeded, answer.scores[0].count) == ("completed", 30, 30)
