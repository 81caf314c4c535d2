"""Which results of a run are listed, and in what order; cases in `result_filters.jsonl`."""

import json
import re
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import CursorError, NotFoundError, UsageError
from lfexp_mcp.model import TEN, Content, EvaluatorFailure, ItemResult, JudgeMaker, RunRecord, Score
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.services.requests import GetRunRequest, ResultFilter, build
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.result_filter import filter_results
from lfexp_mcp.services.runs.scored_run import interpret_run
from lfexp_mcp.services.workspace import Workspace
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.anyio

CASES = [json.loads(line) for line in (Path(__file__).parent / "result_filters.jsonl").read_text().splitlines()]
JUDGE = JudgeMaker("judge-acc", 1, "openai", "m", TEN, "prompt config")
VALUES = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 0.2, 6: 0.2, 7: 0.5, 11: 0.0, 12: 1.0}


def _result(number: int) -> ItemResult:
    scores = [Score(f"style-{number}", "style", 0.9, "NUMERIC", maker=JUDGE)] if number in VALUES else []
    if number in VALUES:
        value = VALUES[number]
        scores.append(Score(f"acc-{number}", "acc", value, "NUMERIC", raw=value * 10, maker=JUDGE))
    metadata: dict[str, JsonValue] = {"language": "de" if number % 2 else "fr", "level": number % 3}
    return ItemResult(
        f"{number:02}",
        "failed" if number == 8 else "pending" if number == 13 else "succeeded",
        content=Content(metadata=metadata),
        error="timed out" if number == 8 else None,
        seconds={8: 600.0, 12: 3.0, 13: None}.get(number, 1.0),
        scores=tuple(scores),
        unscored=(EvaluatorFailure("acc", "the reply cannot be read"),) if number == 9 else (),
    )


RUN = RunRecord("d", "d", "r", ("e",), "completed", tuple(_result(n) for n in range(1, 14)), 13)


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case["asked"]))
async def test_a_filter_lists_what_a_careful_reader_would(workspace: Workspace, case: dict[str, JsonValue]) -> None:
    asked = case["asked"]
    assert isinstance(asked, dict)
    if case.get("refused"):
        with pytest.raises(UsageError):
            await filter_results(workspace, interpret_run(RUN, {}), build(ResultFilter, **asked))
        return
    if asked.get("sort") == "costliest":
        dataset = await make_dataset(workspace, "filter-cost")
        spent = {1: 0.02, 2: 0.02, 3: 0.5, 4: 0.001}
        await record_run(
            workspace,
            dataset,
            "r",
            [Recorded(f"{n:02}", tokens=(10, 2), cost=spent.get(n)) for n in range(1, 14)],
        )
        answer = await get_run(workspace, dataset.name, "r", results=build(ResultFilter, **asked))
        assert [item.item_id.lstrip("0") for item in answer.items] == case["found"]
        assert any(re.match(r"9 of 13\b", warning) for warning in answer.warnings)
        return
    found, _ = await filter_results(workspace, interpret_run(RUN, {}), build(ResultFilter, **asked))
    assert [item.item_id.lstrip("0") for item in found] == case["found"]


async def test_a_run_without_costs_is_not_sorted_by_them(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "filter-free")
    await record_run(workspace, dataset, "r", [Recorded("a"), Recorded("b")])
    with pytest.raises(UsageError, match="cost"):
        await get_run(workspace, dataset.name, "r", results=ResultFilter(sort="costliest"))


async def test_pages_of_a_filter_hold_each_result_once_and_the_run_as_a_whole_stays(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "filter-pages")
    results = [
        Recorded(f"i{n:02}", metadata={"half": n % 2}, scores={"s": n % 5 / 4}, seconds=n % 3 + 0.1) for n in range(30)
    ]
    await record_run(workspace, dataset, "r", results)
    asked = ResultFilter(which="failed", where="half=1", sort="slowest")
    seen: list[str] = []
    cursor = None
    while True:
        page = await get_run(workspace, dataset.name, "r", results=asked, limit=4, cursor=cursor)
        assert (page.matching, page.total_items, page.succeeded) == (9, 30, 30)
        assert bool(page.scores) is (cursor is None), "what is said of the run as a whole is on the first page alone"
        assert "9 of 30 results match" in report_text(page)
        seen += [item.item_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        for other in (ResultFilter(), asked.model_copy(update={"sort": None}), ResultFilter(which="errored")):
            with pytest.raises(CursorError):
                await get_run(workspace, dataset.name, "r", results=other, limit=4, cursor=cursor)
    low = [result for result in results if result.metadata["half"] == 1 and float(result.scores["s"]) < 0.7]
    slowest_first = sorted(low, key=lambda result: (-result.seconds, result.item_id))
    assert seen == [result.item_id for result in slowest_first]
    plain = await get_run(workspace, dataset.name, "r", limit=4)
    with pytest.raises(CursorError):
        await get_run(workspace, dataset.name, "r", results=asked, limit=4, cursor=plain.next_cursor)


async def test_a_filter_that_nothing_meets_answers_with_none_of_the_results(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "filter-none")
    await record_run(workspace, dataset, "r", [Recorded("a", scores={"s": 1.0}), Recorded("b", scores={"s": 0.9})])
    answer = await get_run(workspace, dataset.name, "r", results=ResultFilter(which="failed"))
    shown = answer.model_dump(mode="json")
    assert (shown["matching"], answer.items, answer.next_cursor) == (0, [], None)
    assert answer.scores[0].count == 2
    assert "0 of 2 results match" in report_text(answer)


async def test_an_item_is_found_by_its_trace_too_and_takes_no_filter(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "filter-item")
    run = await record_run(workspace, dataset, "r", [Recorded("one"), Recorded("two", output="2")])
    answer = await get_run(workspace, dataset.name, "r", item_id=run.traces["two"])
    assert [(item.item_id, item.output) for item in answer.items] == [("two", "2")]
    with pytest.raises(NotFoundError) as refused:
        await get_run(workspace, dataset.name, "r", item_id="ones")
    assert refused.value.near == ("one",)
    for more in ({"which": "failed"}, {"sort": "slowest"}, {"cursor": "from-1"}):
        with pytest.raises(UsageError, match="item_id"):
            build(GetRunRequest, dataset=dataset.name, run_name="r", item_id="one", **more)
