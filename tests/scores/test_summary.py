import time
from collections.abc import Mapping
from dataclasses import replace

import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.run import ScoreSummary
from lfexp_mcp.model import (
    BOOLEAN,
    OTHERS,
    PROVENANCE_KEY,
    TEN,
    UNIT,
    Category,
    EvaluatorFailure,
    ItemResult,
    JudgeMaker,
    OtherMaker,
    Provenance,
    RunRecord,
    Scale,
    Score,
    ScoreDataType,
    ScoreMaker,
    ScoreSource,
    ScriptMaker,
)
from lfexp_mcp.scores.interpretation import interpret_scores
from lfexp_mcp.scores.warnings import maker_warnings, scale_warnings
from lfexp_mcp.services.analysis.notable_items import split_votes
from lfexp_mcp.services.runs.run_summary import summarise_scores

JUDGE = JudgeMaker("judge-accuracy", 1, "openai", "m", TEN, "default")
SECOND = replace(JUDGE, version=2, scale=Scale(1, 5))
SCRIPT = ScriptMaker("accuracy", "checks.py", "a" * 64)
LABELS = Scale(0, 2, kind="CATEGORICAL", categories=(Category("good", 2), Category("fair", 1), Category("bad", 0)))


def score(
    value: float | bool | str,
    name: str = "accuracy",
    *,
    raw: float | None = None,
    clamped: bool = False,
    source: ScoreSource = "API",
    maker: ScoreMaker = SCRIPT,
) -> Score:
    kind: ScoreDataType = (
        "BOOLEAN" if isinstance(value, bool) else "CATEGORICAL" if isinstance(value, str) else "NUMERIC"
    )
    return Score("id", name, value, kind, raw=raw, clamped=clamped, source=source, maker=maker)


def judged(value: float | bool | str, *, raw: float | None = None, clamped: bool = False) -> Score:
    return score(value, raw=raw, clamped=clamped, maker=JUDGE)


def run(*items: Score | EvaluatorFailure | tuple[Score | EvaluatorFailure, ...], scales: JsonValue = None) -> RunRecord:
    return RunRecord(
        dataset="d",
        dataset_id="d1",
        run_name="r",
        experiment_ids=("e",),
        status="completed",
        items=tuple(_item(number, item if isinstance(item, tuple) else (item,)) for number, item in enumerate(items)),
        total_items=len(items),
        provenance=Provenance.of({PROVENANCE_KEY: {"scales": scales}}),
    )


def _item(number: int, parts: tuple[Score | EvaluatorFailure, ...]) -> ItemResult:
    return ItemResult(
        item_id=f"item-{number}",
        status="succeeded",
        scores=tuple(part for part in parts if isinstance(part, Score)),
        unscored=tuple(part for part in parts if isinstance(part, EvaluatorFailure)),
    )


def only(record: RunRecord) -> ScoreSummary:
    (summary,) = summaries(record)
    return summary


def summaries(record: RunRecord, configured: Mapping[str, Scale] | None = None) -> list[ScoreSummary]:
    return summarise_scores(record, interpret_scores(record, configured or {}))


def warnings(record: RunRecord) -> list[str]:
    return scale_warnings(record, interpret_scores(record, {}))


def test_a_judges_mean_is_over_what_was_scored_with_failures_beside_it() -> None:
    summary = only(run(judged(0.8), judged(0.9), EvaluatorFailure("accuracy", "no answer")))
    assert summary.mean == pytest.approx(0.85)
    assert (summary.count, summary.unscored) == (2, 1)
    assert (summary.min, summary.max) == (0.8, 0.9)
    assert (summary.display, summary.scale, summary.scale_source) == ("0.85 (8.5/10)", "0-10", "default")


def test_a_score_that_failed_everywhere_is_unscored_and_not_zero() -> None:
    summary = only(run(EvaluatorFailure("accuracy", "x"), EvaluatorFailure("accuracy", "x")))
    assert (summary.mean, summary.count, summary.unscored) == (None, 0, 2)
    assert summary.display == "not scored (2 failed)"


