"""Scales of sets of values, with the careful answer of someone who had not seen the rules."""

import json
from pathlib import Path
from typing import Literal, TypedDict

import pytest

from lfexp_mcp.model import (
    OTHERS,
    ItemResult,
    JudgeMaker,
    RunRecord,
    Scale,
    Score,
    ScoreMaker,
    ScriptMaker,
    parse_scale_name,
)
from lfexp_mcp.scores.interpretation import OBSERVED, interpret_scores
from lfexp_mcp.scores.warnings import scale_warnings
from lfexp_mcp.services.runs.run_summary import summarise_scores


class _Expected(TypedDict):
    reading: Literal["0-1", "0-10", "declared", "raw"]
    canonical: list[float | None]
    warning: bool
    comparable: bool


class _Case(TypedDict, total=False):
    id: str
    declared: str
    lower_is_better: bool
    source: Literal["script", "judge", "human", "api"]
    values: list[float]
    expect: _Expected
    why: str


CASES: list[_Case] = [
    json.loads(line) for line in (Path(__file__).parent / "scales.jsonl").read_text(encoding="utf-8").splitlines()
]


def _declared(case: _Case) -> Scale | None:
    if "declared" not in case:
        return None
    low, _, high = case["declared"].rpartition("-")
    scale = parse_scale_name(f"{low} to {high}")
    assert scale is not None
    return scale.lower_better() if case.get("lower_is_better") else scale


def _maker(case: _Case) -> ScoreMaker:
    scale = _declared(case)
    match case["source"]:
        case "judge":
            return JudgeMaker("judge-s", 1, "openai", "m", scale, "prompt config")
        case "script":
            source = "evaluator" if scale else None
            return ScriptMaker("s", "checks.py", "0", scale, source, case.get("lower_is_better") or None)
        case _:
            return OTHERS


def _score(case: _Case, number: int, value: float) -> Score:
    source, scale, identity = case["source"], _declared(case), str(number)
    if source == "human":
        return Score(identity, "s", value, "NUMERIC", source="ANNOTATION")
    if source == "judge" and scale is not None:
        # A judge's value is stored on 0-1; one that was outside its scale is of version 0.1.
        within = scale.within(value)
        stored = 1.0 if within is None else scale.normalise(value)
        return Score(identity, "s", stored, "NUMERIC", raw=value, clamped=within is None, maker=_maker(case))
    return Score(identity, "s", value, "NUMERIC", maker=_maker(case))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_set_of_values_is_read_as_a_careful_reader_would(case: _Case) -> None:
    scores = [_score(case, number, value) for number, value in enumerate(case["values"])]
    items = tuple(ItemResult(f"i{number}", "succeeded", scores=(score,)) for number, score in enumerate(scores))
    record = RunRecord("d", "id", "r", ("e",), "completed", items, len(items))
    scale = _declared(case) if case["source"] in {"human", "api"} else None
    interpretations = interpret_scores(record, {"s": scale} if scale is not None else {})
    reading, expected = interpretations["s"], case["expect"]
    found = [reading.canonical(score) for score in scores]
    assert [value is None for value in found] == [value is None for value in expected["canonical"]], case["why"]
    known = [value for value in expected["canonical"] if value is not None]
    assert [value for value in found if value is not None] == pytest.approx(known, abs=1e-3)
    assert reading.is_canonical is expected["comparable"]
    assert reading.is_declared is (expected["reading"] == "declared")
    if expected["reading"] in {"0-1", "0-10"}:
        assert reading.scale is not None
        assert reading.scale.name.startswith(expected["reading"])
    assert (reading.problem is not None or reading.scale_source == OBSERVED) is expected["warning"]
    assert scale_warnings(record, interpretations) or not expected["warning"]
    (summary,) = summarise_scores(record, interpretations)
    assert (summary.mean is None) is (expected["reading"] == "declared" and not expected["comparable"])
