"""check_judge: a judge asked again, on loopback, about outputs that people labelled."""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from lfexp_mcp.answers.labels import JudgeCheck
from lfexp_mcp.errors import BudgetError, JudgeError, ModelRefusedError, UsageError
from lfexp_mcp.gateway import CHECK_SCORE_NAME
from lfexp_mcp.model import TEN, UNIT, Holdout, JudgeMaker, RunMaker, ScriptMaker
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.labels.check_judge import check_judge
from lfexp_mcp.services.labels.request_labels import request_labels
from lfexp_mcp.services.requests import JudgeCheckRequest, LabelsRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace
from tests.providers.server import Call, Failure, Outcome, ProviderServer, Raw, Reply
from tests.services.humans import Humans
from tests.services.labels.people import TONE, Annotators, queued, score_again
from tests.services.recording import Recorded, RecordedRun, make_dataset, record_run
from tests.tools.consent import ask_in_vain, call_unasked, call_with_a_yes
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PROMPT = "Rate the tone of {{output}} from 0 to 10. Question: {{input}}"
_SHOWN = re.compile(r"<data-\w+>output (\d+)</data-\w+>")


@dataclass
class Scene:
    """A dataset, a judge whose score is `tone`, and what it now gives each output."""

    ws: Workspace
    humans: Humans
    server: ProviderServer
    dataset: str
    judge: str
    makers: list[JudgeMaker]

    async def new_version(self, prompt: str = PROMPT, model: str = "gpt-test") -> JudgeMaker:
        """Give the judge another version, and return it as the maker of its scores."""
        made = await create_judge(self.ws, self.judge, prompt, config={"model": model, "score_name": "tone"})
        scale = TONE.scale
        self.makers.append(JudgeMaker(self.judge, made.version, "openai", model, scale, "prompt text"))
        return self.makers[-1]

    async def record(self, values: Sequence[float], maker: JudgeMaker, run_name: str = "run") -> RecordedRun:
        """Record a run whose results `i000`, ... have the outputs `output 0`, ... and these scores of 0-1."""
        results = [
            Recorded(f"i{n:03}", output=f"output {n}", input=f"the question number {n:04}", scores={"tone": value})
            for n, value in enumerate(values)
        ]
        return await record_run(
            self.ws, await make_dataset(self.ws, self.dataset), run_name, results, makers={"tone": maker}
        )

    async def label(
        self,
        run: RecordedRun,
        n: int,
        value_of: Callable[[int], float],
        *,
        run_name: str = "run",
        stratify: bool = False,
    ) -> None:
        """Let people label `n` results, on 0-10."""
        request = LabelsRequest(dataset=self.dataset, run_name=run_name, score_name="tone", n=n, stratify=stratify)
        asked = await request_labels(self.ws, request)
        await Annotators(self.ws, self.humans, run, asked.queue).label(lambda item: value_of(int(item[1:])))

    def answers(self, value_of: Callable[[int], float | str]) -> None:
        """Let the model give each output a score on 0-10, or say something else."""

        def respond(call: Call) -> Outcome:
            [number] = _SHOWN.findall(call.text)
            value = value_of(int(number))
            return Reply(value if isinstance(value, str) else f'{{"reasoning": "So.", "score": {value}}}')

        self.server.respond = respond

    async def check(self, **arguments: object) -> JudgeCheck:
        given = {"dataset": self.dataset, "run_name": "run", "score_name": "tone", **arguments}
        return await check_judge(self.ws, JudgeCheckRequest.model_validate(given), wait_seconds=PATIENCE_S)


@pytest.fixture
async def scene(
    judging: Workspace, humans: Humans, openai_server: ProviderServer, request: pytest.FixtureRequest
) -> Scene:
    name = re.sub(r"\W+", "-", request.node.name)[:80]
    return Scene(judging, humans, openai_server, name, f"judge-{name}", [])


def _scores(count: int, seed: int = 1) -> list[float]:
    """Scores of outputs, two decimals on 0-1 and none at the ends."""
    drawn = random.Random(seed)
    return [round(drawn.uniform(0.2, 0.8), 2) for _ in range(count)]