def test_a_run_without_items_has_no_scores() -> None:
    assert summaries(run()) == []


def test_evaluators_values_within_0_to_1_are_read_as_such() -> None:
    summary = only(run(score(0.0), score(1.0), score(0.5)))
    assert (summary.mean, summary.scale, summary.scale_source) == (0.5, "0-1", "default of evaluators")


def test_a_set_mostly_above_1_is_read_on_0_to_10() -> None:
    summary = only(run(score(1.0), score(5.0), score(3.0), score(3.0)))
    assert summary.mean == pytest.approx(0.3)
    assert (summary.scale, summary.display) == ("0-10", "0.30 (3/10)")


@pytest.mark.parametrize("beyond", [11.0, -0.1])
def test_values_beyond_every_usual_scale_stay_raw(beyond: float) -> None:
    record = run(score(1.0), score(beyond))
    summary = only(record)
    assert summary.mean == pytest.approx((1 + beyond) / 2)
    assert (summary.scale, summary.scale_source) == (None, "observed values")
    assert interpret_scores(record, {})["accuracy"].canonical(score(1.0)) is None
    assert "'accuracy'" in warnings(record)[0]


def test_a_value_beyond_the_declared_scale_leaves_all_of_the_name_without_a_mean() -> None:
    script = ScriptMaker("f", scale=UNIT, scale_source="evaluator")
    record = run(score(0.4, maker=script), score(1.2, maker=script))
    reading = interpret_scores(record, {})["accuracy"]
    assert (reading.is_canonical, only(record).mean, only(record).scale) == (False, None, "0-1")
    assert "1 of 2 values (1.2)" in warnings(record)[0]


def test_a_truth_value_of_which_less_is_better_is_flipped() -> None:
    script = ScriptMaker("f", lower_is_better=True)
    summary = only(run(score(True, maker=script), score(False, maker=script), score(False, maker=script)))
    assert summary.mean == pytest.approx(2 / 3)
    assert summary.display == "67% (1 of 3 true, lower is better)"


def test_labels_of_a_script_have_the_values_that_it_declares() -> None:
    scale = Scale(0, 1, kind="CATEGORICAL", categories=(Category("good", 1), Category("bad", 0)))
    script = ScriptMaker("f", scale=scale, scale_source="evaluator")
    assert only(run(score("good", maker=script), score("bad", maker=script))).mean == 0.5


def test_a_score_config_states_the_scale_of_what_others_wrote_and_not_of_a_script_that_ran_without_it() -> None:
    five = {"accuracy": Scale(1, 5)}
    assert (
        interpret_scores(run(score(1.0, maker=OTHERS), score(5.0, maker=OTHERS)), five)["accuracy"].canonical(
            score(2.0, maker=OTHERS)
        )
        == 0.25
    )
    script = ScriptMaker("f")
    assert interpret_scores(run(score(1.0, maker=script)), five)["accuracy"].scale == UNIT


def test_a_judge_without_harm_on_a_scale_where_less_is_better_raises_no_doubt() -> None:
    judge = replace(JUDGE, scale=Scale(0, 10, lower_is_better=True))
    fine, doubtful = (
        run(*(score(1 - raw / 10, raw=raw, maker=judge) for raw in raws)) for raws in ((0, 1, 0, 1), (0.2, 1, 0, 0.7))
    )
    assert (warnings(fine), len(warnings(doubtful))) == ([], 1)


def test_booleans_aggregate_as_a_rate() -> None:
    summary = only(run(score(True), score(False), score(True), score(True)))
    assert (summary.mean, summary.display) == (0.75, "75% (3 of 4)")


def test_categories_aggregate_as_counts() -> None:
    summary = only(run(score("good"), score("bad"), score("good")))
    assert (summary.mean, summary.categories) == (None, {"good": 2, "bad": 1})
    assert summary.display == "good 2, bad 1"


def test_categories_with_values_have_a_mean_too() -> None:
    maker = replace(JUDGE, scale=LABELS)
    summary = only(run(score("good", maker=maker), score("fair", maker=maker)))
    assert (summary.mean, summary.categories) == (0.75, {"good": 1, "fair": 1})
    assert summary.display == "0.75 (good 1, fair 1)"


