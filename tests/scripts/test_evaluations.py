import decimal
import math
from dataclasses import dataclass, field

import langfuse
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import Evaluation, ScoreDataType
from lfexp_mcp.scripts import read_evaluations


@dataclass
class AutoevalsScore:
    name: str
    score: float | None
    metadata: dict[str, object] = field(default_factory=dict)


def web_of_lists() -> list[object]:
    """Twice as many paths on each of a hundred levels."""
    web: list[object] = [1]
    for _ in range(100):
        web = [web, web]
    return web


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("result", "value", "data_type"),
    [
        (1, 1.0, "NUMERIC"),
        (0.25, 0.25, "NUMERIC"),
        (True, True, "BOOLEAN"),
        ("good", "good", "CATEGORICAL"),
        (decimal.Decimal("0.5"), 0.5, "NUMERIC"),
        (np.float32(0.5), 0.5, "NUMERIC"),
        (np.int64(1), 1.0, "NUMERIC"),
        (np.bool_(False), False, "BOOLEAN"),
        (np.array(0.5), 0.5, "NUMERIC"),
        ({"value": 0.5}, 0.5, "NUMERIC"),
        ({"score": True}, True, "BOOLEAN"),
        (langfuse.Evaluation(name="e", value=1, data_type="BOOLEAN"), True, "BOOLEAN"),
        (langfuse.Evaluation(name="e", value=3, data_type="CATEGORICAL"), "3", "CATEGORICAL"),
        (langfuse.Evaluation(name="e", value=False), False, "BOOLEAN"),
        (AutoevalsScore("e", 0.5), 0.5, "NUMERIC"),
    ],
)
def test_a_result_is_one_score(result: object, value: float | bool | str, data_type: ScoreDataType) -> None:
    (evaluated,) = read_evaluations("e", result)
    assert (evaluated.name, evaluated.value, evaluated.data_type) == ("e", value, data_type)
    assert type(evaluated.value) is type(value)


@pytest.mark.parametrize(
    "result", [None, [], {"value": None}, AutoevalsScore("e", None), [None], {"name": "x", "score": None}]
)
def test_nothing_to_say_is_no_score(result: object) -> None:
    assert read_evaluations("e", result) == []


def test_an_evaluation_keeps_all_it_says() -> None:
    evaluation = langfuse.Evaluation(
        name="tone", value=0.5, comment="flat", metadata={"words": {3}}, config_id="c1", data_type="NUMERIC"
    )
    assert read_evaluations("e", evaluation) == [Evaluation("tone", 0.5, "NUMERIC", "flat", {"words": [3]}, "c1")]


def test_a_list_gives_one_score_each() -> None:
    scores = read_evaluations(
        "e", [langfuse.Evaluation(name="a", value=1), {"name": "b", "value": True, "reasoning": "why"}]
    )
    assert [(score.name, score.value, score.comment) for score in scores] == [("a", 1.0, None), ("b", True, "why")]


def test_the_rationale_of_an_autoevals_score_is_its_comment() -> None:
    (score,) = read_evaluations("e", AutoevalsScore("Factuality", 0.6, {"rationale": "mostly", "choice": "B"}))
    assert (score.name, score.comment, score.metadata["choice"]) == ("Factuality", "mostly", "B")


@pytest.mark.parametrize(
    "result",
    [
        math.nan,
        math.inf,
        langfuse.Evaluation(name="e", value=-math.inf),
        np.float64("nan"),
        "",
        "x" * 501,
        object(),
        {"verdict": 1},
        {"value": [1]},
        [0.5],
        [langfuse.Evaluation(name="e", value=1), {"name": "e", "value": 2}],
        langfuse.Evaluation(name="e", value="high", data_type="NUMERIC"),
        langfuse.Evaluation(name="e", value=2, data_type="BOOLEAN"),
        {"value": 1, "data_type": "VECTOR"},
        np.array([1.0, 2.0]),
        b"1",
        1j,
        10**400,
        pytest.param(10**5000, id="an integer too large to print"),
        Unspeakable(),
        [Unspeakable()],
        {"value": Unspeakable()},
        pytest.param([web_of_lists()], id="a web of lists"),
        {"value": 1, "data_type": Unspeakable()},
        [langfuse.Evaluation(name="x" * 1_000_000, value=1)] * 2,
        {"value": "x" * 1_000_000},
    ],
)
def test_what_is_no_score_is_an_error_that_names_the_evaluator(result: object) -> None:
    with pytest.raises(ScriptError, match="'e'") as raised:
        read_evaluations("e", result)
    assert len(str(raised.value)) < 1000


def test_texts_of_a_result_are_such_as_utf8_can_hold() -> None:
    texts = {"name": "\udcff", "value": "\ud800", "comment": "\ud83d\ude00", "config_id": "\udcff"}
    (score,) = read_evaluations("e", {**texts, "metadata": {"\udfff": "\udfff"}})
    assert score == Evaluation("\ufffd", "\ufffd", "CATEGORICAL", "\U0001f600", {"\ufffd": "\ufffd"}, "\ufffd")


def test_metadata_in_circles_is_cut_where_it_closes() -> None:
    circle: list[object] = [1]
    circle += [circle, circle]
    (score,) = read_evaluations("e", {"value": 1, "metadata": circle})
    assert score.metadata == {"metadata": [1, *["<list left out: it contains itself>"] * 2]}


def test_metadata_that_is_no_json_is_kept_as_text() -> None:
    (score,) = read_evaluations("e", {"value": 1, "metadata": {"at": object, "nan": math.nan}})
    assert score.metadata["nan"] == "nan"
    assert "object" in str(score.metadata["at"])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["name", "value", "score", "metadata", "x"]), inner)
    ),
)


@pytest.mark.slow
@given(_VALUES)
def test_a_result_is_scores_or_the_evaluators_error(result: object) -> None:
    try:
        scores = read_evaluations("e", result)
    except ScriptError:
        return
    assert all(isinstance(score.value, str) or math.isfinite(score.value) for score in scores)
