"""Gates on cases that were written, with the careful answer, by someone who had not seen the rules."""

import json
from pathlib import Path
from typing import Literal, TypedDict

import pytest

from lfexp_mcp.answers.comparison import ScoreVerdict
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import UNIT, RunStatus, Scale, parse_scale_name
from lfexp_mcp.services.comparison.conditions import ERROR_RATE, parse_condition
from lfexp_mcp.services.comparison.gate_input import GateInput, Measure
from lfexp_mcp.services.comparison.gates import check_gate
from lfexp_mcp.services.comparison.missing_data import MissingData
from lfexp_mcp.statistics.paired import PairedResult, conclude


class _Score(TypedDict, total=False):
    name: str
    scale: str
    lower_is_better: bool


class _Run(TypedDict, total=False):
    items_planned: int | None
    items_done: int
    failed: int
    unscored: int
    ended: RunStatus
    mean_canonical: float | None


class _Case(TypedDict, total=False):
    id: str
    condition: str
    score: _Score
    run: _Run
    baseline: _Run
    shared_items: int
    verdict: Literal["better", "worse", "no difference shown", "inconclusive", "not comparable"]
    p_alone: float
    p_adjusted: float
    expect: str
    accept: list[str]
    why: str


_LINES = (Path(__file__).parent / "gates.jsonl").read_text(encoding="utf-8").splitlines()
CASES: list[_Case] = [json.loads(line) for line in _LINES]
_ACCURACY: _Score = {"name": "accuracy", "scale": "0-1"}


def _status(run: _Run) -> RunStatus:
    """A run of which nobody knows how many items it was to have is never read as completed."""
    return "unknown" if run.get("items_planned") is None else run["ended"]


def _missing(run: _Run) -> MissingData:
    failed, unscored = run.get("failed", 0), run.get("unscored", 0)
    return MissingData("items", run["items_done"] - failed - unscored, failed, _pending(run), unscored)


def _pending(run: _Run) -> int:
    return max((run.get("items_planned") or 0) - run["items_done"], 0)


def _pairs(case: _Case) -> MissingData | None:
    if "baseline" not in case or "shared_items" not in case:
        return None
    larger = max(case["run"]["items_done"], case["baseline"]["items_done"])
    return MissingData("items", case["shared_items"], unshared=larger - case["shared_items"])


def _verdict(case: _Case, p: float | None, delta: float) -> ScoreVerdict | None:
    if p is None:
        verdict = case.get("verdict")
        return verdict if verdict != "no difference shown" else "inconclusive"
    mean = case["run"]["mean_canonical"] or 0.0
    result = PairedResult(mean - delta, mean, delta, p, 0, 0, False, (delta,) * 100, width=1.0, spread=1.0)
    return conclude(result, 0.05).verdict


def _rate(run: _Run) -> float | None:
    return run.get("failed", 0) / run["items_done"] if run["items_done"] else None


def _measures(case: _Case) -> GateInput:
    run, baseline = case["run"], case.get("baseline")
    score = case.get("score", _ACCURACY)
    name, scale = score["name"], parse_scale_name(score["scale"])
    assert scale is not None
    mean, before = run.get("mean_canonical"), baseline.get("mean_canonical") if baseline else None
    pairs, rate, rate_before = _pairs(case), _rate(run), _rate(baseline) if baseline else None
    delta = mean - before if pairs and mean is not None and before is not None else None
    measure = Measure(
        value=mean,
        missing=_missing(run),
        scale=Scale(scale.low, scale.high, score.get("lower_is_better", False)),
        problem="not comparable." if case.get("verdict") == "not comparable" else None,
        delta=delta,
        missing_pairs=pairs,
        verdict=_verdict(case, case.get("p_adjusted"), delta or 0.0),
        verdict_alone=_verdict(case, case.get("p_alone"), delta or 0.0),
    )
    error_rate = Measure(
        value=rate,
        missing=MissingData("items", run["items_done"], pending=_pending(run)),
        scale=UNIT,
        delta=rate - rate_before if rate is not None and rate_before is not None else None,
        missing_pairs=pairs,
    )
    baseline_status = _status(baseline) if baseline else "completed"
    return GateInput("new", _status(run), baseline_status, {name: measure, ERROR_RATE: error_rate})


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_gate_decides_as_a_careful_reader_would(case: _Case) -> None:
    measures = _measures(case)
    known = [case.get("score", _ACCURACY)["name"]]
    try:
        (check,) = check_gate([parse_condition(case["condition"])], [measures], known).checks
        outcome: str = check.outcome
    except UsageError:
        outcome = "usage error"
    assert outcome in case.get("accept", [case["expect"]]), case["why"]
