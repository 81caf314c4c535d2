"""A pairwise judge over the outputs of two runs: both orders, ties, bias, and what is stored."""

import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.comparison import PairsAnswer
from lfexp_mcp.errors import JudgeError, UsageError
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.judge_pairs import judge_pairs
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest, PairsRequest, build
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.settings import Settings
from tests.providers.server import Call, Failure, Outcome, ProviderServer, Reply
from tests.tools.consent import ask_in_vain, call_unasked, call_with_a_yes
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene, with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROMPT = "Question: {{input}}\nA: {{output_a}}\nB: {{output_b}}\nAnswer with A, B or tie."
TASK = """
QUALITY = {quality!r}

def task(*, item, **kwargs):
    quality = QUALITY[item.metadata["number"]]
    if quality is None:
        raise ValueError("no answer")
    return quality
"""
_SHOWN = re.compile(r"^([AB]): <data-\w+>(.*?)</data-\w+>$", re.MULTILINE)


def prefer(call: Call) -> Outcome:
    """Prefer the greater number; follow the place of what says `biased`, fail on what says `broken`."""
    shown = dict(_SHOWN.findall(call.text))
    if "broken" in shown["B"]:
        return Failure(400)
    if "biased" in shown["A"]:
        return Reply('{"reasoning": "Place.", "score": "A"}')
    first, second = float(shown["A"].split()[0]), float(shown["B"].split()[0])
    winner = "tie" if first == second else "A" if first > second else "B"
    return Reply(f'{{"reasoning": "By number.", "score": "{winner}"}}')


@pytest.fixture
async def pairs(settings: Settings, scene: Scene, openai_for_workers: ProviderServer) -> AsyncIterator[Scene]:
    """A scene whose workers ask the loopback model, which prefers the greater number."""
    openai_for_workers.respond = prefer
    async with with_models(scene, settings) as asking:
        yield asking


async def make_runs(scene: Scene, first: list[str | None], second: list[str | None], **arguments: Any) -> str:  # noqa: ANN401
    """Make a dataset, the runs `a` and `b` with these outputs, and the judge; return its name."""
    await scene.fill(len(first))
    for name, outputs in (("a", first), ("b", second)):
        task = scene.script(TASK.format(quality=outputs), f"{name}.py")
        await scene.run(task, run_name=name, **arguments)
    judge = f"judge-{scene.dataset}"
    await create_judge(scene.ws, judge, PROMPT, config={"model": "gpt-test", "score_name": "preference"})
    return judge


async def ask(scene: Scene, judge: str, first: str = "a", second: str = "b") -> PairsAnswer:
    """Let the judge compare two runs."""
    request = PairsRequest(dataset=scene.dataset, run_a=first, run_b=second, judge=judge)
    return await judge_pairs(scene.ws, request, wait_seconds=PATIENCE_S)


async def test_pairs_are_asked_in_both_orders_and_stored_as_scores_of_the_second_run(
    pairs: Scene, openai_server: ProviderServer
) -> None:
    first: list[str | None] = ["1", "3", "2", "2", "5 biased", "7", None, "8 broken"]
    second: list[str | None] = ["2", "1", "2", "2.0", "4 biased", None, "6", "9"]
    judge = await make_runs(pairs, first, second)
    answer = await ask(pairs, judge)
    assert answer.status == "completed"
    assert (answer.wins, answer.losses, answer.ties) == (1, 1, 3)
    assert (answer.inconsistent, answer.identical, answer.unscored, answer.unpaired) == (1, 1, 1, 2)
    assert (answer.preference, answer.verdict) == (0.5, "inconclusive")
    assert answer.interval is not None
    assert answer.interval.high - answer.interval.low > 0.5
    assert (answer.asked, answer.first_preferred, answer.second_preferred) == (4, 1, 0)
    asked = len(openai_server.calls)
    assert not any("run" in call.text and pairs.dataset in call.text for call in openai_server.calls)

    record = await read_run(pairs.ws, pairs.dataset, "b")
    scores = {item.item_id: [score.value for score in item.scores] for item in record.items}
    assert [scores[pairs.item_id(number)] for number in range(8)] == [[1.0], [0.0], [0.5], [0.5], [0.5], [], [], []]
    assert not any(item.scores for item in (await read_run(pairs.ws, pairs.dataset, "a")).items)

    openai_server.respond = lambda call: prefer(call) if "broken" not in call.text else Reply('{"score": "B"}')
    again = await ask(pairs, judge)
    assert (again.wins, again.losses, again.ties, again.unscored) == (1, 1, 4, 0)
    assert len(openai_server.calls) == asked + 2, "only the pair without a verdict is asked again"


async def test_a_call_that_joins_a_launch_tells_the_verdicts_too(pairs: Scene) -> None:
    judge = await make_runs(pairs, ["1", "2"], ["2", "1"])
    async with anyio.create_task_group() as first:
        first.start_soon(ask, pairs, judge)
        await until(lambda: pairs.ws.launches.find(pairs.dataset, "b") is not None)
        first.cancel_scope.cancel()
    answer = await ask(pairs, judge)
    assert (answer.status, answer.wins, answer.losses) == ("completed", 1, 1)


