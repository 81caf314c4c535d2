from datetime import UTC, datetime

from lfexp_mcp.answers.run import RepeatedScore
from lfexp_mcp.model import ItemResult, RunRecord, Score
from lfexp_mcp.scores.interpretation import interpret_scores
from lfexp_mcp.services.runs.run_summary import summarise_repeats


def _result(item_id: str, repeat: int, value: float | None) -> ItemResult:
    """A result with a score, or without a value one whose task failed."""
    scores = () if value is None else (Score(f"{item_id}-{repeat}", "accuracy", value, "NUMERIC"),)
    status = "failed" if value is None else "succeeded"
    return ItemResult(item_id, status, scores=scores, repeat=repeat)  # type: ignore[arg-type]


def _record(results: dict[str, list[float | None]]) -> RunRecord:
    repeats = max((len(values) for values in results.values()), default=1)
    items = tuple(
        _result(item_id, repeat, value) for item_id, values in results.items() for repeat, value in enumerate(values)
    )
    return RunRecord(
        dataset="d",
        dataset_id="d",
        run_name="r",
        experiment_ids=tuple(f"e{repeat}" for repeat in range(repeats)),
        status="completed",
        items=items,
        total_items=len(items),
        created=datetime.now(UTC),
    )


def _summary(record: RunRecord) -> list[RepeatedScore]:
    return summarise_repeats(record, interpret_scores(record, {}))


def test_repeats_say_how_often_items_pass_and_which_flip() -> None:
    [score] = _summary(_record({"always": [1, 1], "never": [0, 0], "flips": [1, 0], "half": [0.5, 0.7]}))
    assert score.items == 4
    assert (score.pass_at_1, score.pass_at_k, score.pass_all_k) == (0.5, 0.75, 0.25)
    assert (score.flips, score.flipping_items) == (2, ["flips", "half"])
    assert score.spread is not None
    assert round(score.spread, 4) == round((0.5**0.5 + 0.02**0.5) / 4, 4)


def test_a_failed_result_is_one_that_did_not_pass() -> None:
    [score] = _summary(_record({"a": [1, None], "b": [None, None], "c": [1, 1]}))
    assert (score.items, score.pass_at_k, score.pass_all_k, score.flipping_items) == (3, 2 / 3, 1 / 3, ["a"])


def test_a_mean_of_votes_passes_at_the_mark_whatever_its_last_decimal() -> None:
    votes = sum([0.7, 0.7, 0.7]) / 3
    assert votes < 0.7
    [score] = _summary(_record({"a": [votes, 0.7]}))
    assert (score.pass_at_1, score.flips) == (1.0, 0)


def test_an_item_with_a_result_missing_is_in_no_share() -> None:
    record = _record({"a": [1, 1], "b": [1]})
    [score] = _summary(record)
    assert (score.items, score.pass_all_k) == (1, 1.0)


def test_a_run_without_repeats_or_scores_has_no_such_summary() -> None:
    assert _summary(_record({"a": [1.0]})) == []
    assert _summary(_record({})) == []
