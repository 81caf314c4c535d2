"""Which candidate on its items a run is, and what that does to the verdict on it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest
from pydantic import JsonValue

from lfexp_mcp.model import FAMILY_KEY, TEN, JudgeMaker, ScriptMaker, Sweep
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.comparison.candidates import Candidate, Candidates, family_of
from lfexp_mcp.services.definitions import NewItem
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.workspace import Workspace
from tests.benchmarks import selection
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.slow

BEGUN = datetime(2026, 3, 1, tzinfo=UTC)


class _Run(TypedDict):
    id: str
    family: NotRequired[JsonValue]
    scores: NotRequired[list[str]]
    at: NotRequired[int]
    sweep: NotRequired[list[int]]
    """Size of the sweep, and its place among the variants."""


class _Case(TypedDict):
    runs: list[str | _Run]
    baseline: str
    run: str
    score: NotRequired[str | None]
    rank: int
    choices: NotRequired[int]
    factor: NotRequired[float]
    why: str


CASES: list[_Case] = [
    json.loads(line) for line in Path(__file__).with_name("candidates.jsonl").read_text().splitlines()
]


def _candidate(index: int, run: str | _Run) -> Candidate:
    given: _Run = {"id": run} if isinstance(run, str) else run
    scores = frozenset(given["scores"]) if "scores" in given else None
    begun = BEGUN + timedelta(minutes=given.get("at", index))
    sweep = Sweep(given["id"][0], *given["sweep"]) if "sweep" in given else None
    return Candidate(begun, given["id"], family_of({FAMILY_KEY: given.get("family")}), scores, sweep=sweep)


@pytest.mark.parametrize("case", CASES, ids=[case["why"].replace(" ", "_") for case in CASES])
def test_a_run_has_its_place_by_beginning(case: _Case) -> None:
    listed = Candidates.of(_candidate(index, run) for index, run in enumerate(case["runs"]))
    for index, name in enumerate((case["baseline"], case["run"])):
        listed = listed.including(Candidate(BEGUN + timedelta(days=1, seconds=index), name))
    place = listed.place(case["baseline"], case["run"], case.get("score", "acc"))
    assert (place.rank, place.choices) == (case["rank"], case.get("choices", 1))
    assert place.factor == case.get("factor", case["rank"] * (case["rank"] + 1) / 2 * place.choices)


def _results(passes: int, of: int, *, begun: int, score: str = "acc") -> list[Recorded]:
    """Results of which the first `passes` pass, begun so many minutes after the others."""
    at = BEGUN + timedelta(minutes=begun)
    return [Recorded(f"i{n:03}", input=n, scores={score: float(n < passes)}, started=at) for n in range(of)]


def test_of_loops_over_fifty_equal_variants_hardly_any_is_told_that_one_is_better() -> None:
    told, unadjusted = selection.told_better(selection.pass_fail, 100, selection.newest, loops=25)
    assert told <= selection.limit_of(25)
    assert unadjusted > 0.5


@pytest.mark.anyio
async def test_the_seventh_candidate_needs_more_than_the_first_and_is_told_so(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "candidates-seventh")
    await record_run(workspace, dataset, "base", _results(20, 60, begun=0))
    for number in range(1, 8):
        await record_run(workspace, dataset, f"v{number}", _results(29, 60, begun=number))
    first, seventh, late = [
        (await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=runs))).scores[-1]
        for runs in (["base", "v1"], ["base", "v7"], ["base", "v2", "v7"])
    ]
    assert seventh == late
    assert (first.candidate, first.verdict, first.p_adjusted) == (1, "better", first.p)
    assert (seventh.candidate, seventh.verdict) == (7, "inconclusive")
    assert first.p is not None
    assert seventh.p_adjusted == pytest.approx(28 * first.p)
    assert first.interval is not None
    assert seventh.interval is not None
    assert seventh.interval.low <= 0 < first.interval.low
    assert seventh.interval.high == first.interval.high
    assert seventh.candidate == 7
    assert "7th" in seventh.reason


@pytest.mark.anyio
async def test_what_only_its_place_keeps_from_being_better_is_proposed_to_be_confirmed(workspace: Workspace) -> None:
    name = "candidates-held-out"
    splits: list[dict[str, JsonValue]] = [{"split": "test" if n % 3 == 0 else "dev"} for n in range(90)]
    items = [NewItem(id=f"{name}-{n}", input=n, metadata=splits[n]) for n in range(90)]
    await create_dataset(workspace, name, items=items, holdout="split=test")
    dataset = await workspace.gateway.datasets.get(name)
    for number, passes in enumerate((30, 30, 30, 30, 41)):
        given = enumerate(_results(passes, 90, begun=number))
        results = [replace(one, item_id=f"{name}-{n}", metadata=splits[n]) for n, one in given]
        await record_run(workspace, dataset, f"v{number}", results)
    request = CompareRequest(dataset=name, runs=["v0", "v4"])
    answer = await compare_runs(workspace, request)
    (line,) = answer.scores
    assert (line.candidate, line.verdict) == (4, "inconclusive")
    assert line.p is not None
    assert line.p < 0.05
    assert answer.next[0].tool == "confirm_run"
    assert answer.next[0].arguments["run_name"] == "v4"


@pytest.mark.anyio
async def test_a_score_without_a_scale_which_cannot_be_confirmed_is_not_proposed(workspace: Workspace) -> None:
    name = "candidates-unit"
    items = [NewItem(id=f"{name}-{n}", input=n, metadata={"split": "test" if n % 2 else "dev"}) for n in range(40)]
    await create_dataset(workspace, name, items=items, holdout="split=test")
    dataset = await workspace.gateway.datasets.get(name)
    maker = ScriptMaker("words", "checks.py", "aa", lower_is_better=True, unit="words")
    for number, words in enumerate((300.0, 200.0)):
        results = [Recorded(f"{name}-{n}", scores={"words": words + n}) for n in range(0, 40, 2)]
        await record_run(workspace, dataset, f"v{number}", results, makers={"words": maker})
    answer = await compare_runs(workspace, CompareRequest(dataset=name, runs=["v0", "v1"]))
    assert [line.verdict for line in answer.scores] == ["better"]
    assert "confirm_run" not in [step.tool for step in answer.next]


@pytest.mark.anyio
async def test_a_run_that_is_worse_is_found_worse_however_many_there_were(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "candidates-worse")
    await record_run(workspace, dataset, "base", _results(29, 60, begun=0))
    for number in range(1, 12):
        await record_run(workspace, dataset, f"v{number}", _results(20, 60, begun=number))
    request = CompareRequest(dataset=dataset.name, runs=["base", "v11"], fail_if=["worse"])
    answer = await compare_runs(workspace, request)
    (line,) = answer.scores
    assert (line.candidate, line.verdict, line.p_adjusted) == (11, "worse", line.p)
    assert line.interval is not None
    assert line.interval.high < 0
    assert answer.gate is not None
    assert not answer.gate.passed


@pytest.mark.anyio
async def test_repetitions_and_runs_without_the_score_are_no_further_candidates(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "candidates-repeated")
    judge = JudgeMaker("judge-tone", 1, "openai", "m", TEN, "default")
    await record_run(workspace, dataset, "base", _results(20, 30, begun=0))
    for index, name in enumerate(("twice", "twice#2")):
        repeats = json.dumps({"repeats": {"group": "twice", "index": index, "count": 2}})
        await record_run(workspace, dataset, name, _results(20, 30, begun=index + 1), metadata={"lfexp": repeats})
    toned = _results(20, 30, begun=3, score="tone")
    await record_run(workspace, dataset, "toned", toned, makers={"tone": judge})
    own = {FAMILY_KEY: "autumn"}
    await record_run(workspace, dataset, "later", _results(20, 30, begun=4), metadata=own)
    await record_run(workspace, dataset, "latest", _results(20, 30, begun=5))
    request = CompareRequest(dataset=dataset.name, runs=["base", "twice", "later", "latest"])
    found = {line.run: line.candidate for line in (await compare_runs(workspace, request)).scores}
    # The scores of these runs were given by others, who may have scored `toned` too.
    assert found == {"twice": 1, "later": 2, "latest": 3}


@pytest.mark.anyio
async def test_a_baseline_that_looks_worse_than_the_first_counts_as_chosen_among_all(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "candidates-baselines")
    for number, passes in enumerate((20, 30, 15, 35)):
        await record_run(workspace, dataset, f"v{number}", _results(passes, 60, begun=number))
    factors = {}
    for baseline in ("v0", "v1", "v2"):
        request = CompareRequest(dataset=dataset.name, runs=[baseline, "v3"])
        (line,) = (await compare_runs(workspace, request)).scores
        assert (line.candidate, line.verdict) == (3, "better" if baseline != "v1" else "inconclusive")
        factors[baseline] = (line.p_adjusted or 0.0) / (line.p or 1.0)
    assert factors == pytest.approx({"v0": 6, "v1": 6, "v2": 18})
