from datetime import UTC, datetime, timedelta

import pytest

from lfexp_mcp.model import ItemResult, JudgeMaker, RunRecord, Score
from lfexp_mcp.scores.score_names import name_scores


def score_by(version: int, model: str) -> Score:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=version)
    maker = JudgeMaker("judge-tone", version, "openai", model)
    return Score(f"{version} {model}", "tone", 0.5, "NUMERIC", maker=maker, timestamp=at)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([(12, "m"), (10, "m"), (1, "m")], ["tone", "tone@judge-tone:10", "tone@judge-tone:1"]),
        ([(2, "m"), (1, "m"), (1, "m-b")], ["tone", "tone@judge-tone:1/m", "tone@judge-tone:1/m-b"]),
    ],
    ids=["versions", "models"],
)
def test_an_older_score_is_named_with_the_version_and_if_need_be_the_model_of_its_judge(
    given: list[tuple[int, str]], names: list[str]
) -> None:
    item = ItemResult("i", "succeeded", scores=tuple(score_by(*each) for each in given))
    record = name_scores(RunRecord("d", "id", "run", ("e",), "completed", (item,), 1))
    assert [score.name for score in record.items[0].scores] == names
    assert record.older_scores == frozenset(names[1:])