def test_numbers_and_booleans_of_one_name_are_numbers() -> None:
    summary = only(run(score(True), score(0.5)))
    assert (summary.mean, summary.display) == (0.75, "0.75")


def test_a_humans_number_is_not_averaged_with_the_judges() -> None:
    record = run((judged(0.8), score(5.0, source="ANNOTATION")))
    summary = only(record)
    assert (summary.mean, summary.count) == (0.8, 1)


def test_a_humans_numbers_are_read_on_the_scale_of_their_score_config() -> None:
    record = run(*[score(value, source="ANNOTATION") for value in (1.0, 3.0, 5.0, 5.0)])
    (summary,) = summaries(record, {"accuracy": Scale(1, 5)})
    assert (summary.mean, summary.scale, summary.scale_source) == (0.625, "1-5", "score config")
    assert summary.display == "0.62 (3.5/5)"


def test_humans_labels_have_the_values_that_their_score_config_gives_them() -> None:
    record = run(score("good", source="ANNOTATION"), score("fair", source="ANNOTATION"))
    (summary,) = summaries(record, {"accuracy": LABELS})
    assert (summary.mean, summary.display) == (0.75, "0.75 (good 1, fair 1)")


def test_humans_texts_are_no_numbers_whatever_the_score_config() -> None:
    (summary,) = summaries(run(score("fine", source="ANNOTATION")), {"accuracy": BOOLEAN})
    assert (summary.mean, summary.categories) == (None, {"fine": 1})


def test_a_score_config_says_nothing_of_an_evaluators_numbers() -> None:
    (summary,) = summaries(run(score(1.0)), {"accuracy": Scale(1, 5)})
    assert (summary.mean, summary.scale) == (1.0, "0-1")


def test_humans_numbers_without_a_stated_scale_are_read_as_observed_and_the_warning_names_the_score_config() -> None:
    record = run(score(4.0, source="ANNOTATION"))
    assert only(record).scale_source == "observed values"
    assert "score config" in warnings(record)[0]


@pytest.mark.parametrize(
    "foreign", [["not", "a", "mapping"], {"accuracy": "0-10"}, {"accuracy": {"low": 10, "high": 0}}, {"accuracy": {}}]
)
def test_provenance_that_is_not_ours_is_not_relied_on(foreign: JsonValue) -> None:
    record = run(score("good", maker=replace(JUDGE, scale=None)), scales=foreign)
    assert only(record).mean is None


def test_labels_of_a_judge_whose_scale_version_0_1_kept_with_the_run_have_its_values() -> None:
    categories: list[JsonValue] = [{"label": "good", "value": 2}, {"label": "fair", "value": 1}]
    scale: JsonValue = {"low": 1, "high": 2, "kind": "CATEGORICAL", "categories": categories, "source": "prompt config"}
    record = run(score("good", maker=replace(JUDGE, scale=None)), scales={"accuracy": scale})
    assert (only(record).mean, only(record).scale_source) == (1.0, "prompt config")


def test_each_score_is_read_on_the_scale_of_the_judge_that_gave_it() -> None:
    record = run(score(0.79, maker=JUDGE), score(0.5, maker=SECOND))
    reading = interpret_scores(record, {})["accuracy"]
    assert [reading.raw(item.scores[0]) for item in record.items] == [pytest.approx(7.9), 3.0]
    assert [reading.canonical(item.scores[0]) for item in record.items] == [0.79, 0.5]


def test_no_mean_stands_for_two_versions_of_a_judge() -> None:
    record = run(score(0.8, maker=JUDGE), score(0.6, maker=JUDGE), score(0.5, maker=SECOND))
    summary = only(record)
    assert (summary.mean, summary.count) == (None, 3)
    assert summary.makers == [f"2 by {JUDGE.label} with mean 0.70", f"1 by {SECOND.label} with mean 0.50"]
    assert SECOND.label in maker_warnings(record, interpret_scores(record, {}))[0]


