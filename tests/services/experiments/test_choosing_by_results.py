"""Choosing items by what another run did with them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.model import LOWER_IS_BETTER, TEN, DatasetItem, JudgeMaker, RecordedStatus, RunPlan, Scale, ScriptMaker
from lfexp_mcp.services.experiments.choosing import ChosenItems, choose_items
from lfexp_mcp.services.requests import RunRequest, build
from lfexp_mcp.services.workspace import Workspace
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.anyio

JUDGE = JudgeMaker("judge-accuracy", 1, "openai", "m", TEN, "default")
ITEMS = [DatasetItem(f"a{number}", "q") for number in range(1, 9)]


async def choose(ws: Workspace, dataset: str, **given: JsonValue) -> ChosenItems:
    request = build(
        RunRequest, run_name="new", dataset=dataset, task_script=Path("t.py"), items={"run": "base", **given}
    )
    return await choose_items(ws, dataset, "new", ITEMS, request.items)


async def chosen(ws: Workspace, dataset: str, **given: JsonValue) -> list[str]:
    return [item.id for item in (await choose(ws, dataset, **given)).items]


async def record_base(ws: Workspace, name: str) -> str:
    """Accuracy 0.2, 0, none as the task failed, none as the judge did, then 1; a3 failed first, and then did not."""
    results = [
        Recorded("a1", output="o", scores={"accuracy": 0.2}),
        Recorded("a2", output="o", scores={"accuracy": 0.0}),
        Recorded("a3", output="Error: no", failed=True),
        Recorded("a4", output="o"),
        *(Recorded(f"a{number}", output="o", scores={"accuracy": 1.0}) for number in range(5, 8)),
        Recorded("a7", output="Error: no", failed=True),
        Recorded("gone", output="o", scores={"accuracy": 0.1}),
    ]
    await record_run(ws, await make_dataset(ws, name), "base", results, makers={"accuracy": JUDGE})
    return name


async def test_errored_are_the_items_whose_newest_good_result_is_an_error(workspace: Workspace) -> None:
    dataset = await record_base(workspace, "choose-errored")
    assert await chosen(workspace, dataset, which="errored") == ["a3"]


async def test_failed_are_the_errored_and_those_below_the_pass_mark(workspace: Workspace) -> None:
    dataset = await record_base(workspace, "choose-failed")
    assert await chosen(workspace, dataset, which="failed") == ["a1", "a2", "a3"]
    assert await chosen(workspace, dataset, which="failed", score="accuracy", sample=1, ids=["a1", "a3"]) != []


async def test_below_are_the_scored_items_below_and_none_that_has_no_score(workspace: Workspace) -> None:
    dataset = await record_base(workspace, "choose-below")
    found = await choose(workspace, dataset, below=0.5)
    assert [item.id for item in found.items] == ["a1", "a2"]
    # Two items have no score, and one is no longer in the dataset.
    assert len(found.notes) == 2
    assert await chosen(workspace, dataset, below=0.2) == ["a2"]
    assert await chosen(workspace, dataset, below="2/10", score="accuracy") == ["a2"]
    assert await chosen(workspace, dataset, below="30%") == ["a1", "a2"]
    listed = await choose(workspace, dataset, below=0.5, ids=["a1"])
    assert [item.id for item in listed.items] == ["a1"]
    assert listed.notes == found.notes, "a2 is not listed, but is in the dataset"


@pytest.mark.parametrize(
    "given",
    [
        {"below": "5/7"},
        {"below": 0.5, "score": "tone"},
        {"which": "errored", "where": "language=de"},
        {"which": "errored", "ids": ["a1"]},
        {"which": "failed", "run": "nobody"},
    ],
)
async def test_what_chooses_nothing_or_cannot_be_told_is_refused(
    workspace: Workspace, given: dict[str, JsonValue]
) -> None:
    dataset = await record_base(workspace, "choose-refused")
    with pytest.raises(LfexpError):
        await choose(workspace, dataset, **given)


async def test_which_of_several_scores_is_asked(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "choose-several")
    results = [Recorded("a1", output="o", scores={"accuracy": 0.1, "style": 1.0}), Recorded("a2", output="o")]
    await record_run(workspace, dataset, "base", results)
    with pytest.raises(LfexpError):
        await choose(workspace, "choose-several", below=0.5)
    assert await chosen(workspace, "choose-several", below=0.5, score="accuracy") == ["a1"]


async def test_below_is_worse_also_where_lower_is_better(workspace: Workspace) -> None:
    maker = ScriptMaker("cost", "c.py", "a" * 64, Scale(0, 10, lower_is_better=True), "evaluator")
    assert maker.scale is not None
    assert maker.scale.name.endswith(LOWER_IS_BETTER)
    results = [Recorded("a1", output="o", scores={"cost": 9.0}), Recorded("a2", output="o", scores={"cost": 1.0})]
    dataset = await make_dataset(workspace, "choose-lower")
    await record_run(workspace, dataset, "base", results, makers={"cost": maker})
    assert await chosen(workspace, "choose-lower", which="failed") == ["a1"]


async def test_a_score_of_two_makers_chooses_nothing(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "choose-mixed")
    other = JudgeMaker("judge-accuracy", 2, "openai", "m", Scale(1, 5), "default")
    mark = RecordedStatus("completed", datetime.now(UTC), RunPlan(2, scores=("accuracy",), makers=(other,)), 2)
    mark = replace(mark, makers=(JUDGE, other))
    for item_id, maker in (("a1", JUDGE), ("a2", other)):
        result = Recorded(item_id, output="o", scores={"accuracy": 0.1})
        await record_run(workspace, dataset, "base", [result], makers={"accuracy": maker}, mark=mark)
    with pytest.raises(LfexpError, match="'accuracy'"):
        await choose(workspace, "choose-mixed", below=0.5, score="accuracy")