async def test_a_judge_is_checked_only_with_the_users_consent(scene: Scene) -> None:
    then = _scores(20)
    run = await scene.record(then, await scene.new_version())
    await scene.label(run, 20, lambda n: 10 * then[n])
    await scene.new_version(f"{PROMPT} Be kind.", model="gpt-4o-mini")
    scene.answers(lambda n: 10 * then[n])
    settings, asked = scene.ws.settings, {"dataset": scene.dataset, "run_name": "run", "score_name": "tone"}
    await ask_in_vain(settings, scene.server, "check_judge", **asked)
    assert (await call_with_a_yes(settings, "check_judge", **asked))["status"] == "completed"
    assert len(scene.server.calls) == 20
    assert (await call_unasked(settings, "check_judge", **asked, max_cost=1))["status"] == "completed"


async def test_a_shift_of_the_judge_is_told_with_forty_anchors(scene: Scene) -> None:
    then, noise = _scores(120), random.Random(7)
    run = await scene.record(then, await scene.new_version())
    await scene.label(run, 40, lambda n: round(10 * min(then[n] + 0.05, 1.0), 3))
    later = await scene.new_version(f"{PROMPT} Be kind.")
    scene.answers(lambda n: round(10 * (then[n] + 0.05 + noise.gauss(0, 0.03)), 3))
    checked = await scene.check()
    assert (checked.status, checked.anchors, checked.unreadable) == ("completed", 40, 0)
    assert (checked.then.judge, checked.now.judge) == (scene.makers[0].label, later.label)
    assert checked.shift is not None
    assert checked.shift.value == pytest.approx(0.05, abs=0.02)
    assert checked.shift.low < 0.05 < checked.shift.high
    assert checked.then.bias == pytest.approx(-0.05, abs=0.001)
    assert checked.now.bias == pytest.approx(0.0, abs=0.02)
    assert [step.tool for step in checked.next] == ["score_run", "request_labels"]
    assert len(scene.server.calls) == 40
    record = await read_run(scene.ws, scene.dataset, "run")
    assert {score.maker for score in record.scores if score.source == "API"} == {scene.makers[0]}


async def test_no_shift_is_told_of_a_judge_when_the_application_moved_alone(scene: Scene) -> None:
    before, noise = _scores(100), random.Random(8)
    maker = await scene.new_version()
    run = await scene.record(before, maker, "old")
    await scene.label(run, 40, lambda n: 10 * before[n], run_name="old")
    await scene.record([value + 0.1 for value in before], maker, "run")
    scene.answers(lambda n: round(10 * (before[n] + noise.gauss(0, 0.03)), 3))
    checked = await scene.check(baseline="old")
    assert checked.shift is not None
    assert abs(checked.shift.value) < 0.02
    assert checked.shift.low < 0 < checked.shift.high
    assert checked.application_shift is not None
    assert checked.application_shift.value == pytest.approx(0.1, abs=0.02)
    assert checked.application_shift.low < 0.1 < checked.application_shift.high
    assert checked.next == []


async def test_what_moved_is_split_between_judge_and_application(scene: Scene) -> None:
    before = _scores(100)
    run = await scene.record(before, await scene.new_version(), "old")
    await scene.label(run, 40, lambda n: 10 * before[n], run_name="old")
    later = await scene.new_version(f"{PROMPT} Be kind.")
    await scene.record([value + 0.12 for value in before], later, "run")
    scene.answers(lambda n: round(10 * (before[n] + 0.05), 3))
    checked = await scene.check(baseline="old")
    assert checked.shift is not None
    assert checked.application_shift is not None
    assert checked.shift.value == pytest.approx(0.05, abs=0.002)
    assert checked.application_shift.value == pytest.approx(0.07, abs=0.002)


async def test_the_application_is_left_open_where_the_run_has_scores_of_another_judge(scene: Scene) -> None:
    before = _scores(40)
    maker = await scene.new_version()
    run = await scene.record(before, maker, "old")
    await scene.label(run, 20, lambda n: 10 * before[n], run_name="old")
    await scene.record(before, maker, "run")
    await scene.new_version(f"{PROMPT} Be kind.")
    scene.answers(lambda n: 10 * before[n])
    checked = await scene.check(baseline="old")
    assert checked.application_shift is None
    assert any("score_run" in warning for warning in checked.warnings)


