"""compare_runs on the real store."""

import json
import secrets
from dataclasses import replace
from typing import cast

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import CursorError, NotFoundError, UsageError
from lfexp_mcp.model import TEN, ItemResult, ItemStatus, JudgeMaker, RunRecord, Scale, Score, ScriptMaker
from lfexp_mcp.reports.answers import report_of, report_text
from lfexp_mcp.reports.comparison_formats import junit, result_json
from lfexp_mcp.reports.layout import markdown
from lfexp_mcp.services.answer_size import MAX_FULL_TOKENS, MAX_TOKENS, estimate_tokens
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.comparison.changes import error_changes
from lfexp_mcp.services.comparison.comparability import find_issues
from lfexp_mcp.services.comparison.run_pair import pair_runs
from lfexp_mcp.services.requests import CompareRequest, build
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_run
from lfexp_mcp.services.workspace import Workspace
from tests.services.humans import Humans
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.anyio

_STATUSES: tuple[ItemStatus, ...] = ("pending", "failed", "succeeded")


def _read(*items: ItemResult) -> ScoredRun:
    return interpret_run(RunRecord("d", "id", "run", ("e",), "completed", items, len(items)), {})


def _results(values: list[float], output: str = "out", score: str = "accuracy") -> list[Recorded]:
    return [
        Recorded(
            f"item-{index:03}",
            output=f"{output} {index}",
            input={"question": index},
            scores={score: value},
            comments={score: f"because {output} {index}"},
        )
        for index, value in enumerate(values)
    ]


