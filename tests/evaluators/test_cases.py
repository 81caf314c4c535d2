"""Built-in evaluators on odd cases, written by somebody who had not seen the code.

A line of `cases.jsonl` gives the options, the output as a task returned it, the item's expected output, and the score
that a careful person would give: a number or `unscored`. `also` lists other answers that can be defended. For latency
and cost, it gives the task's `seconds`, or the type and cost of each of its `spans`. `slow` marks its test as such.
"""

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.errors import UsageError
from lfexp_mcp.evaluators import BUILT_INS, UnscoredError, build_evaluator, parse_evaluators
from lfexp_mcp.model import Observation, Trace
from lfexp_mcp.scripts.json_conversion import JsonConverter

CASES = [json.loads(line) for line in (Path(__file__).parent / "cases.jsonl").read_text(encoding="utf-8").splitlines()]


def _made(value: Any) -> Any:  # noqa: ANN401
    """Replace `{"$py": expression}` by the expression's value: what JSON cannot hold."""
    if isinstance(value, dict):
        known = {"Decimal": Decimal, "date": date}
        made = {name: _made(member) for name, member in value.items()}
        return eval(value["$py"], known) if list(value) == ["$py"] else made
    return [_made(member) for member in value] if isinstance(value, list) else value


def _trace(spans: list[list[Any]]) -> Trace:
    """Make a trace of observations by type and cost."""
    now = datetime.now(UTC)
    return Trace("t", tuple(Observation(str(at), kind, now, cost=cost) for at, (kind, cost) in enumerate(spans)))


def _score(case: dict[str, Any]) -> float | str:
    options = _made(case.get("options", {}))
    given: dict[str, Any] = {"seconds": _made(case["seconds"])} if "seconds" in case else {}
    if "spans" in case:
        given = {"trace": _trace(_made(case["spans"]))}
    elif not given:
        given = {"output": JsonConverter().convert(_made(case["output"]))}
        given["expected_output"] = _made(case.get("expected_output"))
    try:
        (choice,) = parse_evaluators([{"name": case["evaluator"], **options}])
        evaluation = build_evaluator(choice)(**given)
    except (UsageError, UnscoredError):
        return "unscored"
    assert len(evaluation.comment or "") <= 1000
    (evaluation.comment or "").encode()
    return float(evaluation.value)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case["id"], marks=[pytest.mark.slow] if case.get("slow") else [])
        for case in CASES
        if case["evaluator"] in BUILT_INS
    ],
)
def test_an_odd_case_is_scored_as_a_careful_person_would(case: dict[str, Any]) -> None:
    score = _score(case)
    allowed = [case["expected"], *case.get("also", [])]
    assert any(
        score == each or (isinstance(score, float) and each != "unscored" and math.isclose(score, each, abs_tol=1e-4))
        for each in allowed
    ), (score, case["why"])