async def test_a_judge_is_refused_without_anchors_and_with_too_few(scene: Scene) -> None:
    run = await scene.record(_scores(60), await scene.new_version())
    with pytest.raises(UsageError) as none:
        await scene.check()
    assert none.value.next[0].tool == "request_labels"
    await scene.label(run, 12, lambda _: 5)
    with pytest.raises(UsageError, match="8 more"):
        await scene.check()
    assert scene.server.calls == []


async def test_anchors_of_a_stratified_draw_count_by_their_weights(scene: Scene) -> None:
    """A noisy judge seems to have moved towards the middle on as many failed as passed ones."""
    then = [float(n >= 40) for n in range(200)]
    run = await scene.record(then, await scene.new_version())
    await scene.label(run, 40, lambda n: 10 * then[n], stratify=True)
    scene.answers(lambda n: 9 if then[n] else 4)
    checked = await scene.check()
    assert checked.shift is not None
    # 0.4 of a fifth of the results less 0.1 of the others; 0.15 of the anchors.
    assert checked.shift.value == pytest.approx(0)


async def test_votes_show_how_far_a_judge_disagrees_with_itself(scene: Scene) -> None:
    run = await scene.record([0.5] * 40, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    turns = dict.fromkeys(range(40), 0)

    def by_turns(n: int) -> float:
        turns[n] += 1
        return 10.0 * (turns[n] % 2) if n % 2 else 5.0

    scene.answers(by_turns)
    checked = await scene.check(votes=2)
    assert len(scene.server.calls) == 40
    odd = sum(count > 0 for n, count in turns.items() if n % 2)
    assert checked.self_disagreement == pytest.approx(odd / 20)
    assert checked.shift is not None
    assert checked.shift.value == 0


async def test_an_unchanged_judge_is_not_shown_to_be_so_by_few_anchors(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    scene.answers(lambda _: 5)
    checked = await scene.check()
    assert checked.shift is not None
    assert (checked.shift.value, checked.verdict) == (0.0, "inconclusive")
    assert 0.1 < checked.shift.high < 0.2


async def test_changes_in_both_directions_are_shown_though_the_mean_stays(scene: Scene) -> None:
    run = await scene.record([0.6, 0.8] * 10, await scene.new_version())
    await scene.label(run, 20, lambda n: 6.0 if n % 2 else 8.0)
    scene.answers(lambda n: 6.0 if n % 2 else 8.0)
    checked = await scene.check()
    assert checked.shift is not None
    assert checked.shift.value == pytest.approx(0)
    assert (checked.newly_pass, checked.newly_fail) == (10, 10)
    assert (checked.then.agreement, checked.now.agreement) == (0.0, 1.0)


async def test_verdicts_that_cannot_be_read_are_no_zeros_and_leave_the_shift_open(scene: Scene) -> None:
    run = await scene.record([0.5] * 30, await scene.new_version())
    await scene.label(run, 30, lambda _: 5)
    scene.answers(lambda n: "I cannot say." if n % 4 == 0 else 5.0)
    checked = await scene.check()
    assert checked.shift is not None
    assert checked.unreadable == 8
    assert checked.shift.value == 0
    assert checked.shift.high - checked.shift.low > 2 * 0.5 * checked.unreadable / 30
    assert checked.verdict == "inconclusive"


async def test_intervals_are_promised_only_where_there_are_some(scene: Scene) -> None:
    run = await scene.record([0.5] * 30, await scene.new_version())
    await scene.label(run, 30, lambda _: 5)
    scene.answers(lambda n: "I cannot say." if n % 2 else 5.0)
    checked = await scene.check()
    assert (checked.shift, checked.unreadable) == (None, 15)
    assert not any("interval" in warning for warning in checked.warnings)


async def test_a_check_stops_at_its_cost(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version(model="gpt-4o-mini"))
    await scene.label(run, 20, lambda _: 5)
    scene.answers(lambda _: 5)
    with pytest.raises(BudgetError):
        await scene.check(max_cost=1e-6)
    checked = await scene.check(max_cost=10)
    assert checked.cost_usd is not None
    assert 0 < checked.cost_usd < 10


async def test_a_price_that_is_not_known_is_refused_with_a_limit(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version(model="nobody-sells-this"))
    await scene.label(run, 20, lambda _: 5)
    with pytest.raises(JudgeError):
        await scene.check(max_cost=1)


async def test_a_check_goes_on_when_the_wait_is_over_and_is_not_asked_twice(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    scene.answers(lambda _: 5)
    request = JudgeCheckRequest(dataset=scene.dataset, run_name="run", score_name="tone")
    begun = await check_judge(scene.ws, request, wait_seconds=0)
    assert (begun.status, begun.next[0].tool) == ("running", "check_judge")
    ended = await check_judge(scene.ws, request, wait_seconds=PATIENCE_S)
    assert (ended.status, ended.shift is not None, len(scene.server.calls)) == ("completed", True, 20)


async def test_a_prompt_that_holds_the_anchors_is_told(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    await scene.new_version(f"{PROMPT} Example: the question number 0003 is a 5.")
    scene.answers(lambda _: 5)
    checked = await scene.check()
    assert any("1 anchors" in warning for warning in checked.warnings)


async def test_a_model_that_refuses_all_calls_ends_the_check(scene: Scene) -> None:
    run = await scene.record([0.5] * 30, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    scene.server.respond = lambda _: Failure(401, "Wrong key.")
    with pytest.raises(ModelRefusedError):
        await scene.check()


async def test_labels_drawn_for_the_version_before_are_anchors_when_the_run_was_scored_again(scene: Scene) -> None:
    run = await scene.record([0.5] * 40, await scene.new_version())
    await scene.label(run, 20, lambda _: 7)
    later = await scene.new_version(f"{PROMPT} Be kind.")
    await score_again(scene.ws, run, later, 0.7)
    scene.answers(lambda _: 7)
    checked = await scene.check()
    assert (checked.then.judge, checked.now.judge) == (scene.makers[0].label, later.label)
    assert checked.shift is not None
    assert checked.shift.value == pytest.approx(0.2)
    assert (checked.newly_pass, checked.then.agreement, checked.now.agreement) == (20, 0.0, 1.0)


async def test_another_version_can_be_tried_before_it_is_in_use(scene: Scene) -> None:
    run = await scene.record([0.5] * 30, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    await scene.new_version(f"{PROMPT} Be kind.")
    scene.answers(lambda _: 5)
    checked = await scene.check(judge=f"{scene.judge}:1")
    assert checked.now.judge == checked.then.judge


async def test_a_score_that_is_no_judges_is_refused(scene: Scene) -> None:
    script: dict[str, RunMaker] = {"tone": ScriptMaker("tone", "checks.py", "00", TEN, "evaluator")}
    dataset = await make_dataset(scene.ws, scene.dataset)
    run = await record_run(
        scene.ws,
        dataset,
        "run",
        [Recorded(f"i{n}", output="o", scores={"tone": 5.0}) for n in range(30)],
        makers=script,
    )
    assert run.observations
    with pytest.raises(JudgeError):
        await scene.check()


_PLACES = re.compile(r"^([AB]): <data-\w+>(\w+) (\d+)</data-\w+>", re.MULTILINE)


async def _pairs(scene: Scene) -> JudgeMaker:
    """Record runs `a` and `run`, and that a pairwise judge preferred the outputs of `run` in 40 pairs."""
    prompt = "Question: {{input}}\nA: {{output_a}}\nB: {{output_b}}\nAnswer with A, B or tie."
    await create_judge(scene.ws, scene.judge, prompt, config={"model": "gpt-test", "score_name": "tone"})
    maker = JudgeMaker(scene.judge, 1, "openai", "gpt-test", UNIT, "default", "a")
    dataset = await make_dataset(scene.ws, scene.dataset)
    await record_run(scene.ws, dataset, "a", [Recorded(f"i{n:02}", output=f"old {n}") for n in range(40)])
    await record_run(
        scene.ws,
        dataset,
        "run",
        [Recorded(f"i{n:02}", output=f"new {n}", scores={"tone-vs-a": 1.0}) for n in range(40)],
        makers={"tone-vs-a": maker},
    )
    return maker


async def test_a_pairwise_judge_that_follows_the_place_is_all_bias(scene: Scene) -> None:
    maker = await _pairs(scene)
    scene.server.respond = lambda _: Reply('{"reasoning": "First.", "score": "A"}')
    checked = await scene.check(score_name="tone-vs-a")
    assert (checked.anchors, checked.then.judge) == (40, maker.label)
    assert checked.position_bias is not None
    assert checked.position_bias.value == 1
    assert checked.shift is not None
    # Each verdict is a tie now, where it was a win.
    assert checked.shift.value == pytest.approx(-0.5)
    assert len(scene.server.calls) == 80


async def test_a_pairwise_judge_that_wavers_at_random_has_no_bias(scene: Scene) -> None:
    await _pairs(scene)

    def respond(call: Call) -> Outcome:
        shown = {place: (which, int(number)) for place, which, number in _PLACES.findall(call.text)}
        number = shown["A"][1]
        # In one pair of ten it follows the first place, and in one the second.
        followed = {0: "A", 1: "B"}.get(number % 10)
        winner = followed or ("A" if shown["A"][0] == "new" else "B")
        return Reply(f'{{"reasoning": "So.", "score": "{winner}"}}')

    scene.server.respond = respond
    checked = await scene.check(score_name="tone-vs-a", votes=2)
    assert checked.position_bias is not None
    assert checked.position_bias.value == 0
    assert checked.position_bias.low < 0 < checked.position_bias.high
    assert checked.self_disagreement == 0
    assert checked.now.agreement is None


async def test_a_judge_of_traces_is_shown_what_the_task_did(scene: Scene) -> None:
    maker = await scene.new_version("What the task did: {{trace}} Rate it from 0 to 10.")
    dataset = await make_dataset(scene.ws, scene.dataset)
    results = [Recorded(f"i{n}", output=f"o{n}", tokens=(3, 4), scores={"tone": 0.5}) for n in range(20)]
    run = await record_run(scene.ws, dataset, "run", results, makers={"tone": maker})
    await scene.label(run, 20, lambda _: 5)
    scene.server.respond = lambda _: Reply('{"reasoning": "So.", "score": 5}')
    checked = await scene.check()
    assert checked.shift is not None
    assert all("call" in call.text for call in scene.server.calls)


async def test_each_check_is_recorded_with_the_run_and_counted(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    scene.answers(lambda _: 5)
    first = await scene.check()
    second = await scene.check()
    assert not any("number" in warning for warning in first.warnings)
    assert any("number 2" in warning for warning in second.warnings)
    assert len(scene.server.calls) == 40
    recorded = await scene.ws.gateway.scores.find(experiment_id=run.experiment_id, name=CHECK_SCORE_NAME)
    assert [score.value for score in recorded] == [0.0, 0.0]
    assert (await read_run(scene.ws, scene.dataset, "run")).run_scores == ()


async def test_an_alias_that_moves_during_the_check_is_told(scene: Scene) -> None:
    run = await scene.record([0.5] * 20, await scene.new_version())
    await scene.label(run, 20, lambda _: 5)
    message = {"role": "assistant", "content": '{"reasoning": "So.", "score": 5}'}
    choice = {"index": 0, "finish_reason": "stop", "message": message}

    def respond(call: Call) -> Outcome:
        [number] = _SHOWN.findall(call.text)
        model = f"gpt-test-{'new' if int(number) == 7 else 'old'}"
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        return Raw(json.dumps(body))

    scene.server.respond = respond
    checked = await scene.check()
    assert any("gpt-test-new" in warning and "gpt-test-old" in warning for warning in checked.warnings)
    assert checked.cost_usd is None


async def test_held_out_results_are_neither_drawn_nor_asked_about(scene: Scene) -> None:
    name = scene.dataset
    await scene.ws.gateway.datasets.upsert(name, holdout=Holdout(share=0.3, salt="salt"))
    run = await scene.record([0.5] * 45, await scene.new_version())
    holdout = (await scene.ws.gateway.datasets.get(name)).holdout
    assert holdout is not None
    shown = {item for item in run.observations if not holdout.holds(item, {})}
    asked = await request_labels(scene.ws, LabelsRequest(dataset=name, run_name="run", score_name="tone", n=1000))
    assert (asked.population, asked.drawn) == (len(shown), len(shown))
    assert {entry.object_id for entry in await queued(scene.ws, asked.queue)} == {
        run.observations[item] for item in shown
    }
    await Annotators(scene.ws, scene.humans, run, asked.queue).label(lambda _: 5)
    scene.answers(lambda _: 5)
    checked = await scene.check()
    assert checked.anchors == len(shown)
    asked_about = {f"i{int(number):03}" for call in scene.server.calls for number in _SHOWN.findall(call.text)}
    assert asked_about == shown
