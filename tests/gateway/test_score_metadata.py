"""Who made a score, to Langfuse and back."""

import json

import pytest
from pydantic import JsonValue

from lfexp_mcp.gateway.score_metadata import METADATA_KEY, split_maker, with_maker
from lfexp_mcp.gateway.wire import ScoreRow
from lfexp_mcp.model import OTHERS, TEN, Category, HumanMaker, JudgeMaker, OtherMaker, RunMaker, Scale, ScriptMaker

LABELS = Scale(0, 1, kind="CATEGORICAL", categories=(Category("good", 1), Category("bad", 0)))
MAKERS: list[RunMaker] = [
    JudgeMaker("judge-tone", 2, "openai", "gpt-4o", Scale(1, 5, lower_is_better=True), "prompt config"),
    JudgeMaker("judge-tone", 2, "openai", "gpt-4o", LABELS, "score config"),
    ScriptMaker("exact", "checks.py", "0" * 64),
    ScriptMaker(),
]


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.label)
def test_a_maker_of_ours_comes_back_whole_and_the_metadata_without_it(maker: RunMaker) -> None:
    written = with_maker({"raw": 4.0}, maker)
    assert split_maker(written, "API") == (maker, {"raw": 4.0})


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.label)
def test_a_maker_that_a_server_parsed_comes_back_all_the_same(maker: RunMaker) -> None:
    written = with_maker({}, maker)
    parsed: dict[str, JsonValue] = {METADATA_KEY: json.loads(str(written[METADATA_KEY]))}
    assert split_maker(parsed, "API") == (maker, {})


def test_humans_and_others_are_written_without_a_maker() -> None:
    assert with_maker({"a": 1}, HumanMaker("ann")) == {"a": 1}
    assert with_maker({"a": 1}, OTHERS) == {"a": 1}


def test_a_human_or_langfuses_own_evaluator_is_never_a_judge_of_ours() -> None:
    written = with_maker({}, MAKERS[0])
    row = {"id": "s", "name": "n", "dataType": "NUMERIC", "value": 1.0, "metadata": written}
    human = ScoreRow.model_validate({**row, "source": "ANNOTATION", "authorUserId": "ann", "configId": "c"}).score()
    assert human is not None
    assert human.maker == HumanMaker("ann", "c")
    assert split_maker(written, "EVAL")[0] == OtherMaker("EVAL")


@pytest.mark.parametrize("foreign", [{}, {"lfexp": "x"}, {"lfexp": {"kind": "judge"}}, {"lfexp": 3}, {"scale": "0-10"}])
def test_metadata_of_others_is_no_maker_and_stays(foreign: dict[str, JsonValue]) -> None:
    assert split_maker(foreign, "API") == (OTHERS, foreign)


@pytest.mark.parametrize("raw", [True, "8", None, float("nan"), pytest.param(10**400, id="endless")])
def test_a_raw_value_of_others_that_is_not_a_finite_number_is_none(raw: JsonValue) -> None:
    row = {"id": "s", "name": "n", "dataType": "NUMERIC", "value": 1.0, "source": "API", "metadata": {"raw": raw}}
    score = ScoreRow.model_validate(row).score()
    assert score is not None
    assert score.raw is None


def test_a_judge_that_version_0_1_recorded_is_known() -> None:
    metadata: dict[str, JsonValue] = {
        "scale": "0-10",
        "scale_source": "default",
        "prompt": "judge-tone",
        "prompt_version": "3",
        "provider": "openai",
        "model": "gpt-4o",
    }
    maker, rest = split_maker(metadata, "API")
    assert maker == JudgeMaker("judge-tone", 3, "openai", "gpt-4o", TEN, "default")
    assert rest == metadata
