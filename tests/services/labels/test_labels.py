"""request_labels and the labels that come of it, on the real store."""

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, combinations

import anyio
import pytest

from lfexp_mcp.answers.labels import LabelsAnswer
from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.model import BOOLEAN, TEN, Category, ItemResult, JudgeMaker, RunMaker, Scale, ScriptMaker
from lfexp_mcp.services.labels import reading
from lfexp_mcp.services.labels import request_labels as request_labels_module
from lfexp_mcp.services.labels.draw import allocate, labellable, put_in_order, read_draw, seed_of
from lfexp_mcp.services.labels.request_labels import request_labels
from lfexp_mcp.services.requests import LabelsRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace
from tests.services.humans import Humans
from tests.services.labels.people import TONE, Annotators, ask, judged_run, labels_of, queue_named, queued, score_again
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.anyio


def _value(item: str) -> float:
    return float(int(item[1:]) % 11)


@pytest.mark.slow
async def test_labels_stand_for_the_whole_run(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-whole", [(n % 11) / 10 for n in range(120)])
    asked = await ask(workspace, "labels-whole", 40)
    assert (asked.drawn, asked.population, asked.labelled, asked.random, asked.void) == (40, 120, 0, 0, None)
    assert await Annotators(workspace, humans, run, asked.queue).label(_value)
    labels = await labels_of(workspace, "labels-whole")
    assert len(labels.results) == 120
    assert (labels.drawn, len(labels.labelled), labels.given, labels.volunteered, labels.void) == (40, 40, 40, 0, None)
    assert {labels.weight(each) for each in labels.labelled} == {3.0}
    assert all(each.human == pytest.approx(_value(each.item_id) / 10) == each.judge for each in labels.labelled)
    shown = await ask(workspace, "labels-whole")
    assert (shown.drawn, shown.labelled, shown.random) == (40, 40, 40)
    assert shown.next[0].tool == "analyze_run"
    assert any("no author" in warning for warning in shown.warnings)


@pytest.mark.slow
async def test_a_larger_draw_contains_the_smaller_on_any_machine(workspace: Workspace) -> None:
    await judged_run(workspace, "labels-nested", [0.5] * 60)
    first = await ask(workspace, "labels-nested", 10)
    before = [entry.object_id for entry in await queued(workspace, first.queue)]
    second = await ask(workspace, "labels-nested", 25)
    after = [entry.object_id for entry in await queued(workspace, second.queue)]
    assert second.queue == first.queue
    assert (len(before), len(after), len(set(after))) == (10, 25, 25)
    assert set(after[:10]) == set(before)
    assert (await ask(workspace, "labels-nested", 5)).drawn == 25
    assert (await ask(workspace, "labels-nested", 500)).drawn == 60


async def test_a_queue_that_fills_slowly_is_filled_by_further_calls(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await judged_run(workspace, "labels-slow", [0.5] * 30)
    monkeypatch.setattr(request_labels_module, "FILLING_S", 0.0)
    begun = await ask(workspace, "labels-slow", 20)
    assert begun.drawn < 20
    assert any("call again" in warning for warning in begun.warnings)
    monkeypatch.undo()
    assert (await ask(workspace, "labels-slow")).drawn == 20
    assert len(await queued(workspace, begun.queue)) == 20


async def test_two_calls_at_once_make_one_draw(workspace: Workspace) -> None:
    await judged_run(workspace, "labels-race", [0.5] * 30)
    answers: list[LabelsAnswer] = []

    async def call() -> None:
        answers.append(await ask(workspace, "labels-race", 5))

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(call)
    first, second = answers
    assert first.queue == second.queue
    entries = [entry.object_id for entry in await queued(workspace, first.queue)]
    assert len(entries) == len(set(entries)) == 5


async def test_the_record_of_the_draw_is_in_langfuse_alone(workspace: Workspace) -> None:
    await judged_run(workspace, "labels-record", [0.0] * 5 + [1.0] * 45)
    asked = await ask(workspace, "labels-record", 12, stratify=True)
    draw = read_draw((await queue_named(workspace, asked.queue)).description)
    assert draw is not None
    assert (draw.score, draw.maker, draw.n, draw.population, draw.is_genuine) == ("tone", TONE, 12, 50, True)
    assert draw.strata == ((5, 5), (45, 7))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "stratified"),
    [
        ([1.0] * 8, False),
        # All labels of the one that failed would be a single one, which corrects nothing.
        ([1.0] * 19 + [0.0], False),
        ([1.0] * 18 + [0.0] * 2, True),
        ([0.0] * 9 + [1.0], False),
        # Results without a score are drawn with those that failed.
        ([1.0] * 8 + [0.0, None], True),
        ([1.0] + [None] * 8, False),
    ],
)
async def test_strata_that_are_too_small_to_correct_anything_are_not_made(
    workspace: Workspace, values: list[float | None], *, stratified: bool
) -> None:
    name = f"labels-small-strata-{len(values)}-{values.count(0.0)}-{values.count(None)}"
    await judged_run(workspace, name, values)
    asked = await ask(workspace, name, 4, stratify=True)
    assert len((await labels_of(workspace, name)).strata) == (2 if stratified else 1)
    assert bool(asked.warnings) is not stratified


