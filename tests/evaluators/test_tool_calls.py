"""Tool calls: as agentevals grades recorded ones, and as they are read from a trace."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.evaluators import UnscoredError, build_evaluator, parse_evaluators, tool_calls
from lfexp_mcp.model import Observation, Trace
from tests.evaluators.trajectories import CASES, as_messages, made

START = datetime(2026, 1, 1, tzinfo=UTC)


def _is_traced(case: dict[str, Any]) -> bool:
    """Whether the calls are given as a trace has them."""
    steps = case["output"] if isinstance(case["output"], list) else []
    return any({"start", "level", "type", "parent"} & step.keys() for step in steps if isinstance(step, dict))


def _is_step(step: Any) -> bool:  # noqa: ANN401
    return isinstance(step, list) or (isinstance(step, dict) and ("role" in step or "args" in step))


def _trace(steps: list[dict[str, Any]]) -> Trace:
    """Make a trace of calls; those without a start follow one another."""

    def observation(at: int, step: dict[str, Any]) -> Observation:
        second = float(step["start"].partition(":")[2]) if "start" in step else at
        kind = step.get("type", "TOOL")
        reply = {"role": "assistant", "tool_calls": [{"name": step["name"], "args": step["args"]}]}
        seen = {"input": step["args"], "name": step["name"]} if kind in {"TOOL", "SPAN"} else {"output": reply}
        started = START + timedelta(seconds=second)
        return Observation(str(at), kind.partition(".")[0], started, level=step.get("level"), **seen)

    return Trace.of_task("t", "task", [observation(at, step) for at, step in enumerate(steps)])


def _score(case: dict[str, Any]) -> float | str:
    output, reference = made(case["output"]), made(case["reference"])
    options: dict[str, Any] = {name: case[name] for name in ("mode", "arguments", "overrides") if name in case}
    traced = _is_traced(case) or "trace" in case
    trace = _trace(output) if _is_traced(case) else None
    is_plain = isinstance(reference, list) and all(map(_is_step, reference))
    if not traced and is_plain and isinstance(output, list) and case["id"] < "T175":
        output, reference = as_messages(output), as_messages(reference)
    try:
        (choice,) = parse_evaluators([{"name": "tool_calls", "source": "trace" if traced else "output", **options}])
        evaluation = build_evaluator(choice)(output=output, expected_output=reference, trace=trace)
    except (UsageError, UnscoredError):
        return "unscored"
    assert len(evaluation.comment or "") <= 1000
    return float(evaluation.value)


def _param(case: dict[str, Any]) -> ParameterSet:
    # Thousands of calls are compared each with each.
    return pytest.param(case, id=case["id"], marks=pytest.mark.slow if case["id"] == "T174" else ())


@pytest.mark.slow
@pytest.mark.parametrize("case", [_param(case) for case in CASES])
def test_recorded_calls_are_graded_as_agentevals_grades_them(case: dict[str, Any]) -> None:
    assert _score(case) in [case["expected"], *case.get("also", [])], case["why"]


def test_agentevals_is_followed_wherever_it_answers_and_an_answer_means_something() -> None:
    others = [
        case["id"]
        for case in CASES
        if "agentevals" in case and case["expected"] not in (case["agentevals"], "unscored") and not _is_traced(case)
    ]
    assert others == []
    assert sum("agentevals" in case for case in CASES) > 100


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"args": [], "kwargs": {"q": "x"}}, {"q": "x"}),
        ({"args": ["x"], "kwargs": {}}, {"args": ["x"], "kwargs": {}}),
        ('{"q": "x"}', {"q": "x"}),
        (None, {}),
    ],
)
def test_the_arguments_of_a_traced_function_are_those_given_by_name(given: JsonValue, arguments: JsonValue) -> None:
    trace = Trace("t", (Observation("1", "TOOL", START, name="search", input=given),))
    expected: JsonValue = [{"name": "search", "args": arguments}]
    assert tool_calls()(output=None, expected_output=expected, trace=trace).value is True


def test_without_tool_observations_the_calls_that_a_models_replies_ask_for_count() -> None:
    replies: list[JsonValue] = [
        {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": '{"q": 1}'}}]},
        [{"role": "assistant", "content": [{"type": "tool_use", "name": "open", "input": {"u": 2}}]}],
        "done",
    ]
    calls = (Observation(str(at), "GENERATION", START, output=reply) for at, reply in enumerate(replies))
    expected: JsonValue = [{"name": "search", "args": {"q": 1}}, {"name": "open", "args": {"u": 2}}]
    assert tool_calls()(output=None, expected_output=expected, trace=Trace("t", tuple(calls))).value is True


def test_a_comment_counts_the_calls_and_the_failed_ones() -> None:
    steps = [{"name": "a", "args": {}, "level": "ERROR"}, {"name": "a", "args": {}}, {"name": "b", "args": {}}]
    evaluation = tool_calls(mode="superset")(output=None, expected_output=["a"], trace=_trace(steps))
    assert evaluation.comment == "made: a x2, b; expected: a; 1 of those made failed"