async def test_a_run_that_passes_more_items_is_better(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-better")
    await record_run(workspace, dataset, "old", _results([0.0] * 20 + [1.0] * 20, "old"))
    await record_run(workspace, dataset, "new", _results([0.0] * 4 + [1.0] * 35 + [0.0], "new"))

    answer = await compare_runs(workspace, CompareRequest(dataset="compare-better", runs=["old", "new"]))

    (line,) = answer.scores
    assert (line.verdict, line.pairs, line.wins, line.losses) == ("better", 40, 16, 1)
    assert line.delta == pytest.approx(15 / 40)
    worse = next(listed for listed in answer.changes if listed.kind == "worse")
    assert [(item.item_id, item.crossed) for item in worse.items] == [("item-039", "newly failing")]
    assert worse.items[0].reason == "because new 39"
    assert worse.items[0].baseline_reason == "because old 39"
    assert worse.items[0].input == {"question": 39}


async def test_the_baseline_can_be_another_than_the_first(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-baseline")
    await record_run(workspace, dataset, "a", _results([1.0] * 12))
    await record_run(workspace, dataset, "b", _results([0.0] * 12))
    request = CompareRequest(dataset="compare-baseline", runs=["a", "b"], baseline="b")
    answer = await compare_runs(workspace, request)
    assert (answer.baseline, answer.scores[0].run, answer.scores[0].verdict) == ("b", "a", "better")


async def test_a_task_that_fails_now_is_newly_erroring_and_no_zero(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-errors")
    await record_run(workspace, dataset, "old", _results([1.0] * 12))
    failing = Recorded("item-000", output="Error: out of memory", input={"question": 0}, failed=True)
    await record_run(workspace, dataset, "new", [failing, *_results([1.0] * 12)[1:]])

    answer = await compare_runs(workspace, CompareRequest(dataset="compare-errors", runs=["old", "new"]))

    assert (answer.scores[0].pairs, answer.scores[0].delta) == (11, 0.0)
    (listed,) = [listed for listed in answer.changes if listed.kind == "newly erroring"]
    assert (listed.total, listed.items[0].reason) == (1, "out of memory")
    assert answer.runs[1].error_rate == pytest.approx(1 / 12)
    assert any(finding.kind == "unpaired scores" for finding in answer.comparability)
    assert any(contrast.measure == "error_rate" for contrast in answer.contrasts)


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_failed_repetition_is_shown_as_an_error_and_not_as_what_scored_lower(
    workspace: Workspace, failing: int
) -> None:
    dataset = await make_dataset(workspace, f"compare-failed-repeat-{failing}")
    await record_run(workspace, dataset, "old", _results([1.0] * 6, "old"))
    failed = Recorded("item-000", output="Error: out of memory", input={"question": 0}, failed=True)
    lower = _results([0.0] + [1.0] * 5, "new")
    for index, name in enumerate(("new", "new#2")):
        results = [failed, *lower[1:]] if index == failing else lower
        provenance = json.dumps({"repeats": {"group": "new", "index": index, "count": 2}})
        await record_run(workspace, dataset, name, results, metadata={"lfexp": provenance})
    answer = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"]))
    shown = {listed.kind: [(item.output, item.reason) for item in listed.items] for listed in answer.changes}
    assert shown == {"worse": [("new 0", "because new 0")], "newly erroring": [(None, "out of memory")]}


async def test_judges_that_differ_are_not_compared(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-judges")
    for name, version in (("old", 1), ("new", 2)):
        judge = JudgeMaker("judge-tone", version, "openai", "m", TEN, "default")
        await record_run(workspace, dataset, name, _results([0.5] * 8, score="tone"), makers={"tone": judge})
    request = CompareRequest(dataset="compare-judges", runs=["old", "new"], fail_if=["tone.delta<0"])
    answer = await compare_runs(workspace, request)
    (line,) = answer.scores
    assert (line.verdict, line.delta) == ("not comparable", None)
    assert "version 1 and 2" in line.reason
    assert answer.gate is not None
    assert not answer.gate.passed


async def test_items_whose_content_changed_are_no_pairs(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-content")
    await record_run(workspace, dataset, "old", _results([1.0] * 10))
    changed = Recorded("item-000", output="x", input={"question": "another"}, scores={"accuracy": 0.0})
    await record_run(workspace, dataset, "new", [changed, *_results([1.0] * 10)[1:]])
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-content", runs=["old", "new"]))
    assert answer.scores[0].pairs == 9
    assert [finding.kind for finding in answer.comparability] == ["content"]


async def test_runs_without_common_items_are_not_compared(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-disjoint")
    await record_run(workspace, dataset, "old", _results([1.0] * 6))
    await record_run(workspace, dataset, "new", [Recorded(f"other-{n}", scores={"accuracy": 1.0}) for n in range(6)])
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-disjoint", runs=["old", "new"]))
    assert answer.scores[0].verdict == "not comparable"
    assert answer.scores[0].pairs == 0


async def test_runs_without_common_items_pass_no_gate_on_a_difference(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-disjoint-gate")
    await record_run(workspace, dataset, "old", _results([1.0] * 6))
    failing = [Recorded(f"other-{n}", output="Error: down", failed=True) for n in range(6)]
    await record_run(workspace, dataset, "new", failing)
    request = CompareRequest(
        dataset="compare-disjoint-gate", runs=["old", "new"], fail_if=["error_rate.delta>0.05", "error_rate>0.5"]
    )
    gate = (await compare_runs(workspace, request)).gate
    assert gate is not None
    assert [(check.outcome, check.value) for check in gate.checks] == [("undecided", None), ("failed", 1.0)]


async def test_runs_without_failures_pass_a_gate_on_the_error_rate(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-no-errors-gate")
    for name in ("old", "new"):
        await record_run(workspace, dataset, name, _results([1.0] * 6))
    request = CompareRequest(
        dataset="compare-no-errors-gate", runs=["old", "new"], fail_if=["error_rate.delta>0", "error_rate>0"]
    )
    gate = (await compare_runs(workspace, request)).gate
    assert gate is not None
    assert [(check.outcome, check.value) for check in gate.checks] == [("passed", 0.0), ("passed", 0.0)]


async def test_a_run_whose_items_mostly_failed_passes_no_gate_in_any_form(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-failed-gate")
    await record_run(workspace, dataset, "old", _results([1.0] * 12))
    failed = [replace(result, failed=True, output="Error: down", scores={}) for result in _results([1.0] * 12)[1:]]
    await record_run(workspace, dataset, "new", [*_results([1.0]), *failed])
    conditions = ["accuracy<0.8", "accuracy.delta<-0.02", "worse"]
    request = CompareRequest(dataset=dataset.name, runs=["old", "new"], fail_if=conditions)
    answer = await compare_runs(workspace, request)
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided"] * 3
    assert all("1 of 12" in check.message and "11 failed" in check.message for check in answer.gate.checks)
    records = [await read_run(workspace, dataset.name, name) for name in ("old", "new")]
    (result,) = cast("list[dict[str, JsonValue]]", result_json(answer, records)["results"])
    assert result["status"] == "error"
    for text in (report_text(answer), markdown(report_of(answer)), junit(answer), json.dumps(result)):
        assert "Cannot be decided" in text


async def test_an_item_that_was_not_run_neither_errs_nor_ceases_to(workspace: Workspace) -> None:
    waiting, failed, fine = (ItemResult("i", status) for status in _STATUSES)
    kinds = {
        (before.status, after.status): [
            listed.kind for listed in error_changes(pair_runs(_read(before), _read(after))) if listed.changes
        ]
        for before in (waiting, failed, fine)
        for after in (waiting, failed, fine)
    }
    assert {pair: found for pair, found in kinds.items() if found} == {
        ("succeeded", "failed"): ["newly erroring"],
        ("failed", "succeeded"): ["no longer erroring"],
    }


async def test_items_that_were_not_run_are_said_to_be_that_and_no_failures(workspace: Workspace) -> None:
    given = (Score("s1", "exact", 1.0, "NUMERIC"), Score("s2", "close", 1.0, "NUMERIC"))
    scored = [ItemResult(f"i{n}", "succeeded", scores=given) for n in range(4)]
    whole = _read(*scored)
    cut = _read(scored[0], ItemResult("i1", "failed"), ItemResult("i2", "pending"), ItemResult("i3", "pending"))
    (finding,) = find_issues(pair_runs(whole, cut))
    assert finding.message == (
        "'close', 'exact': of the shared items, 3 are scored in 'run' only "
        "(2 not run in the other, 1 failed in the other); these are not compared."
    )


async def test_a_score_without_a_scale_is_lower_or_higher_in_every_part(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-raw-changes")
    await record_run(workspace, dataset, "old", _results([100.0 + n for n in range(12)], score="used"))
    await record_run(workspace, dataset, "new", _results([300.0] * 11 + [20.0], score="used"))
    answer = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"]))
    assert [(listed.kind, listed.total) for listed in answer.changes] == [("lower", 1), ("higher", 11)]
    assert "better" not in report_text(answer).lower()


async def test_a_verdict_that_is_open_says_in_every_form_how_many_items_would_settle_it(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-needed")
    await record_run(workspace, dataset, "old", _results([0.0, 1.0] * 6))
    await record_run(workspace, dataset, "new", _results([1.0, 0.0] * 5 + [1.0, 1.0]))
    answer = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"]))
    (line,) = answer.scores
    assert line.verdict == "inconclusive"
    said = f"About {line.items_needed} items would show a difference of 0.08333"
    assert said in report_text(answer)
    assert said in markdown(report_of(answer))
    assert said in junit(answer)


async def test_every_list_of_changes_is_read_to_its_end(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-pages")
    long = "word " * 300
    await record_run(workspace, dataset, "old/1", _results([0.0] * 45 + [1.0] * 3, long, "a score"))
    await record_run(workspace, dataset, "new/2", _results([1.0] * 45 + [0.0] * 3, long, "a score"))
    first = CompareRequest(dataset=dataset.name, runs=["old/1", "new/2"], limit=20, min_delta=0.1)
    answer = await compare_runs(workspace, first)
    better = next(listed for listed in answer.changes if listed.kind == "better")
    seen = [item.item_id for item in better.items]
    step = next(step for step in answer.next if step.tool == "compare_runs")
    while True:
        answer = await compare_runs(workspace, build(CompareRequest, **step.arguments))
        assert estimate_tokens(answer) <= MAX_TOKENS
        (page,) = answer.changes
        assert (page.kind, page.total) == ("better", 45)
        seen += [item.item_id for item in page.items]
        if page.next_cursor is None:
            break
        step = next(step for step in answer.next if step.tool == "compare_runs")
        assert step.arguments["cursor"] == page.next_cursor
    assert seen == [f"item-{n:03}" for n in range(45)]
    assert all(step.tool != "compare_runs" for step in answer.next)


@pytest.mark.parametrize("cursor", ["from-10", "better/accuracy/new/from-12", "worse/other/new/from-1", "better/x"])
async def test_a_cursor_of_no_list_of_changes_is_refused(workspace: Workspace, cursor: str) -> None:
    dataset = await make_dataset(workspace, f"compare-cursor-{len(cursor)}")
    await record_run(workspace, dataset, "old", _results([0.0] * 12))
    await record_run(workspace, dataset, "new", _results([1.0] * 12))
    with pytest.raises(CursorError):
        await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"], cursor=cursor))


async def test_a_score_says_itself_that_its_script_was_changed(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-script")
    for name, digest, value in (("old", "a" * 64, 0.0), ("new", "b" * 64, 1.0)):
        script = ScriptMaker("accuracy", "e.py", digest)
        await record_run(workspace, dataset, name, _results([value] * 12), makers={"accuracy": script})
    answer = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"]))
    (line,) = answer.scores
    assert line.verdict == "better"
    assert f"evaluator script differs between the runs ({'a' * 12}; {'b' * 12})" in line.reason
    assert "a" * 13 not in answer.model_dump_json()


async def test_what_humans_gave_in_one_run_only_is_not_held_against_a_judge(
    workspace: Workspace, humans: Humans
) -> None:
    dataset = await make_dataset(workspace, "compare-sources")
    await record_run(workspace, dataset, "judged", _results([1.0] * 6, score="sources-tone"))
    config = humans.config("sources-tone", 0, 1)
    for name in ("rated", "rated again"):
        run = await record_run(workspace, dataset, name, _results([0.5] * 6, score="other"))
        for item, trace in run.traces.items():
            humans.annotate("sources-tone", 1, config, trace, run.observations[item])
    names = ["rated", "judged", "rated again"]
    answer = await compare_runs(
        workspace, CompareRequest(dataset="compare-sources", runs=names, score_name="sources-tone")
    )
    verdicts = {line.run: (line.verdict, line.reason, line.delta) for line in answer.scores}
    assert verdicts["judged"][::2] == ("not comparable", None)
    assert verdicts["rated again"][2] == 0.0
    assert {finding.run for finding in answer.comparability if finding.kind == "source"} == {"judged"}


async def test_scores_without_a_scale_are_higher_or_lower_and_out_of_gates(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-raw")
    await record_run(workspace, dataset, "old", _results([100.0 + n for n in range(12)], score="length"))
    await record_run(workspace, dataset, "new", _results([300.0 + n * n for n in range(12)], score="length"))
    request = CompareRequest(dataset="compare-raw", runs=["old", "new"], fail_if=["length<1", "length.delta<0"])
    answer = await compare_runs(workspace, request)
    assert (answer.scores[0].verdict, answer.scores[0].lower_is_better) == ("higher", None)
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["undecided", "undecided"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        # On 0-1 and on a guessed 0-10: nothing to compare. Both declared: the canonical values are.
        ((None, 0.5), (None, 7.0), "not comparable"),
        ((Scale(1, 5), 3.0), (None, 0.5), "not comparable"),
        ((Scale(1, 5), 3.0), (Scale(0, 100), 50.0), "inconclusive"),
        ((Scale(0, 1), 0.5), (Scale(0, 10, lower_is_better=True), 1.0), "better"),
        ((Scale(0, 1), 0.5), (Scale(0, 1), 1.5), "not comparable"),
    ],
)
async def test_runs_on_two_scales_meet_on_the_canonical_one_where_both_are_declared(
    workspace: Workspace, first: tuple[Scale | None, float], second: tuple[Scale | None, float], verdict: str
) -> None:
    dataset = await make_dataset(workspace, f"compare-scales-{secrets.token_hex(4)}")
    for name, (scale, value) in (("old", first), ("new", second)):
        maker = ScriptMaker("accuracy", "checks.py", "0", scale, "evaluator" if scale else None)
        await record_run(workspace, dataset, name, _results([value] * 40), makers={"accuracy": maker})
    request = CompareRequest(dataset=dataset.name, runs=["old", "new"], fail_if=["worse", "accuracy.delta<0"])
    answer = await compare_runs(workspace, request)
    assert answer.scores[0].verdict == verdict
    assert answer.gate is not None
    expected = "undecided" if verdict == "not comparable" else "passed"
    for check in answer.gate.checks:
        assert check.outcome == expected
        assert (answer.scores[0].reason in check.message) is (expected == "undecided")


@pytest.mark.slow
async def test_a_stray_value_makes_no_other_of_its_run_or_of_another_something_else(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-stray")
    await record_run(workspace, dataset, "old", _results([0.77] * 12))
    await record_run(workspace, dataset, "hair", _results([0.77] * 11 + [1.0000001]))
    await record_run(workspace, dataset, "stray", _results([0.77] * 11 + [7.0]))
    request = CompareRequest(dataset=dataset.name, runs=["old", "hair", "stray"], fail_if=["accuracy<0.7", "worse"])
    answer = await compare_runs(workspace, request)
    assert [run.means["accuracy"] for run in answer.runs[:2]] == pytest.approx([0.77, (0.77 * 11 + 1) / 12])
    assert [line.verdict for line in answer.scores] == ["inconclusive", "not comparable"]
    assert "1 of 12 values (7)" in answer.scores[1].reason
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["passed", "undecided", "passed", "undecided"]


@pytest.mark.slow
async def test_each_run_is_adjusted_for_those_before_it_whatever_it_is_asked_with(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-many")
    await record_run(workspace, dataset, "base", _results([0.0] * 10 + [1.0] * 10))
    for name in ("x", "y", "z"):
        await record_run(workspace, dataset, name, _results([0.0] * 4 + [1.0] * 16))
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-many", runs=["base", "x", "y", "z"]))
    assert {line.p for line in answer.scores} == {0.03125}
    assert [line.p_adjusted for line in answer.scores] == pytest.approx([0.03125, 3 * 0.03125, 6 * 0.03125])
    assert [line.verdict for line in answer.scores] == ["better", "inconclusive", "inconclusive"]
    assert 20 < (answer.scores[1].items_needed or 0) < (answer.scores[2].items_needed or 0)


def _beside_noise(scores: list[float], shift: int) -> list[Recorded]:
    """Results with one score of interest and four that tell nothing."""
    noise = {
        f"noise-{k}": [float((n * (k + 2) + shift * (k + 1)) % 7 < 4) for n in range(len(scores))] for k in range(4)
    }
    return [
        Recorded(f"item-{n:03}", scores={"accuracy": value, **{name: each[n] for name, each in noise.items()}})
        for n, value in enumerate(scores)
    ]


@pytest.mark.slow
async def test_a_primary_score_and_a_gate_that_names_one_are_not_weakened_by_scores_beside_it(
    workspace: Workspace,
) -> None:
    dataset = await make_dataset(workspace, "compare-primary")
    await record_run(workspace, dataset, "old", _beside_noise([1.0] * 40, 0))
    await record_run(workspace, dataset, "new", _beside_noise([0.0] * 8 + [1.0] * 32, 1))
    await record_run(workspace, dataset, "slightly", _beside_noise([0.0] * 7 + [1.0] * 33, 1))
    for primary, runs, verdict in (
        (None, ["old", "slightly"], "inconclusive"),
        ("accuracy", ["old", "slightly"], "worse"),
        ("accuracy", ["old", "slightly", "new"], "worse"),
    ):
        gates = ["accuracy.worse", "worse"]
        request = CompareRequest(dataset=dataset.name, runs=runs, primary_score=primary, fail_if=gates)
        answer = await compare_runs(workspace, request)
        line = next(line for line in answer.scores if (line.run, line.score) == ("slightly", "accuracy"))
        assert (line.p, line.verdict) == (0.015625, verdict)
        assert (line.p_adjusted == line.p) is (primary is not None)
        assert answer.gate is not None
        named, unnamed = (check for check in answer.gate.checks if check.run == "slightly")
        assert (named.outcome, unnamed.outcome) == ("failed", "failed" if verdict == "worse" else "passed")


async def test_a_gate_fails_on_a_loss_that_rare_gains_could_make_up_for_and_the_verdict_stays_open(
    workspace: Workspace,
) -> None:
    dataset = await make_dataset(workspace, "compare-small-loss")
    await record_run(workspace, dataset, "old", _results([0.5 + n / 100 for n in range(12)]))
    await record_run(workspace, dataset, "new", _results([0.4 + n / 200 for n in range(12)]))
    request = CompareRequest(dataset=dataset.name, runs=["old", "new"], fail_if=["accuracy.worse", "worse"])
    answer = await compare_runs(workspace, request)
    (line,) = answer.scores
    assert line.p is not None
    assert line.p < 0.001
    assert (line.verdict, line.interval is not None and line.interval.high > 0) == ("inconclusive", True)
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["failed", "failed"]


@pytest.mark.slow
async def test_the_scores_beside_a_primary_one_are_adjusted_for_each_other_alone(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-secondary")
    await record_run(workspace, dataset, "old", _beside_noise([1.0] * 40, 0))
    await record_run(workspace, dataset, "new", _beside_noise([1.0] * 40, 1))
    request = CompareRequest(dataset=dataset.name, runs=["old", "new"], primary_score="accuracy")
    answer = await compare_runs(workspace, request)
    lowest = min((line for line in answer.scores if line.score != "accuracy"), key=lambda line: line.p or 0.0)
    assert lowest.p is not None
    assert lowest.p_adjusted == pytest.approx(min(1.0, 4 * lowest.p))
    with pytest.raises(NotFoundError) as refused:
        await compare_runs(workspace, request.model_copy(update={"primary_score": "acuracy"}))
    assert "accuracy" in refused.value.near


@pytest.mark.slow
async def test_items_without_a_value_bound_the_delta_at_their_worst_and_best(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-worst-case")
    await record_run(workspace, dataset, "old", _results([0.5] * 40))
    crashed = [replace(result, failed=True, output="Error: down", scores={}) for result in _results([0.5] * 4)]
    await record_run(workspace, dataset, "new", [*crashed, *_results([0.5] * 4 + [0.75] * 36)[4:]])
    (line,) = (await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"]))).scores
    assert (line.verdict, line.pairs, line.delta) == ("better", 36, 0.25)
    assert line.worst_case is not None
    assert line.worst_case.low == pytest.approx((36 * 0.25 - 4 * 0.5) / 40)
    assert line.worst_case.high == pytest.approx((36 * 0.25 + 4 * 0.5) / 40)
    assert "+0.175 or +0.275" in line.reason
    await record_run(workspace, dataset, "whole", _results([0.75] * 40))
    (line,) = (await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "whole"]))).scores
    assert line.worst_case is None


@pytest.mark.slow
async def test_times_of_runs_with_another_concurrency_are_not_compared(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-concurrency")
    for name, concurrency, seconds in (("few", 5, 0.1), ("many", 40, 0.4), ("few too", 5, 0.4)):
        results = [Recorded(f"i{n}", scores={"ok": True}, seconds=seconds + n / 1000) for n in range(10)]
        metadata = {"lfexp": json.dumps({"limits": {"max_concurrency": concurrency}})}
        await record_run(workspace, dataset, name, results, metadata=metadata)
    answer = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["few", "many", "few too"]))
    times = {contrast.run: contrast for contrast in answer.contrasts if contrast.measure == "seconds"}
    assert (times["many"].ratio, times["many"].interval) == (None, None)
    assert times["few too"].ratio == pytest.approx(4, abs=0.2)
    assert times["few too"].summary.startswith(
        f"Run 'few too' takes {times['few too'].ratio:.2f} times the time of 'few'"
    )
    assert [(finding.kind, finding.run) for finding in answer.comparability] == [("concurrency", "many")]
    assert answer.runs[1].seconds_median is not None


async def test_the_next_step_reads_the_changed_item_in_the_run_that_changed_it(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-next")
    for name, values in (("base", [1.0] * 6), ("t2", [1.0] * 5 + [0.0]), ("t3", [1.0] * 6)):
        await record_run(workspace, dataset, name, _results(values))
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-next", runs=["base", "t2", "t3"]))
    (step,) = [step for step in answer.next if step.tool == "get_run"]
    assert step.arguments == {"dataset": "compare-next", "run_name": "t2", "item_id": "item-005"}


async def test_time_and_tokens_are_compared(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-usage")
    for name, seconds, tokens_used in (("old", 0.1, 100), ("new", 0.2, 300)):
        results = [
            Recorded(f"i{n}", output="o", scores={"ok": True}, seconds=seconds + n / 1000, tokens=(tokens_used, 10))
            for n in range(10)
        ]
        await record_run(workspace, dataset, name, results)
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-usage", runs=["old", "new"]))
    ratios = {contrast.measure: contrast.ratio for contrast in answer.contrasts}
    assert ratios["seconds"] == pytest.approx(2, abs=0.1)
    assert ratios["tokens"] == pytest.approx(310 / 110)
    assert answer.runs[1].input_tokens == 3000


async def test_a_run_that_takes_a_thousandth_of_the_time_takes_not_none_of_it(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-thousandth")
    for name, seconds in (("slow", 100.0), ("fast", 0.1)):
        results = [Recorded(f"i{n}", scores={"ok": True}, seconds=seconds * (1 + n / 100)) for n in range(10)]
        await record_run(workspace, dataset, name, results)
    answer = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["slow", "fast"]))
    (times,) = [contrast for contrast in answer.contrasts if contrast.measure == "seconds"]
    assert "takes 0.001 times" in times.summary


@pytest.mark.slow
async def test_a_default_answer_stays_small_whatever_the_texts(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-large")
    for name in ("old", "new"):
        results = [
            Recorded(
                f"item-{n}",
                input="question " * 2000,
                output=f"{name} " * 3000,
                expected_output="答え" * 2000,
                scores={f"score-{k}": float((n + k + len(name)) % 2) for k in range(6)} | {"x": float(name == "old")},
            )
            for n in range(25)
        ]
        await record_run(workspace, dataset, name, results)
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-large", runs=["old", "new"]))
    assert estimate_tokens(answer) <= MAX_TOKENS
    assert "characters in all" in str(answer.changes[0].items[0].input)
    full = await compare_runs(workspace, CompareRequest(dataset="compare-large", runs=["old", "new"], detail="full"))
    assert len(str(full.changes[0].items[0].input)) > 2 * len(str(answer.changes[0].items[0].input))
    assert estimate_tokens(full) <= MAX_FULL_TOKENS


@pytest.mark.slow
async def test_many_runs_with_many_scores_stay_small_too(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-wide")
    names = ["base", "one", "two", "three", "four"]
    for shift, name in enumerate(names):
        results = [
            Recorded(
                f"item-{n}",
                input="why " * 300,
                output=f"{name} " * 300,
                scores={f"quality-of-{k}": ((n * k + shift) % 5) / 4 for k in range(10)},
                seconds=0.1 + n,
            )
            for n in range(15)
        ]
        await record_run(workspace, dataset, name, results)
    answer = await compare_runs(workspace, CompareRequest(dataset="compare-wide", runs=names))
    assert estimate_tokens(answer) + len(report_text(answer)) // 4 <= MAX_TOKENS
    assert any("score_name" in warning for warning in answer.warnings)
    one = await compare_runs(workspace, CompareRequest(dataset="compare-wide", runs=names, score_name="quality-of-3"))
    assert [line.run for line in one.scores] == names[1:]


async def test_unknown_runs_and_scores_are_named_with_what_is_near(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-unknown")
    await record_run(workspace, dataset, "baseline", _results([1.0] * 5))
    await record_run(workspace, dataset, "candidate", _results([1.0] * 5))
    with pytest.raises(NotFoundError) as refused:
        await compare_runs(workspace, CompareRequest(dataset="compare-unknown", runs=["baselin", "candidate"]))
    assert refused.value.near == ("baseline",)
    assert [step.tool for step in refused.value.next] == ["list_runs"]
    request = CompareRequest(dataset="compare-unknown", runs=["baseline", "candidate"], score_name="acuracy")
    with pytest.raises(NotFoundError) as refused:
        await compare_runs(workspace, request)
    assert "accuracy" in refused.value.near
    gated = CompareRequest(dataset="compare-unknown", runs=["baseline", "candidate"], fail_if=["speed<1"])
    with pytest.raises(UsageError, match="speed<1"):
        await compare_runs(workspace, gated)


@pytest.mark.parametrize(
    "arguments",
    [
        {"runs": ["a"]},
        {"runs": ["a", "a"]},
        {"runs": ["a", "b"], "baseline": "c"},
        {"runs": ["a", "b"], "min_delta": 0},
        {"runs": ["a", "b"], "score_name": "tone", "primary_score": "accuracy"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build(CompareRequest, dataset="d", **arguments)
