"""Resuming a run after its judge got a new version: each score keeps who made it, and no call is spent for nothing."""

from collections import Counter

import pytest

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.model import JudgeMaker
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.settings import Settings
from tests.providers.server import ProviderServer, Reply
from tests.worker.scene import Scene, with_models
from tests.worker.test_judges import PROMPT, UPPER

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.usefixtures("openai_for_workers")]

FIRST = {"scale": "0-10", "model": "gpt-one", "provider": "openai"}
SECOND = {"scale": "1-5", "model": "gpt-two", "provider": "openai"}
UNREADABLE = Reply(text="I would rather not say.")


async def versions_of(scene: Scene) -> list[int | None]:
    """The version of the judge that made each score, in the order of the items."""
    record = await read_run(scene.ws, scene.dataset, scene.run_name)
    items = sorted(record.items, key=lambda item: item.item_id)
    makers = [score.maker for item in items for score in item.scores]
    return [maker.version for maker in makers if isinstance(maker, JudgeMaker)]


async def test_a_resume_asks_which_version_of_a_judge_that_failed_on_some_results_is_meant(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(3)
    openai_server.respond = lambda call: UNREADABLE if "INPUT 2" in call.text else Reply(text='{"score": 8}')
    async with with_models(scene, settings) as judged:
        name, task = f"judge-{scene.dataset}", judged.script(UPPER)
        await create_judge(judged.ws, name, PROMPT, config={**FIRST})
        answer = await judged.run(task, judges=[name])
        assert [(score.count, score.unscored) for score in answer.scores] == [(2, 1)]
        await create_judge(judged.ws, name, PROMPT, config={**SECOND})
        advice = repr(f"{name}:2")
        answer = await get_run(judged.ws, scene.dataset, "run")
        assert any(advice in warning for warning in answer.warnings)
        calls = len(openai_server.calls)
        with pytest.raises(JudgeError) as refusal:
            await judged.run(task, judges=[name], resume=True)
        assert [step.arguments["judges"] for step in refusal.value.next] == [[f"{name}:2"], [f"{name}:1"]]
        assert len(openai_server.calls) == calls

        # The version that the run has is asked about what it failed on.
        answer = await judged.run(task, judges=[f"{name}:1"], resume=True)
        assert [call.body["model"] for call in openai_server.calls[calls:]] == ["gpt-one"] * 2
        assert any(advice in warning for warning in answer.warnings)

        # Another one scores all: there is no mean over the scores of two.
        openai_server.respond = lambda _call: Reply(text='{"score": 5}')
        answer = await judged.run(None, judges=[f"{name}:2"], resume=True)
        assert sum(call.body["model"] == "gpt-two" for call in openai_server.calls) == 3
        shown = {(evaluator.split(",")[0], evaluator.partition("scale ")[2][:4]) for evaluator in answer.evaluators}
        assert shown == {(f"{name} (version 1", "0-10"), (f"{name} (version 2", "1-5 ")}
        assert Counter(await versions_of(judged)) == {1: 2, 2: 3}

        calls = len(openai_server.calls)
        await judged.run(None, judges=[name], resume=True)
        assert (len(openai_server.calls), len(await versions_of(judged))) == (calls, 5)


async def test_a_version_that_scored_nothing_is_asked_again_only_when_it_is_named(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(2)
    openai_server.respond = lambda _call: UNREADABLE
    async with with_models(scene, settings) as judged:
        name, task = f"judge-{scene.dataset}", judged.script(UPPER)
        await create_judge(judged.ws, name, PROMPT, config={**FIRST})
        answer = await judged.run(task, judges=[name])
        assert [(score.count, score.unscored) for score in answer.scores] == [(0, 2)]
        await create_judge(judged.ws, name, PROMPT, config={**SECOND})
        calls = len(openai_server.calls)
        for named in (None, [name]):
            with pytest.raises(JudgeError) as refusal:
                await judged.run(None, resume=True, judges=named)
            asked = [step.arguments["judges"] for step in refusal.value.next]
            assert asked == [[f"{name}:2"], [f"{name}:1"]]
        assert len(openai_server.calls) == calls
        step = (await get_run(judged.ws, scene.dataset, "run")).next[0]
        assert (step.tool, step.arguments["judges"]) == ("run_experiment", [f"{name}:2"])

        openai_server.respond = lambda _call: Reply(text='{"score": 5}')
        answer = await judged.run(None, judges=[f"{name}:2"], resume=True)
        assert [(score.mean, score.count, score.unscored, score.scale) for score in answer.scores] == [
            (1.0, 2, 0, "1-5")
        ]
        assert await versions_of(judged) == [2, 2]


async def test_another_judge_leaves_the_first_one_its_scale_and_what_it_failed_on(
    settings: Settings, scene: Scene, openai_server: ProviderServer
) -> None:
    await scene.fill(2)
    openai_server.respond = lambda call: UNREADABLE if "INPUT 1" in call.text else Reply(text='{"score": 8}')
    async with with_models(scene, settings) as judged:
        first, second = f"judge-{scene.dataset}", f"judge-second-{scene.dataset}"
        await create_judge(judged.ws, first, PROMPT, config={**FIRST})
        await create_judge(judged.ws, second, PROMPT, config={**SECOND})
        await judged.run(judged.script(UPPER), judges=[first])
        openai_server.respond = lambda _call: Reply(text='{"score": 3}')
        answer = await judged.run(None, judges=[second], resume=True)
        assert [(score.mean, score.count, score.unscored, score.scale) for score in answer.scores] == [
            (0.8, 1, 1, "0-10"),
            (0.5, 2, 0, "1-5"),
        ]
        assert {evaluator.partition(" ")[0] for evaluator in answer.evaluators} == {first, second}
