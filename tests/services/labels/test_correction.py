"""analyze_run and compare_runs on runs that people labelled, on the real store."""

import re

import pytest

from lfexp_mcp.answers.comparison import Comparison, ScoreComparison
from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.model import Estimate, JudgeMaker
from lfexp_mcp.reports.analysis import analysis_report
from lfexp_mcp.reports.comparison import comparison_report
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.labels.request_labels import request_labels
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest, LabelsRequest
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.statistics.corrected import correct_mean
from lfexp_mcp.store.process import StoreConnection
from tests.faults.proxy import Fault, FaultProxy, Request
from tests.services.humans import Humans
from tests.services.labels.people import TONE, Annotators, ask, judged_run, labels_of, score_again
from tests.services.recording import RecordedRun

pytestmark = pytest.mark.anyio


def _judged(passing: int, items: int = 60) -> list[float]:
    """What a judge gives that passes so many of ten items in a row."""
    return [1.0 if n % 10 < passing else 0.0 for n in range(items)]


def _people(passing: int, item: str) -> float:
    """What people give on 0-10, if they pass so many of ten."""
    return 10.0 if int(item[1:]) % 10 < passing else 0.0


async def _label(
    ws: Workspace, humans: Humans, run: RecordedRun, dataset: str, n: int, passing: int, name: str = "run"
) -> None:
    request = LabelsRequest(dataset=dataset, run_name=name, score_name="tone", n=n)
    asked = await request_labels(ws, request)
    await Annotators(ws, humans, run, asked.queue).label(lambda item: _people(passing, item))


async def _corrected(ws: Workspace, dataset: str) -> Corrected | None:
    answer = await analyze_run(ws, AnalyzeRequest(dataset=dataset, run_name="run"))
    (score,) = (score for score in answer.scores if score.name == "tone")
    return score.corrected


async def _compare(ws: Workspace, dataset: str) -> tuple[Comparison, ScoreComparison]:
    answer = await compare_runs(ws, CompareRequest(dataset=dataset, runs=["run", "other"], score_name="tone"))
    return answer, answer.scores[0]


@pytest.mark.slow
async def test_a_lenient_judge_is_corrected(workspace: Workspace, humans: Humans) -> None:
    # Here and below all are labelled where the assertions would rest on who is drawn.
    run = await judged_run(workspace, "correct-lenient", _judged(9))
    await _label(workspace, humans, run, "correct-lenient", 60, 6)
    request = AnalyzeRequest(dataset="correct-lenient", run_name="run", score_name="tone")
    answer = await analyze_run(workspace, request)
    score = answer.scores[0]
    expected = correct_mean((await labels_of(workspace, "correct-lenient")).results)
    assert score.mean == pytest.approx(0.9)
    assert expected is not None
    found = score.corrected
    assert found is not None
    assert (found.estimate, found.labels) == (Estimate(expected.mean, *expected.interval), 60)
    assert found.estimate is not None
    assert found.estimate.low < 0.6 < found.estimate.high < 0.9
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.sensitivity.value == 1
    assert found.specificity.value == pytest.approx(1 / 4)
    # All 60 labels do not do.
    assert found.labels_needed is None
    assert any(found.summary in str(block) for block in analysis_report(answer).blocks)


async def test_labels_that_nobody_drew_are_agreement_only(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "correct-volunteers", _judged(9, 20))
    config = humans.config("human-tone", 0, 10)
    for item, trace in run.traces.items():
        humans.annotate("human-tone", _people(5, item), config, trace, run.observations[item])
    answer = await analyze_run(workspace, AnalyzeRequest(dataset="correct-volunteers", run_name="run"))
    assert answer.scores[0].corrected is None
    assert answer.disagreements


async def test_few_labels_or_none_correct_nothing_and_say_why(workspace: Workspace, humans: Humans) -> None:
    run = await judged_run(workspace, "correct-few", _judged(9, 20))
    await _label(workspace, humans, run, "correct-few", 9, 7)
    found = await _corrected(workspace, "correct-few")
    assert found is not None
    assert (found.estimate, found.labels) == (None, 9)
    assert re.search(r"\b9\b.*\b10\b", found.summary)


