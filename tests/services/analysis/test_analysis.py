"""analyze_run on the real store."""

import random
import re

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.model import JudgeMaker, Scale, ScriptMaker
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.analysis.distributions import correlate_scores
from lfexp_mcp.services.answer_size import MAX_TOKENS, estimate_tokens
from lfexp_mcp.services.requests import AnalyzeRequest, build
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.distribution import mean_interval
from tests.services.humans import Humans
from tests.services.recording import Recorded, make_dataset, record_run
from tests.statistics.simulated import run_of

pytestmark = pytest.mark.anyio


async def test_failures_come_lowest_first_with_their_reasons(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-failures")
    values = {"a": 0.9, "b": 0.2, "c": 0.6, "d": 0.0, "e": 0.7}
    results = [
        Recorded(item, output=f"out {item}", scores={"accuracy": value}, comments={"accuracy": f"why {item}"})
        for item, value in values.items()
    ]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(
        workspace, AnalyzeRequest(dataset="analyze-failures", run_name="run", show_failures=True)
    )
    assert [item.item_id for item in answer.failures.items] == ["d", "b", "c"]
    assert answer.failures.items[0].scores[0].comment == "why d"
    (score,) = answer.scores
    assert (answer.threshold, score.failing, sum(score.histogram)) == (0.7, 3, 5)
    assert score.quantiles["p50"] == 0.6


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, ["d", "b"]), ("50%", ["d", "b"]), (1, ["d", "b", "c", "a"]), (0, [])]
)
async def test_a_threshold_is_on_0_to_1_or_a_percentage(
    workspace: Workspace, threshold: float | str, expected: list[str]
) -> None:
    name = f"analyze-threshold-{threshold}"
    dataset = await make_dataset(workspace, name)
    values = {"a": 0.9, "b": 0.2, "c": 0.6, "d": 0.0}
    await record_run(workspace, dataset, "run", [Recorded(item, scores={"s": value}) for item, value in values.items()])
    request = AnalyzeRequest(dataset=name, run_name="run", show_failures=True, score_threshold=threshold)
    assert [item.item_id for item in (await analyze_run(workspace, request)).failures.items] == expected


@pytest.mark.parametrize("threshold", [8, 70, "80", "4/10/5", "high", -0.1])
def test_a_threshold_that_does_not_say_out_of_what_is_refused(threshold: float | str) -> None:
    with pytest.raises(UsageError, match="4/5"):
        build(AnalyzeRequest, dataset="d", run_name="r", score_threshold=threshold)