async def test_a_stratified_draw_weighs_each_stratum_by_its_size(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-strata", [0.0] * 20 + [1.0] * 180)
    asked = await ask(workspace, "labels-strata", 20, stratify=True)
    await Annotators(workspace, humans, run, asked.queue).label(_value)
    labels = await labels_of(workspace, "labels-strata")
    assert [(stratum.size, stratum.labelled) for stratum in labels.strata] == [(20, 10), (180, 10)]
    assert Counter((each.judge, labels.weight(each)) for each in labels.labelled) == {(0.0, 2.0): 10, (1.0, 18.0): 10}


def test_each_result_is_drawn_as_often_as_the_others_and_each_pair() -> None:
    results = [ItemResult(f"i{n}", "succeeded", observation_id=f"{n:016x}") for n in range(10)]
    runs = 4000
    drawn = [
        frozenset(result.item_id for result in put_in_order(results, {}, seed_of(f"run-{run}", "tone"), None)[0][:5])
        for run in range(runs)
    ]
    single, pairs = Counter(chain.from_iterable(drawn)), Counter[frozenset[str]]()
    for each in drawn:
        pairs.update(map(frozenset, combinations(each, 2)))
    # Within four standard errors of 1/2 for each of ten, and of 2/9 for each of 45.
    assert max(abs(single[result.item_id] / runs - 1 / 2) for result in results) < 4 * math.sqrt(0.25 / runs)
    assert len(pairs) == 45
    assert max(abs(count / runs - 2 / 9) for count in pairs.values()) < 4 * math.sqrt(2 / 9 * 7 / 9 / runs)


@pytest.mark.slow
async def test_only_the_first_labels_in_a_row_are_random(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-part", [0.5] * 100)
    asked = await ask(workspace, "labels-part", 20)
    people = Annotators(workspace, humans, run, asked.queue)
    await people.label(_value, [2, 5, 9, 14])
    chosen = await ask(workspace, "labels-part")
    assert (chosen.labelled, chosen.random) == (4, 0)
    await people.label(_value, [0, 1, 3, 4])
    partly = await ask(workspace, "labels-part")
    assert (partly.labelled, partly.random, partly.drawn) == (8, 6, 20)
    labels = await labels_of(workspace, "labels-part")
    assert {labels.weight(each) for each in labels.labelled} == {100 / 6}


@pytest.mark.slow
async def test_many_results_left_without_a_label_make_the_others_no_random_part(
    workspace: Workspace, humans: Humans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LABEL_DELAY", -reading.LABEL_DELAY)
    run = await judged_run(workspace, "labels-skipped", [0.5] * 60)
    asked = await ask(workspace, "labels-skipped", 40)
    people = Annotators(workspace, humans, run, asked.queue)
    await people.skip([3])
    await people.label(_value, [place for place in range(40) if place not in (3, 7, 8)])
    few = await labels_of(workspace, "labels-skipped")
    assert (few.skipped, len(few.labelled), few.void) == (1, 6, None)
    await people.skip([7, 8])
    many = await labels_of(workspace, "labels-skipped")
    assert (many.skipped, many.given, many.labelled) == (3, 37, ())
    assert many.void is not None


async def test_a_label_that_langfuse_does_not_show_yet_is_awaited(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-fresh", [0.5] * 10)
    asked = await ask(workspace, "labels-fresh", 5)
    await Annotators(workspace, humans, run, asked.queue).skip([0])
    labels = await labels_of(workspace, "labels-fresh")
    assert (labels.skipped, labels.void) == (0, None)


@pytest.mark.slow
async def test_labels_that_nobody_drew_correct_nothing(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-volunteers", [0.5] * 50)
    asked = await ask(workspace, "labels-volunteers", 10)
    queue, drawn = await queue_named(workspace, asked.queue), await queued(workspace, asked.queue)
    ids = {entry.object_id for entry in drawn}
    draw = read_draw(queue.description)
    assert draw is not None
    results = labellable(await read_run(workspace, "labels-volunteers", "run"))
    # From the last of the draw's order to the first: what is added to the queue at the next place counts as drawn.
    others = [each.item_id for each in put_in_order(results, {}, draw.seed, None)[0] if each.observation_id not in ids]
    others.reverse()
    config = queue.score_config_ids[0]
    for item in others[:8]:
        humans.annotate("human-tone", 9, config, run.traces[item], run.observations[item])
    # One of them is added to the queue by hand, and labelled there.
    await workspace.gateway.queues.add(queue.id, run.observations[others[0]])
    await Annotators(workspace, humans, run, asked.queue).label(_value, range(10))
    labels = await labels_of(workspace, "labels-volunteers")
    assert (labels.drawn, len(labels.labelled), labels.volunteered, labels.queue_only) == (10, 10, 8, 1)
    assert {each.item_id for each in labels.labelled}.isdisjoint(others)
    assert any("by hand" in warning for warning in (await ask(workspace, "labels-volunteers")).warnings)


async def test_a_result_that_was_labelled_before_it_was_drawn_counts(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-before", [0.5] * 6)
    config = humans.config("human-tone", 0, 10)
    for item, trace in run.traces.items():
        humans.annotate("human-tone", 4, config, trace, run.observations[item])
    asked = await ask(workspace, "labels-before", 3)
    assert (await queue_named(workspace, asked.queue)).score_config_ids == (config,)
    assert (asked.labelled, asked.random) == (3, 3)
    assert {entry.status for entry in await queued(workspace, asked.queue)} == {"COMPLETED"}


@pytest.mark.slow
async def test_another_version_of_the_judge_makes_the_draw_void_until_it_is_made_for_it(
    workspace: Workspace, humans: Humans
) -> None:
    run = await judged_run(workspace, "labels-version", [0.5] * 30)
    asked = await ask(workspace, "labels-version", 8)
    await Annotators(workspace, humans, run, asked.queue).label(_value)
    later = JudgeMaker("judge-tone", 2, "openai", "gpt-5.4-mini", TONE.scale, "prompt config")
    await score_again(workspace, run, later, 0.9)
    void = await labels_of(workspace, "labels-version")
    assert (void.labelled, void.given) == ((), 8)
    assert void.void is not None
    assert all(version in void.void for version in ("version 1", "version 2"))
    again = await ask(workspace, "labels-version", 8)
    assert again.queue != asked.queue
    # The labels are of the outputs, whoever scores these.
    assert (again.labelled, again.random, again.void) == (8, 8, None)
    labels = await labels_of(workspace, "labels-version")
    assert {each.judge for each in labels.labelled} == {0.9}


async def test_an_edited_record_is_no_random_draw(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-edited", [0.5] * 10)
    asked = await ask(workspace, "labels-edited", 3)
    queue = await queue_named(workspace, asked.queue)
    draw = read_draw(queue.description)
    assert draw is not None
    edited = replace(draw, seed="00" * 16).text("Chosen.")
    # As somebody would make it who wants another sample.
    made = await workspace.gateway.queues.create(f"{queue.name} again", edited, queue.score_config_ids)
    assert (await labels_of(workspace, "labels-edited")).queue.id == queue.id
    other = await judged_run(workspace, "labels-forged", [0.5] * 10)
    forged = replace(draw, experiment_id=other.experiment_id, seed="00" * 16).text("Chosen.")
    made = await workspace.gateway.queues.create("forged", forged, queue.score_config_ids)
    await workspace.gateway.queues.add(made.id, other.observations["i003"])
    await Annotators(workspace, humans, other, "forged").label(_value)
    labels = await labels_of(workspace, "labels-forged")
    assert (labels.queue.id, labels.labelled) == (made.id, ())
    assert labels.void is not None
    assert (await ask(workspace, "labels-forged", 3)).queue != "forged"
    assert run.experiment_id != other.experiment_id


async def test_a_score_that_people_cannot_be_asked_for_is_refused(workspace: Workspace) -> None:
    await judged_run(workspace, "labels-refused", [0.5] * 4)
    with pytest.raises(NotFoundError):
        await request_labels(workspace, LabelsRequest(dataset="labels-refused", run_name="run", score_name="wit"))
    makers: dict[str, RunMaker] = {
        "tone": JudgeMaker("judge-pair", 1, "openai", "gpt-5.4-mini", TONE.scale, against="other"),
        "length": ScriptMaker("length", "checks.py", "00", unit="characters"),
    }
    dataset = await make_dataset(workspace, "labels-refused-2")
    scores: dict[str, float | bool | str] = {"tone": 0.5, "length": 90.0, "kind": "good"}
    await record_run(workspace, dataset, "run", [Recorded("a", output="o", scores=scores)], makers=makers)
    for name in scores:
        with pytest.raises(UsageError, match=name):
            await request_labels(workspace, LabelsRequest(dataset=dataset.name, run_name="run", score_name=name))


async def test_labels_on_another_scale_and_in_another_direction_are_read_as_the_judge_is(
    workspace: Workspace, humans: Humans
) -> None:
    lower = JudgeMaker("judge-tone", 1, "openai", "gpt-5.4-mini", TEN.lower_better(), "prompt config")
    run = await judged_run(workspace, "labels-lower", [0.5] * 8, maker=lower)
    asked = await ask(workspace, "labels-lower", 4)
    await Annotators(workspace, humans, run, asked.queue).label(lambda _: 9)
    labels = await labels_of(workspace, "labels-lower")
    assert [each.human for each in labels.labelled] == [pytest.approx(0.1)] * 4


async def test_several_people_make_one_label_and_no_label_counts_twice(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-several", [0.5] * 8)
    asked = await ask(workspace, "labels-several", 3)
    people = Annotators(workspace, humans, run, asked.queue)
    await people.label(lambda _: 10)
    await people.label(lambda _: 4, [1])
    labels = await labels_of(workspace, "labels-several")
    assert sorted(each.human or 0 for each in labels.labelled) == [0.7, 1.0, 1.0]


async def test_results_that_the_judge_did_not_score_can_be_drawn(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-unscored", [None, 0.5, None, 0.5])
    asked = await ask(workspace, "labels-unscored", 4)
    assert asked.population == 4
    await Annotators(workspace, humans, run, asked.queue).label(lambda _: 5)
    labels = await labels_of(workspace, "labels-unscored")
    assert sorted((each.item_id, each.judge) for each in labels.labelled) == [
        ("i000", None), ("i001", 0.5), ("i002", None), ("i003", 0.5)
    ]  # fmt: skip


async def test_a_result_that_ran_again_has_no_label(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "labels-anew", [0.5] * 6)
    asked = await ask(workspace, "labels-anew", 6)
    await Annotators(workspace, humans, run, asked.queue).label(_value)
    await record_run(workspace, run.dataset, "run", [Recorded("i002", output="new", started=datetime.now(UTC))])
    labels = await labels_of(workspace, "labels-anew")
    assert "i002" not in {each.item_id for each in labels.labelled}
    # Its new result has a place in the same order, and is asked for when the draw is next looked at.
    again = await ask(workspace, "labels-anew", 6)
    assert (again.population, again.drawn, again.labelled) == (6, 6, 5)


@pytest.mark.parametrize(
    ("n", "sizes", "counts"),
    [
        (10, [100], [10]),
        (10, [4], [4]),
        (10, [100, 100], [5, 5]),
        (11, [100, 100], [6, 5]),
        (20, [3, 100], [3, 17]),
        (20, [100, 3], [17, 3]),
        (20, [3, 4], [3, 4]),
        (1, [5, 5], [1, 0]),
    ],
)
def test_a_draw_is_divided_evenly_as_far_as_there_are_results(n: int, sizes: list[int], counts: list[int]) -> None:
    assert allocate(n, sizes) == counts
    further = allocate(n + 1, sizes)
    assert all(more >= fewer for more, fewer in zip(further, counts, strict=True))


@pytest.mark.parametrize(
    "description",
    [None, "", "review", '{"lfexp_draw":1}', '{"lfexp_draw":2,"seed":"00"}', '{"lfexp_draw":', '[{"lfexp_draw":1}]'],
)
def test_a_description_without_a_record_is_no_draw(description: str | None) -> None:
    assert read_draw(description) is None


GRADES = Scale.of_categories((Category("good", 2), Category("fair", 1), Category("bad", 0)))
SHARED = Scale.of_categories((Category("great", 1), Category("good", 1), Category("bad", 0)))


@pytest.mark.parametrize(
    ("score", "scale", "stored", "kind", "given", "human"),
    [
        ("pass", BOOLEAN, True, "BOOLEAN", 1, 1.0),
        ("grade", GRADES, "fair", "CATEGORICAL", "fair", 0.5),
        ("two labels of one value", SHARED, "good", "NUMERIC", 1, 1.0),
        ("rubric/tone: is it kind and short enough", TEN, 0.5, "NUMERIC", 4, 0.4),
    ],
)
async def test_people_are_asked_on_the_judges_scale(
    workspace: Workspace, humans: Humans, score: str, scale: Scale, stored: float | bool | str, kind: str,
    given: float | str, human: float,
) -> None:  # fmt: skip
    maker = JudgeMaker("judge-scale", 1, "openai", "gpt-5.4-mini", scale, "prompt config")
    dataset = await make_dataset(workspace, f"labels-scale-{score.split('/')[0]}")
    results = [Recorded(f"i{n}", output=f"o{n}", scores={score: stored}) for n in range(5)]
    run = await record_run(workspace, dataset, "run", results, makers={score: maker})
    asked = await request_labels(workspace, LabelsRequest(dataset=dataset.name, run_name="run", score_name=score))
    queue = await queue_named(workspace, asked.queue)
    [config] = [each for each in await workspace.gateway.score_configs() if each.id in queue.score_config_ids]
    assert (config.data_type, len(config.name) <= 35) == (kind, True)
    for item, observation in run.observations.items():
        humans.annotate(config.name, given, config.id, run.traces[item], observation, data_type=kind)
    labels = await labels_of(workspace, dataset.name, score=score)
    assert [each.human for each in labels.labelled] == [pytest.approx(human)] * 5