@pytest.mark.slow
async def test_another_version_of_the_judge_corrects_nothing_until_it_scored_the_run(
    workspace: Workspace, humans: Humans
) -> None:
    run = await judged_run(workspace, "correct-version", _judged(9, 30))
    await _label(workspace, humans, run, "correct-version", 30, 7)
    later = JudgeMaker("judge-tone", 2, "openai", "gpt-5.4-mini", TONE.scale, "prompt config")
    await score_again(workspace, run, later, 0.9)
    found = await _corrected(workspace, "correct-version")
    assert found is not None
    assert (found.estimate, found.labels) == (None, 0)
    assert "version 2" in found.summary
    await ask(workspace, "correct-version", 30)
    found = await _corrected(workspace, "correct-version")
    assert found is not None
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0.7)


async def test_one_run_corrected_alone_says_nothing_of_the_delta(workspace: Workspace, humans: Humans) -> None:
    await judged_run(workspace, "correct-one", _judged(9, 20))
    run = await judged_run(workspace, "correct-one", _judged(9, 20), "other")
    await _label(workspace, humans, run, "correct-one", 12, 7, "other")
    answer, compared = await _compare(workspace, "correct-one")
    assert compared.delta == 0
    assert compared.corrected is not None
    assert (compared.corrected.estimate, compared.corrected.labels) == (None, 12)
    (step,) = (step for step in answer.next if step.tool == "request_labels")
    assert step.arguments == {"dataset": "correct-one", "run_name": "run", "score_name": "tone"}


@pytest.mark.slow
async def test_a_delta_that_is_the_judges_alone_decides_nothing(workspace: Workspace, humans: Humans) -> None:
    # All are labelled, since an interval by a draw leaves out the truth one time in twenty.
    baseline = await judged_run(workspace, "correct-biased", _judged(5))
    run = await judged_run(workspace, "correct-biased", _judged(9), "other")
    assert (await _compare(workspace, "correct-biased"))[1].verdict == "better"
    await _label(workspace, humans, baseline, "correct-biased", 60, 5)
    await _label(workspace, humans, run, "correct-biased", 60, 5, "other")
    answer, compared = await _compare(workspace, "correct-biased")
    assert compared.delta == pytest.approx(0.4)
    found = compared.corrected
    assert found is not None
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(0)
    assert found.estimate.low < 0 < found.estimate.high < 0.4
    assert compared.verdict == "inconclusive"
    assert found.labels == 60
    assert found.specificity is not None
    assert found.specificity.value == pytest.approx(0.2)
    assert any(found.summary in str(block) for block in comparison_report(answer).blocks)


@pytest.mark.slow
async def test_a_delta_that_labels_bear_out_keeps_its_verdict(workspace: Workspace, humans: Humans) -> None:
    baseline = await judged_run(workspace, "correct-true", _judged(5))
    run = await judged_run(workspace, "correct-true", _judged(9), "other")
    await _label(workspace, humans, baseline, "correct-true", 60, 5)
    await _label(workspace, humans, run, "correct-true", 60, 9, "other")
    _, compared = await _compare(workspace, "correct-true")
    assert compared.verdict == "better"
    assert compared.corrected is not None
    assert compared.corrected.estimate is not None
    assert compared.corrected.estimate.value == pytest.approx(0.4)


@pytest.mark.slow
async def test_runs_of_two_judges_are_compared_by_labels(workspace: Workspace, humans: Humans) -> None:
    later = JudgeMaker("judge-tone", 2, "openai", "gpt-5.4-mini", TONE.scale, "prompt config")
    baseline = await judged_run(workspace, "correct-judges", _judged(5))
    run = await judged_run(workspace, "correct-judges", _judged(9), "other", later)
    await _label(workspace, humans, baseline, "correct-judges", 60, 5)
    await _label(workspace, humans, run, "correct-judges", 60, 5, "other")
    _, compared = await _compare(workspace, "correct-judges")
    assert (compared.verdict, compared.delta) == ("not comparable", None)
    assert compared.corrected is not None
    assert compared.corrected.estimate is not None
    assert compared.corrected.estimate.value == pytest.approx(0)


async def test_a_server_without_annotation_queues_is_analysed_with_a_warning(
    workspace: Workspace, store: StoreConnection
) -> None:
    await judged_run(workspace, "correct-refused", _judged(9, 20))

    def refuse(asked: Request) -> Fault | None:
        return Fault(status=404) if "annotation-queues" in asked.path else None

    with FaultProxy(store.base_url) as proxy:
        proxy.faults = refuse
        async with open_workspace(workspace.settings.model_copy(update={"langfuse_url": proxy.url})) as through:
            answer = await analyze_run(through, AnalyzeRequest(dataset="correct-refused", run_name="run"))
    assert answer.scores[0].corrected is None
    assert any("annotation queues" in warning for warning in answer.warnings)
