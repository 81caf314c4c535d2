"""list_runs and get_run on the real store."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.base import UNTRUSTED_NOTICE
from lfexp_mcp.errors import CursorError, NotFoundError
from lfexp_mcp.model import TEN, JudgeMaker
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.annotations import fetch_annotation_comments
from lfexp_mcp.services.answer_size import MAX_TOKENS, estimate_tokens
from lfexp_mcp.services.requests import AnalyzeRequest, CommentsRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.workspace import Workspace
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.anyio

JUDGE = JudgeMaker("judge-tone", 1, "openai", "m", TEN, "default")


async def test_runs_are_listed_newest_first_without_the_runners_own_metadata(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "list-runs")
    now = datetime.now(UTC)
    for age, name in ((3, "first"), (2, "second"), (1, "third")):
        metadata: Mapping[str, JsonValue] = {"model": "m", "lfexp": json.dumps({"version": "0.1.0"})}
        result = Recorded("i", output="o", started=now - timedelta(minutes=age))
        await record_run(workspace, dataset, name, [result], metadata=metadata)
    answer = await list_runs(workspace, "list-runs", limit=2)
    assert [run.name for run in answer.runs] == ["third", "second"]
    assert answer.runs[0].metadata == {"model": "m"}
    assert answer.next_cursor is not None
    rest = await list_runs(workspace, "list-runs", limit=2, cursor=answer.next_cursor)
    assert [run.name for run in rest.runs] == ["first"]
    assert rest.next_cursor is None
    assert {step.tool for step in answer.next} == {"get_run", "compare_runs"}


async def test_long_metadata_of_many_runs_is_cut(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "list-long")
    for n in range(20):
        await record_run(workspace, dataset, f"run-{n}", [Recorded("i")], metadata={"prompt": "do this " * 500})
    answer = await list_runs(workspace, "list-long")
    assert len(answer.runs) == 20
    assert estimate_tokens(answer) <= MAX_TOKENS
    assert "4,000 characters in all" in str(answer.runs[0].metadata["prompt"])


async def test_a_dataset_without_runs_says_how_to_make_one(workspace: Workspace) -> None:
    await make_dataset(workspace, "list-none")
    answer = await list_runs(workspace, "list-none")
    assert answer.runs == []
    assert answer.next[0].tool == "run_experiment"


@pytest.mark.slow
async def test_a_run_with_many_repetitions_is_listed_though_they_fill_a_page(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "list-repeats")
    begun = datetime.now(UTC) - timedelta(hours=1)
    for index in range(25):
        provenance = json.dumps({"repeats": {"group": "run", "index": index, "count": 25}})
        result = Recorded("i", output="o", started=begun + timedelta(minutes=index))
        name = "run" if index == 0 else f"run#{index + 1}"
        await record_run(workspace, dataset, name, [result], metadata={"lfexp": provenance})
    answer = await list_runs(workspace, "list-repeats")
    assert ([run.name for run in answer.runs], answer.next_cursor) == (["run"], None)

    answer = await list_runs(workspace, "list-repeats", limit=3)
    assert answer.runs == []
    assert "no runs yet" not in report_text(answer)
    (step,) = answer.next
    assert step.tool == "list_runs"
    assert step.arguments == {"dataset": "list-repeats", "limit": 3, "cursor": answer.next_cursor}
    rest = await list_runs(workspace, "list-repeats", limit=3, cursor=answer.next_cursor)
    assert [run.name for run in rest.runs] == ["run"]


async def test_a_run_is_shown_with_items_comments_and_pages(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-run")
    results = [
        Recorded(f"i{n:02}", output={"n": n}, scores={"ok": n % 2 == 0}, comments={"ok": f"reason {n}"})
        for n in range(25)
    ]
    await record_run(workspace, dataset, "run", results, description="what it tries")
    answer = await get_run(workspace, "get-run", "run", limit=20)
    assert (answer.total_items, answer.succeeded, answer.description) == (25, 25, "what it tries")
    assert answer.notice == UNTRUSTED_NOTICE
    assert [item.scores[0].comment for item in answer.items[:2]] == ["reason 0", "reason 1"]
    assert answer.items[3].output == {"n": 3}
    rest = await get_run(workspace, "get-run", "run", limit=20, cursor=answer.next_cursor)
    assert [item.item_id for item in rest.items] == [f"i{n:02}" for n in range(20, 25)]
    assert rest.next_cursor is None


async def test_a_page_of_long_texts_is_cut_and_one_item_is_whole(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-long")
    results = [Recorded(f"i{n}", input="word " * 2000, output="字" * 3000, scores={"ok": True}) for n in range(30)]
    await record_run(workspace, dataset, "run", results)
    answer = await get_run(workspace, "get-long", "run", limit=30)
    assert estimate_tokens(answer) <= MAX_TOKENS
    assert "10,000 characters in all" in str(answer.items[0].input)
    seen = [item.item_id for item in answer.items]
    cursor = answer.next_cursor
    while cursor is not None:
        page = await get_run(workspace, "get-long", "run", limit=30, cursor=cursor)
        seen += [item.item_id for item in page.items]
        cursor = page.next_cursor
    assert seen == [f"i{n}" for n in range(30)]
    (whole,) = (await get_run(workspace, "get-long", "run", item_id="i7")).items
    assert whole.input == "word " * 2000
    full = await get_run(workspace, "get-long", "run", limit=2, detail="full")
    assert [item.output for item in full.items] == ["字" * 3000] * 2


async def test_a_name_used_twice_shows_the_newest_good_results(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-twice")
    then = datetime.now(UTC) - timedelta(hours=2)
    await record_run(
        workspace,
        dataset,
        "run",
        [
            Recorded("a", output="old", scores={"ok": 0.0}, started=then),
            Recorded("b", output="good", scores={"ok": 1.0}, started=then),
        ],
    )
    await record_run(
        workspace,
        dataset,
        "run",
        [Recorded("a", output="new", scores={"ok": 1.0}), Recorded("b", output="Error: late", failed=True)],
    )
    answer = await get_run(workspace, "get-twice", "run")
    assert {item.item_id: item.output for item in answer.items} == {"a": "new", "b": "good"}
    assert answer.scores[0].mean == 1.0
    assert any(re.search(r"\b2\b", warning) for warning in answer.warnings)


async def test_repetitions_are_one_run(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-repeats")
    for index, name in enumerate(("run", "run#2", "run#3")):
        provenance = json.dumps({"repeats": {"group": "run", "index": index, "count": 3}})
        results = [Recorded(item, output=f"{name} {item}", scores={"ok": float(index > 0)}) for item in ("a", "b")]
        await record_run(workspace, dataset, name, results, metadata={"lfexp": provenance})
    answer = await get_run(workspace, "get-repeats", "run")
    assert (answer.total_items, answer.scores[0].count) == (6, 6)
    assert [item.repeat for item in answer.items] == [0, 0, 1, 1, 2, 2]
    assert [run.name for run in (await list_runs(workspace, "get-repeats")).runs] == ["run"]


async def test_the_texts_of_a_run_with_repeats_tell_results_from_items(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-repeats-text")
    for index, name in enumerate(("run", "run#2", "run#3")):
        provenance = json.dumps({"repeats": {"group": "run", "index": index, "count": 3}})
        results = [Recorded(f"i{n}", output="o", scores={"ok": 0.0 if n else 1.0}) for n in range(4)]
        await record_run(workspace, dataset, name, results, metadata={"lfexp": provenance})
    shown = await get_run(workspace, "get-repeats-text", "run")
    assert (shown.total_items, shown.repeats) == (12, 3)
    assert "12 of 12 results of 4 items x 3 succeeded" in report_text(shown)
    assert "i1 (repeat 2)" in report_text(shown)
    analysis = await analyze_run(
        workspace, AnalyzeRequest(dataset="get-repeats-text", run_name="run", show_failures=True)
    )
    assert "Failing results, lowest first: 9" in report_text(analysis)
    assert "i3 (repeat 1)" in report_text(analysis)
    assert {item.repeat for item in analysis.slowest} <= {0, 1, 2}
    listed = await list_runs(workspace, "get-repeats-text")
    assert [run.results for run in listed.runs] == [4]


async def test_a_repetition_that_langfuse_does_not_show_is_said_to_be_missing(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-repeats-fewer")
    provenance = json.dumps({"repeats": {"group": "run", "index": 0, "count": 3}})
    for name in ("run", "run#3"):
        await record_run(workspace, dataset, name, [Recorded("a", output="o")], metadata={"lfexp": provenance})
    answer = await get_run(workspace, "get-repeats-fewer", "run")
    assert any(re.search(r"\b2\b.*\b3\b", warning) for warning in answer.warnings)


async def test_a_run_that_nothing_scored_says_how_to_score_it(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-bare")
    await record_run(workspace, dataset, "run", [Recorded("a", output="o")])
    answer = await get_run(workspace, "get-bare", "run")
    assert len(answer.warnings) == 1
    assert (answer.next[0].tool, answer.next[0].arguments["resume"]) == ("run_experiment", True)
    assert "evaluator_script" in answer.next[0].arguments
    assert all(step.tool != "analyze_run" for step in answer.next)


async def test_a_run_with_unscored_items_is_first_of_all_to_be_resumed(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-unscored-next")
    results = [Recorded("a", output="o", scores={"tone": 0.4}), Recorded("b", output="o")]
    await record_run(workspace, dataset, "run", results, makers={"tone": JUDGE})
    answer = await get_run(workspace, "get-unscored-next", "run")
    assert (answer.next[0].tool, answer.next[0].arguments["resume"]) == ("run_experiment", True)
    assert any("1 of 2" in warning and "'tone'" in warning for warning in answer.warnings)


@pytest.mark.slow
async def test_a_cursor_beyond_the_end_is_refused_and_not_an_empty_page(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-stale")
    await record_run(workspace, dataset, "run", [Recorded(f"i{n}", scores={"ok": 0.0}) for n in range(3)])
    with pytest.raises(CursorError, match=" 3 "):
        await get_run(workspace, "get-stale", "run", cursor="from-99")
    with pytest.raises(CursorError, match=" 3 "):
        await analyze_run(workspace, AnalyzeRequest(dataset="get-stale", run_name="run", cursor="from-3"))
    with pytest.raises(CursorError, match=" 0 "):
        await fetch_annotation_comments(
            workspace, CommentsRequest(dataset="get-stale", run_name="run", cursor="from-99")
        )
    with pytest.raises(CursorError):
        await list_runs(workspace, "get-stale", cursor="nonsense")


async def test_a_repetition_that_is_not_there_yet_keeps_its_place(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-repeats-late")
    provenance = json.dumps({"repeats": {"group": "run", "index": 0, "count": 3}})
    for name in ("run", "run#3"):
        await record_run(workspace, dataset, name, [Recorded("a", output=f"of {name}")], metadata={"lfexp": provenance})
    record = await read_run(workspace, "get-repeats-late", "run")
    assert [(item.repeat, item.output) for item in record.items] == [(0, "of run"), (2, "of run#3")]


async def test_a_declared_judges_missing_score_is_unscored_and_no_zero(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-unscored")
    results = [Recorded("a", output="o", scores={"tone": 0.4}), Recorded("b", output="o")]
    await record_run(workspace, dataset, "run", results, makers={"tone": JUDGE})
    answer = await get_run(workspace, "get-unscored", "run")
    (tone,) = answer.scores
    assert (tone.mean, tone.count, tone.unscored) == (0.4, 1, 1)


async def test_more_than_fifty_scores_of_an_item_are_all_read(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-fifty")
    await record_run(workspace, dataset, "run", [Recorded("a", output="o", scores={f"s{n}": 1.0 for n in range(60)})])
    record = await read_run(workspace, "get-fifty", "run")
    assert len(record.items[0].scores) == 60


@pytest.mark.parametrize("name", ["a,b", 'quo"te', "sla/sh", "Größe 漢字", "p%20q"])
async def test_a_run_is_found_whatever_its_name(workspace: Workspace, name: str) -> None:
    dataset = await make_dataset(workspace, f"get-{name}")
    await record_run(workspace, dataset, name, [Recorded("a", output="o")])
    assert (await get_run(workspace, f"get-{name}", name)).succeeded == 1


async def test_what_does_not_exist_is_named_with_what_is_near(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "get-unknown")
    await record_run(workspace, dataset, "prompt-a", [Recorded("item-1", output="o")])
    for names, near in (
        (("get-unknwon", "prompt-a"), "get-unknown"),
        (("get-unknown", "prompt-b"), "prompt-a"),
        (("get-unknown", "prompt-a", "item-2"), "item-1"),
    ):
        with pytest.raises(NotFoundError) as refused:
            await get_run(workspace, *names[:2], item_id=names[2] if len(names) > 2 else None)
        assert near in refused.value.near
    with pytest.raises(CursorError):
        await get_run(workspace, "get-unknown", "prompt-a", cursor="nonsense")