async def test_pairs_are_judged_only_with_the_users_consent(pairs: Scene, openai_server: ProviderServer) -> None:
    judge = await make_runs(pairs, ["1"], ["2"])
    await create_judge(pairs.ws, judge, PROMPT, config={"model": "gpt-4o-mini", "score_name": "preference"})
    asked: dict[str, JsonValue] = {"dataset": pairs.dataset, "run_a": "a", "run_b": "b", "judge": judge}
    await ask_in_vain(pairs.ws.settings, openai_server, "judge_pairs", **asked)
    assert (await call_with_a_yes(pairs.ws.settings, "judge_pairs", **asked))["wins"] == 1
    swapped = asked | {"run_a": "b", "run_b": "a", "max_cost": 1}
    assert (await call_unasked(pairs.ws.settings, "judge_pairs", **swapped))["losses"] == 1


async def test_compare_and_analyze_show_the_preference_and_a_tie_does_not_fail_at_one_half(pairs: Scene) -> None:
    judge = await make_runs(pairs, ["1"] * 6, ["0", "1", "1.0", "2", "2", "2"])
    answer = await ask(pairs, judge)
    assert (answer.wins, answer.losses, answer.ties) == (3, 1, 2)
    [step] = [step for step in answer.next if step.tool == "analyze_run"]
    analysis = await analyze_run(pairs.ws, build(AnalyzeRequest, **step.arguments))
    assert [item.item_id for item in analysis.failures.items] == [pairs.item_id(0)]
    request = CompareRequest(
        dataset=pairs.dataset, runs=["a", "b"], fail_if=["preference-vs-a<0.6", "preference-vs-a.worse"]
    )
    comparison = await compare_runs(pairs.ws, request)
    [score] = comparison.scores
    assert (score.score, score.baseline_mean) == ("preference-vs-a", 0.5)
    assert score.mean == pytest.approx(4 / 6)
    assert (score.wins, score.losses, score.ties, score.verdict) == (3, 1, 2, "inconclusive")
    assert comparison.gate is not None
    assert [check.outcome for check in comparison.gate.checks] == ["passed", "passed"]
    assert not [issue for issue in comparison.comparability if issue.score == score.score]
    swapped = await compare_runs(pairs.ws, CompareRequest(dataset=pairs.dataset, runs=["b", "a"]))
    assert [score.verdict for score in swapped.scores] == ["not comparable"], "it is of run b against run a"
    assert "score_run" not in {step.tool for step in swapped.next}


async def test_the_mirrored_call_gives_the_mirrored_preference(pairs: Scene) -> None:
    judge = await make_runs(pairs, ["1", "3", "2", "5 biased"], ["2", "1", "1", "4 biased"])
    answer, mirrored = await ask(pairs, judge), await ask(pairs, judge, "b", "a")
    assert (answer.preference, mirrored.preference) == (0.375, 0.625)
    assert (answer.wins, answer.losses, answer.ties) == (mirrored.losses, mirrored.wins, mirrored.ties)
    assert (answer.first_preferred, answer.second_preferred) == (mirrored.first_preferred, mirrored.second_preferred)
    assert answer.score_name == "preference-vs-a"
    assert mirrored.score_name == "preference-vs-b"


async def test_repeats_of_an_item_are_one_item(pairs: Scene) -> None:
    judge = await make_runs(pairs, ["1", "3"], ["2", "1"], repeats=3)
    answer = await ask(pairs, judge)
    assert (answer.wins, answer.losses, answer.ties, answer.asked) == (1, 1, 0, 6)


async def test_a_pair_whose_other_output_changed_is_judged_anew(pairs: Scene, openai_server: ProviderServer) -> None:
    judge = await make_runs(pairs, ["1", None], ["2", "1"])
    assert (await ask(pairs, judge)).wins == 1
    task = pairs.script(TASK.format(quality=["1", "5"]), "a.py")
    await pairs.run(task, run_name="a", resume=True)
    openai_server.calls.clear()
    answer = await ask(pairs, judge)
    assert (answer.wins, answer.losses, answer.unpaired) == (1, 1, 0)
    assert len(openai_server.calls) == 2


async def test_what_cannot_be_compared_is_refused_before_anything_is_asked(
    pairs: Scene, openai_server: ProviderServer
) -> None:
    await make_runs(pairs, ["1"], ["2"])
    with pytest.raises(UsageError):
        build(PairsRequest, dataset=pairs.dataset, run_a="a", run_b="a", judge="judge-x")
    single = f"judge-single-{pairs.dataset}"
    await create_judge(pairs.ws, single, "Score {{output}} from 0 to 10.", config={"model": "gpt-test"})
    with pytest.raises(JudgeError):
        await ask(pairs, single)
    with pytest.raises(JudgeError):
        await pairs.run(None, run_name="b", judges=[f"judge-{pairs.dataset}"], resume=True)
    assert openai_server.calls == []
