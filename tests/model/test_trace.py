"""Which observations of a trace are a task's, and their order."""

from datetime import UTC, datetime, timedelta

import pytest

from lfexp_mcp.model import EVALUATION_SPAN, Observation, Trace

START = datetime(2026, 1, 1, tzinfo=UTC)


def _seen(
    id: str, parent: str | None, second: float = 1, name: str | None = None, cost: float | None = None
) -> Observation:
    started = START + timedelta(seconds=second)
    return Observation(
        id,
        "GENERATION" if cost is not None else "SPAN",
        started,
        started + timedelta(seconds=1),
        "t",
        name or id,
        parent,
        cost=cost,
    )


ROOT, TASK = (
    _seen("root", None, 0),
    Observation("task", "SPAN", START, START + timedelta(seconds=10), "t", "task", "root"),
)


def _ids(*recorded: Observation) -> list[str]:
    return [each.id for each in Trace.of_task("t", "task", recorded).observations]


def test_it_holds_what_is_within_the_task_and_neither_the_spans_around_it_nor_the_evaluation() -> None:
    evaluation = _seen("evaluation", "root", 11, EVALUATION_SPAN)
    judged = [_seen("evaluator", "evaluation", 11), _seen("judge", "evaluator", 5)]
    trace = Trace.of_task("t", "task", [ROOT, TASK, evaluation, *judged, _seen("b", "a", 2), _seen("a", "task", 1)])
    assert [(each.id, each.parent_id) for each in trace.observations] == [("a", None), ("b", "a")]
    assert trace.seconds == 10


def test_a_span_of_the_task_beside_its_own_span_counts_and_one_after_its_end_does_not() -> None:
    assert _ids(ROOT, TASK, _seen("early", "root", 1), _seen("late", "root", 10)) == ["early"]


def test_an_observation_whose_parent_is_not_recorded_is_kept_with_that_parent() -> None:
    trace = Trace.of_task("t", "task", [ROOT, TASK, _seen("child", "lost", 1)])
    assert [(each.id, each.parent_id) for each in trace.observations] == [("child", "lost")]


@pytest.mark.parametrize(
    "recorded",
    [
        [_seen("a", "a")],
        [_seen("a", "b"), _seen("b", "a")],
        [_seen("a", "b"), _seen("b", "c"), _seen("c", "a"), _seen("d", "a")],
    ],
    ids=["its own parent", "two", "three and a child"],
)
def test_parents_in_a_cycle_lose_no_observation(recorded: list[Observation]) -> None:
    assert sorted(_ids(ROOT, TASK, *recorded)) == sorted(each.id for each in recorded)


@pytest.mark.slow
def test_a_chain_of_thousands_of_parents_is_read_in_its_order() -> None:
    chain = [_seen(str(at), str(at - 1) if at else "task", 1) for at in range(20_000)]
    assert _ids(ROOT, TASK, *reversed(chain)) == [each.id for each in chain]


def test_of_equal_starts_the_parent_comes_first_and_then_the_order_of_the_list() -> None:
    assert _ids(ROOT, TASK, _seen("x", "a"), _seen("b", "task"), _seen("a", "task")) == ["b", "a", "x"]


def test_an_observation_that_is_listed_twice_counts_once_as_it_ended_last() -> None:
    late = _seen("a", "task", 3, "newer")
    trace = Trace.of_task("t", "task", [ROOT, TASK, late, _seen("a", "task", 2, "older")])
    assert [each.name for each in trace.observations] == ["newer"]


@pytest.mark.parametrize(("costs", "total"), [([0.1, 0.2], 0.3), ([0.1, None], None), ([], None), ([0.0], 0.0)])
def test_its_cost_is_that_of_all_model_calls_or_unknown(costs: list[float | None], total: float | None) -> None:
    calls = [Observation(str(at), "GENERATION", START, cost=cost) for at, cost in enumerate(costs)]
    repeated = Observation("agent", "AGENT", START, cost=7.0)
    cost = Trace("t", (*calls, repeated)).cost
    assert cost == (total if total is None else pytest.approx(total))