def test_scores_given_before_a_script_declared_its_scale_are_not_read_on_that() -> None:
    declaring = ScriptMaker("accuracy", "checks.py", "b" * 64, Scale(1, 5), "evaluator")
    record = run(score(0.5), score(4.0, maker=declaring))
    reading, summary = interpret_scores(record, {})["accuracy"], only(record)
    assert (reading.problem, summary.mean) == (None, None)
    assert [reading.canonical(item.scores[0]) for item in record.items] == [0.5, 0.75]
    assert [made.partition(" with mean ")[2] for made in summary.makers] == ["0.50", "0.75"]


def test_an_edited_script_is_named_and_its_mean_stays() -> None:
    edited = replace(SCRIPT, sha256="b" * 64)
    summary = only(run(score(1.0), score(0.0, maker=edited)))
    assert (summary.mean, [made[:4] for made in summary.makers]) == (0.5, ["1 by", "1 by"])


@pytest.mark.parametrize("own", [JUDGE, SCRIPT], ids=["judge", "script"])
@pytest.mark.parametrize("other", [OTHERS, OtherMaker("EVAL")], ids=["api", "langfuse"])
def test_what_others_write_under_the_name_of_a_score_is_shown_apart(own: ScoreMaker, other: OtherMaker) -> None:
    record = run((score(0.8, maker=own), score(0.1, maker=other)), score(0.2, maker=other))
    summary = only(record)
    assert (summary.mean, summary.count) == (0.8, 1)
    assert summary.makers == [f"1 by {own.label} with mean 0.80", f"2 by {other.label} (left out)"]
    assert other.label in maker_warnings(record, interpret_scores(record, {}))[0]


def test_a_name_that_only_others_wrote_is_theirs() -> None:
    summary = only(run(score(0.8, maker=OTHERS), score(0.2, maker=OTHERS)))
    assert (summary.mean, summary.count, summary.makers) == (0.5, 2, [])


def test_values_that_an_earlier_version_moved_to_an_end_of_the_scale_count_in_no_mean() -> None:
    record = run(judged(1.0, raw=85, clamped=True), judged(0.5, raw=5))
    assert (only(record).clamped, only(record).mean) == (1, None)
    (warning,) = warnings(record)
    assert "1 of 2 values (85)" in warning
    assert '{"scale": "0-100"} into the config of prompt \'judge-accuracy\'' in warning


def test_values_that_contradict_the_scale_give_a_warning_that_names_the_fix() -> None:
    (warning,) = warnings(run(judged(0.08), judged(0.1), judged(0.02)))
    assert "0-10 (default)" in warning
    assert '{"scale": "0-1"} into the config of prompt \'judge-accuracy\'' in warning


def test_values_that_fit_their_scale_give_no_warning() -> None:
    assert warnings(run(judged(0.8), judged(0.1), judged(0.0))) == []


def test_a_judge_that_gives_zero_throughout_contradicts_nothing() -> None:
    assert warnings(run(judged(0.0), judged(0.0), judged(0.0))) == []


@pytest.mark.slow
def test_fifty_thousand_items_are_summarised_quickly() -> None:
    record = run(*[(judged(0.25), score(True, "passed")) for _ in range(50_000)])
    began = time.process_time()
    found = summaries(record)
    assert [summary.count for summary in found] == [50_000, 50_000]
    assert time.process_time() - began < 10


def test_items_on_which_a_judge_disagrees_with_itself_are_listed_most_first() -> None:
    def voted(spread: JsonValue, votes: JsonValue) -> Score:
        return Score("id", "accuracy", 0.5, "NUMERIC", metadata={"spread": spread, "votes": votes})

    record = run(voted(0.3, [6.0, 9.0]), voted(0.0, [5.0, 5.0]), score(0.5), voted("0.5", [2.0, 7.0]), voted("?", None))
    found = split_votes(record)
    assert [(each.item_id, each.spread, each.votes) for each in found] == [
        ("item-3", 0.5, [2.0, 7.0]),
        ("item-0", 0.3, [6.0, 9.0]),
    ]