async def test_a_threshold_may_be_on_the_own_scale_of_the_score_that_is_named(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-own-scale")
    judge = JudgeMaker("judge-harm", 1, "openai", "m", Scale(1, 5, lower_is_better=True), "prompt config")
    results = [Recorded(item, scores={"harm": value}) for item, value in {"a": 1.0, "b": 0.25, "c": 0.5}.items()]
    await record_run(workspace, dataset, "run", results, makers={"harm": judge})
    named = {"dataset": dataset.name, "run_name": "run", "score_name": "harm", "show_failures": True}
    answer = await analyze_run(workspace, build(AnalyzeRequest, **named, score_threshold="3.5/5"))
    assert [item.item_id for item in answer.failures.items] == ["b"]
    with pytest.raises(UsageError, match="1-5"):
        await analyze_run(workspace, build(AnalyzeRequest, **named, score_threshold="4/10"))
    with pytest.raises(UsageError, match="score_name"):
        build(AnalyzeRequest, dataset=dataset.name, run_name="run", score_threshold="4/5")


async def test_failures_go_on_page_by_page(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-pages")
    await record_run(workspace, dataset, "run", [Recorded(f"i{n:02}", scores={"s": n / 100}) for n in range(25)])
    seen: list[str] = []
    cursor: str | None = None
    while True:
        request = AnalyzeRequest(dataset="analyze-pages", run_name="run", show_failures=True, cursor=cursor)
        failures = (await analyze_run(workspace, request)).failures
        assert failures.total == 25
        seen += [item.item_id for item in failures.items]
        cursor = failures.next_cursor
        if cursor is None:
            break
    assert seen == [f"i{n:02}" for n in range(25)]


async def test_the_next_page_of_failures_is_of_the_same_score_and_threshold(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-next")
    results = [Recorded(f"i{n:02}", scores={"s": n / 100, "t": 0.0}) for n in range(25)]
    await record_run(workspace, dataset, "run", results)
    request = AnalyzeRequest(dataset="analyze-next", run_name="run", score_name="s", score_threshold=0.2)
    answer = await analyze_run(workspace, request)
    seen = [item.item_id for item in answer.failures.items]
    step = answer.next[0]
    while step.tool == "analyze_run":
        answer = await analyze_run(workspace, build(AnalyzeRequest, **step.arguments))
        assert answer.failures.total == 20
        seen += [item.item_id for item in answer.failures.items]
        step = answer.next[0]
    assert seen == [f"i{n:02}" for n in range(20)]


async def test_the_kind_of_item_that_does_worse_is_found(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-slices")
    results = [
        Recorded(
            f"i{n}",
            scores={"ok": float(n % 4 != 0 or n % 3 == 0)},
            metadata={"topic": "refunds" if n % 4 == 0 else "other", "row": n, "tags": ["x"] if n % 2 else ["x", "y"]},
        )
        for n in range(60)
    ]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-slices", run_name="run"))
    worst = answer.slices[0]
    assert (worst.key, worst.value, worst.count, worst.verdict) == ("topic", "refunds", 15, "worse")
    assert worst.rest_mean == 1.0
    assert "row" not in {one.key for one in answer.slices}


async def test_a_score_with_a_stray_value_is_sliced_by_nothing(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-stray-slices")
    results = [
        Recorded(f"i{n}", metadata={"kind": "a" if n < 12 else "b"}, scores={"s": 0.1 if n < 12 else 0.9, "t": n / 24})
        for n in range(24)
    ]
    stray = Recorded("stray", metadata={"kind": "b"}, scores={"s": 7.0, "t": 1.0})
    await record_run(workspace, dataset, "run", [*results, stray])
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-stray-slices", run_name="run"))
    assert {one.score for one in answer.slices} == {"t"}
    assert answer.correlations == []


async def test_a_slice_of_a_score_without_a_scale_is_lower_or_higher(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-raw-slices")
    results = [
        Recorded(f"i{n}", scores={"used": 20.0 + n + 500 * (n % 2)}, metadata={"long": bool(n % 2)}) for n in range(40)
    ]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-raw-slices", run_name="run"))
    assert {one.value: one.verdict for one in answer.slices} == {
        "false": "lower",
        "true": "higher",
    }


@pytest.mark.parametrize(
    ("lower_is_better", "verdicts"),
    [(True, {"false": "better", "true": "worse"}), (False, {"false": "worse", "true": "better"})],
)
async def test_a_slice_of_a_score_in_a_unit_is_better_or_worse_where_its_evaluator_says_which_is(
    workspace: Workspace, verdicts: dict[str, str], *, lower_is_better: bool
) -> None:
    name = f"analyze-unit-slices-{lower_is_better}"
    dataset = await make_dataset(workspace, name)
    maker = ScriptMaker("words", "checks.py", "aa", lower_is_better=lower_is_better, unit="words")
    results = [
        Recorded(f"i{n}", scores={"words": 20.0 + n + 500 * (n % 2)}, metadata={"long": bool(n % 2)}) for n in range(40)
    ]
    await record_run(workspace, dataset, "run", results, makers={"words": maker})
    answer = await analyze_run(workspace, AnalyzeRequest(dataset=name, run_name="run"))
    assert {one.value: one.verdict for one in answer.slices} == verdicts
    assert answer.slices[0].verdict == "worse"


async def test_zeros_and_ones_in_a_unit_are_described_as_numbers(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-few-calls")
    maker = ScriptMaker("calls", "checks.py", "aa", lower_is_better=True, unit="calls")
    results = [Recorded(f"i{n}", scores={"calls": float(n % 4 == 0)}) for n in range(12)]
    await record_run(workspace, dataset, "run", results, makers={"calls": maker})
    (calls,) = (await analyze_run(workspace, AnalyzeRequest(dataset="analyze-few-calls", run_name="run"))).scores
    assert (calls.mean, calls.failing) == (0.25, None)
    assert calls.interval == mean_interval([float(n % 4 == 0) for n in range(12)], None)
    assert calls.quantiles["max"] == 1
    assert sum(calls.histogram) == 12


async def test_a_failing_items_metadata_reads_as_json_and_its_text_as_a_strangers(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-metadata")
    metadata: dict[str, JsonValue] = {"hard": False, "tags": ["x"], "topic": "refunds"}
    await record_run(workspace, dataset, "run", [Recorded("i", scores={"s": 0.0}, metadata=metadata)])
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-metadata", run_name="run"))
    assert answer.failures.items[0].metadata == {"hard": "false", "tags": '["x"]', "topic": "refunds"}
    assert answer.notice in report_text(answer)
    shown = await get_run(workspace, "analyze-metadata", "run")
    assert shown.notice in report_text(shown)


async def test_errors_are_grouped_by_kind(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-errors")
    results = [
        Recorded(f"t{n}", output=f"Error: timeout after {n}.5 s calling https://api.example/{n}", failed=True)
        for n in range(4)
    ]
    results += [Recorded("k", output="Error: 'color' is missing", failed=True), Recorded("fine", output="o")]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-errors", run_name="run"))
    assert [(group.by, group.where, group.count, group.of) for group in answer.groups] == [
        ("error", "task", 4, 5),
        ("error", "task", 1, 5),
    ]
    assert answer.groups[0].key == "timeout after <number> s calling <url>"
    assert answer.groups[0].text == "timeout after 0.5 s calling https://api.example/0"


async def test_outputs_that_look_wrong_are_grouped(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-outputs")
    good = "This is a whole answer that explains the matter at some length and then ends as it should. " * 4
    results = [Recorded(f"good-{n}", input=f"q{n}", output=f"{n}: {good.strip()}") for n in range(6)]
    results += [Recorded(f"cut-{n}", output=f"{good[:250]}and then it stops in the mid{n}") for n in range(2)]
    results += [Recorded(f"void-{n}", output="") for n in range(2)]
    results += [Recorded(f"no-{n}", output=f"I am sorry, I cannot help with that, {n}.") for n in range(2)]
    results += [Recorded(f"same-{n}", input=f"s{n}", output="Please see our help pages.") for n in range(3)]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-outputs", run_name="run"))
    assert {group.key: group.examples for group in answer.groups if group.by == "output"} == {
        "empty text": ["void-0", "void-1"],
        "cut off": ["cut-0", "cut-1"],
        "refusal": ["no-0", "no-1"],
        'same output: "Please see our help pages."': ["same-0", "same-1"],
    }


async def test_failing_items_are_grouped_by_label_and_by_the_comments_of_their_scores(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-groups")
    results = [
        Recorded(
            f"i{n}",
            output="ham" if n % 4 == 0 else "spam",
            expected_output="spam",
            scores={"exact": float(n % 4 != 0), "tone": 1.0},
            comments={"exact": f"Got ham after {n}.5 s" if n % 4 == 0 else "fine", "tone": "polite"},
        )
        for n in range(20)
    ]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-groups", run_name="run"))
    assert [(group.by, group.where, group.key, group.count, group.of) for group in answer.groups] == [
        ("comment", "exact", "Got ham after <number> s", 5, 5),
        ("expected and actual", "exact", '"spam" -> "ham"', 5, 20),
    ]
    assert "5 of 20" in report_text(answer)
    page = await analyze_run(workspace, build(AnalyzeRequest, **answer.next[0].arguments))
    assert page.groups == []


async def test_a_correlation_that_may_be_chance_is_not_listed(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-chance")
    results = [Recorded(f"i{n}", scores={"a": n / 20, "b": (n * 7 % 20) / 20, "c": n // 12}) for n in range(20)]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-chance", run_name="run"))
    assert {(pair.first, pair.second) for pair in answer.correlations} == {("a", "c")}


@pytest.mark.slow
def test_many_unrelated_scores_are_not_said_to_go_together() -> None:
    shown = 0
    for seed in range(20):
        drawn = random.Random(seed)
        names = [f"score-{number:02}" for number in range(12)]
        run = run_of([{name: drawn.random() for name in names} for _ in range(40)])
        shown += bool(correlate_scores(run, names))
    assert shown <= 3


async def test_scores_that_go_together_and_slow_and_dear_items_are_named(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-extremes")
    results = [
        Recorded(f"i{n}", scores={"a": n / 20, "b": 1 - n / 20}, seconds=0.1 + n, tokens=(100 * (20 - n), 5))
        for n in range(20)
    ]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-extremes", run_name="run"))
    assert answer.correlations[0].rho == pytest.approx(-1)
    assert answer.slowest[0].item_id == "i19"
    assert (answer.most_expensive[0].item_id, answer.most_expensive[0].tokens) == ("i0", 2005)
    assert "Most expensive: i0 2005 tokens" in report_text(answer)


async def test_where_judge_and_human_differ_both_are_heard(workspace: Workspace, humans: Humans) -> None:
    dataset = await make_dataset(workspace, "analyze-humans")
    results = [Recorded(f"i{n}", output="o", scores={"tone": 1.0}, comments={"tone": f"judge {n}"}) for n in range(6)]
    run = await record_run(workspace, dataset, "run", results)
    config = humans.config("disagreeing-tone", 1, 5)
    for n in range(6):
        item = f"i{n}"
        value, comment = (1, "rude!") if n == 3 else (5, None)
        humans.annotate("disagreeing-tone", value, config, run.traces[item], run.observations[item], comment)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-humans", run_name="run"))
    (one,) = answer.disagreements
    assert (one.item_id, one.judge_value, one.human_value) == ("i3", 1.0, 0.0)
    assert (one.untrusted_judge_reason, one.untrusted_human_comment) == ("judge 3", "rude!")


@pytest.mark.slow
async def test_a_default_answer_stays_small(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-large")
    results = [
        Recorded(
            f"i{n}",
            input="long " * 3000,
            output="text " * 3000 + str(n),
            scores={f"score-{k}": ((n * k) % 11) / 10 for k in range(8)},
            metadata={f"key-{k}": f"value-{n % (k + 2)}" for k in range(8)},
        )
        for n in range(40)
    ]
    await record_run(workspace, dataset, "run", results)
    request = AnalyzeRequest(dataset="analyze-large", run_name="run", show_failures=True, limit=50)
    answer = await analyze_run(workspace, request)
    assert estimate_tokens(answer) <= MAX_TOKENS
    assert answer.slices_tested > len(answer.slices)


@pytest.mark.slow
async def test_a_run_with_very_many_scores_stays_small_too(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-wide")
    results = [Recorded(f"i{n}", scores={f"quality-of-{k}": ((n * k) % 7) / 6 for k in range(40)}) for n in range(12)]
    await record_run(workspace, dataset, "run", results)
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-wide", run_name="run"))
    assert estimate_tokens(answer) <= MAX_TOKENS
    assert any(re.search(r"\b40\b", warning) for warning in answer.warnings)


async def test_a_run_without_scores_is_still_explained(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-bare")
    await record_run(workspace, dataset, "run", [Recorded("a", output="o")])
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-bare", run_name="run"))
    assert (answer.scores, answer.failures.total, answer.succeeded) == ([], 0, 1)
    with pytest.raises(NotFoundError) as refused:
        await analyze_run(workspace, AnalyzeRequest(dataset="analyze-bare", run_name="run", score_name="accuracy"))
    assert refused.value.name == "accuracy"


async def test_a_humans_number_is_read_on_its_score_configs_scale_in_every_part(
    workspace: Workspace, humans: Humans
) -> None:
    dataset = await make_dataset(workspace, "analyze-human-scale")
    judge = JudgeMaker("judge-own-tone", 1, "openai", "m", Scale(0, 1), "prompt config")
    results = [Recorded(f"i{n}", scores={"own-tone": 1.0}) for n in range(4)]
    run = await record_run(workspace, dataset, "run", results, makers={"own-tone": judge})
    config = humans.config("scaled-human-own-tone", 1, 5)
    own = humans.config("own-tone", 1, 5)
    for n, value in enumerate((1, 3, 5, 5)):
        humans.annotate("scaled-human-own-tone", value, config, run.traces[f"i{n}"], run.observations[f"i{n}"])
    humans.annotate("own-tone", 2, own, run.traces["i0"], run.observations["i0"])
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="analyze-human-scale", run_name="run", limit=100))
    scores = {score.name: score for score in answer.scores}
    assert scores["scaled-human-own-tone"].display == "0.62 (3.5/5)"
    assert scores["own-tone"].mean == 1.0
    listed = {(one.item_id, one.human): one.human_value for one in answer.disagreements}
    assert listed == {
        ("i0", "scaled-human-own-tone"): 0.0,
        ("i1", "scaled-human-own-tone"): 0.5,
        ("i0", "own-tone"): 0.25,
    }
    (item,) = (await get_run(workspace, "analyze-human-scale", "run", item_id="i0")).items
    assert {(score.name, score.source): (score.value, score.raw) for score in item.scores} == {
        ("scaled-human-own-tone", "ANNOTATION"): (0.0, 1.0),
        ("own-tone", "ANNOTATION"): (0.25, 2.0),
        ("own-tone", None): (1.0, None),
    }


@pytest.mark.slow
async def test_ten_failures_are_explained_in_3500_tokens(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "analyze-budget")
    results = [
        Recorded(
            f"item-{n:04}",
            input={"question": f"How many apples are left in basket {n}, if each day a third of them is eaten? " * 3},
            output=f"There are {n * 7} apples left, since each day's third was taken from what was left. " * 4,
            expected_output=str(n),
            metadata={"topic": f"topic {n % 7}", "level": n % 3, "source": "the handbook, chapter 4"},
            scores={"correct": n % 3 > 0, "helpful": n % 11 / 10},
            comments={"correct": "The number matches.", "helpful": "It explains how it counted, step by step. " * 3},
            tokens=(300, 80),
        )
        for n in range(120)
    ]
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    results += [
        Recorded(
            f"failed-{n}", output=f"Error: {words[n % 12]} went wrong, which is told at length here. " * 9, failed=True
        )
        for n in range(36)
    ]
    await record_run(workspace, dataset, "run", results)
    request = AnalyzeRequest(dataset=dataset.name, run_name="run", show_failures=True)
    answer = await analyze_run(workspace, request)
    assert (len(answer.failures.items), len(answer.groups)) == (10, 11)
    assert len(answer.model_dump_json()) / 4 <= 3_500
    longer = await analyze_run(workspace, request.model_copy(update={"limit": 30}))
    assert len(longer.failures.items) > 20
    full = await analyze_run(workspace, request.model_copy(update={"detail": "full", "limit": 100}))
    assert len(full.model_dump_json()) / 4 <= 14_000
    assert full.failures.next_cursor is not None
