"""What an answer leaves out when it is serialised, and what it keeps."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from lfexp_mcp.answers.analysis import ScoreDistribution
from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.run import ItemAnswer, ItemScore, RunProgress
from lfexp_mcp.model import Interval
from tests.reports.models import answers
from tests.reports.test_untrusted import MODELS


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(answers(*MODELS))
def test_a_serialised_answer_is_read_back_as_the_same(answer: Answer) -> None:
    written = json.loads(answer.model_dump_json())
    read = type(answer).model_validate(written)
    assert json.loads(read.model_dump_json()) == written
    for name, field in type(answer).model_fields.items():
        if name not in written and not field.is_required():
            assert not getattr(answer, name)


def test_what_is_null_empty_or_zero_by_default_is_left_out() -> None:
    progress = RunProgress(
        status="completed", backend="b", dataset="d", run_name="r", total_items=0, succeeded=0, failed=0
    )
    assert json.loads(progress.model_dump_json()) == {
        "status": "completed",
        "backend": "b",
        "dataset": "d",
        "run_name": "r",
        "total_items": 0,
        "repeats": 1,
        "succeeded": 0,
        "failed": 0,
    }, "a count that may be unknown is shown where it is zero"


@pytest.mark.parametrize("output", [0, 0.0, False, "", [], {}, [None], 1 / 3, {"a": 1 / 3}])
def test_a_task_s_output_is_kept_as_it_is(output: object) -> None:
    item = ItemAnswer.model_validate({"item_id": "i", "status": "succeeded", "output": output})
    assert json.loads(item.model_dump_json())["output"] == output


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1 / 3, 0.333333), (0.0, 0.0), (False, False), ("a", "a"), (-12345.678901, -12345.7), (1234567.0, 1234567.0)],
)
def test_a_score_has_six_significant_digits_and_a_zero_is_a_value(value: float | bool | str, shown: object) -> None:
    written = json.loads(ItemScore(name="s", value=value).model_dump_json())
    assert (written["value"], type(written["value"])) == (shown, type(shown))


def test_an_interval_is_a_pair_and_numbers_by_name_are_rounded() -> None:
    shown = ScoreDistribution(
        name="s", display="0.5", count=3, interval=Interval(1 / 3, 2e-9 / 3), quantiles={"p50": 2 / 3}, failing=0
    )
    written = json.loads(shown.model_dump_json())
    assert (written["interval"], written["quantiles"]) == ([0.333333, 6.66667e-10], {"p50": 0.666667})
    assert written["failing"] == 0, "no item below the threshold is not the same as no threshold"
