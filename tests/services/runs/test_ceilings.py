"""What an answer costs at most, whatever stands in the run: structured part and text together, characters / 4."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.run import ItemAnswer, RunDetail
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.answer_size import AnswerSize, Detail, fit, truncate_answer
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import Workspace
from tests.reports.models import answers
from tests.reports.test_untrusted import MODELS
from tests.services.recording import Recorded, make_dataset, record_run

CEILINGS: dict[Detail, int] = {"summary": 10_000, "full": 20_000}
SCORES = 300


def cost(answer: Answer) -> float:
    return (len(answer.model_dump_json()) + len(report_text(answer))) / 4


def _many_scores(item: str, value: float) -> Recorded:
    names = [f"a score with a long name {number}" for number in range(SCORES)]
    return Recorded(
        item,
        input="question " * 2_000,
        output="answer " * 2_000,
        metadata={"topic": "t" * 3_000},
        scores=dict.fromkeys(names, value),
        comments=dict.fromkeys(names, "because " * 60),
    )


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_run_with_hundreds_of_scores_keeps_the_ceilings_and_can_be_read_to_its_end(
    workspace: Workspace,
) -> None:
    dataset = await make_dataset(workspace, "ceiling-scores")
    for name, value in (("old", 0.9), ("new", 0.1)):
        items = [_many_scores(f"i{number}", value) for number in range(2)]
        await record_run(workspace, dataset, name, items, description="d" * 400_000)
    for detail in CEILINGS:
        seen: list[str] = []
        cursor = None
        while True:
            page = await get_run(workspace, dataset.name, "new", detail=detail, cursor=cursor)
            assert cost(page) <= CEILINGS[detail]
            assert any(f"of {SCORES} scores" in warning for warning in page.warnings)
            seen += [item.item_id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == ["i0", "i1"]
        item = await get_run(workspace, dataset.name, "new", item_id="i1", detail=detail)
        assert cost(item) <= CEILINGS["full"]
        assert any(f"of {SCORES} scores" in warning for warning in item.warnings)
    compared = await compare_runs(
        workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"], detail="full", fail_if=["worse"])
    )
    analysis = await analyze_run(
        workspace, AnalyzeRequest(dataset=dataset.name, run_name="new", detail="full", show_failures=True)
    )
    for answer in (compared, analysis):
        assert cost(answer) <= CEILINGS["full"]
        assert any(f"of {SCORES}" in warning for warning in answer.warnings)


@pytest.mark.anyio
async def test_a_list_of_runs_with_thousands_of_metadata_keys_keeps_the_ceiling(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "ceiling-metadata")
    for number in range(4):
        metadata = {f"key {key}": "value" * 10 for key in range(3_000)}
        await record_run(workspace, dataset, f"run {number}", [Recorded("i")], metadata=metadata)
    listed = await list_runs(workspace, dataset.name)
    assert cost(listed) <= CEILINGS["summary"]
    assert len(listed.runs) == 4
    assert any("of 3000 metadata" in warning for warning in listed.warnings)


@pytest.mark.anyio
async def test_full_detail_shows_whole_texts_and_a_cursor_for_the_rest(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "ceiling-full")
    items = [Recorded(f"i{number:02}", output=f"{number:02}" * 2_000, scores={"s": 0.5}) for number in range(30)]
    await record_run(workspace, dataset, "run", items)
    seen: list[str] = []
    cursor = None
    while True:
        page = await get_run(workspace, dataset.name, "run", detail="full", limit=100, cursor=cursor)
        assert cost(page) <= CEILINGS["full"]
        assert all(item.output == item.item_id[1:] * 2_000 for item in page.items)
        seen += [item.item_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [item.item_id for item in items]


@pytest.mark.anyio
async def test_an_item_is_shown_whole_in_the_text_with_reasons_and_metadata(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "ceiling-item")
    recorded = Recorded(
        "i1",
        input={"question": "what " * 100 + "end-of-input"},
        output="line one\nline two\n" + "word " * 200 + "end-of-output",
        expected_output="the expected one",
        metadata={"topic": "metadata-of-the-item"},
        scores={"accuracy": 0.4},
        comments={"accuracy": "reason " * 50 + "end-of-reason"},
    )
    await record_run(workspace, dataset, "run", [recorded, Recorded("i2")])
    answer = await get_run(workspace, dataset.name, "run", item_id="i1")
    text = report_text(answer)
    for part in ("end-of-input", "end-of-output", "the expected one", "metadata-of-the-item", "end-of-reason"):
        assert part in text
    assert "  line one\n  line two\n" in text
    assert answer.items[0].metadata == {"topic": "metadata-of-the-item"}
    assert "i2" not in text


@pytest.mark.anyio
async def test_a_later_page_of_failures_repeats_nothing_of_the_first(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "ceiling-pages")
    results = [Recorded(f"i{n:02}", metadata={"kind": n % 2}, scores={"s": n / 100}) for n in range(25)]
    await record_run(workspace, dataset, "run", results)
    first = await analyze_run(workspace, AnalyzeRequest(dataset=dataset.name, run_name="run"))
    (step,) = (step for step in first.next if step.tool == "analyze_run")
    second = await analyze_run(workspace, AnalyzeRequest.model_validate(step.arguments))
    shown = {item.item_id for item in first.failures.items}
    assert first.scores
    assert second.failures.items
    assert not shown & {item.item_id for item in second.failures.items}
    assert (second.scores, second.slices, second.slowest, second.groups) == ([], [], [], [])


@pytest.mark.anyio
async def test_a_regression_is_proposed_to_be_read_before_an_improvement(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "ceiling-next")
    for name, alpha, beta in (("old", 0.1, 0.9), ("new", 0.9, 0.1)):
        items = [Recorded("improved", scores={"alpha": alpha}), Recorded("worsened", scores={"beta": beta})]
        await record_run(workspace, dataset, name, items)
    compared = await compare_runs(workspace, CompareRequest(dataset=dataset.name, runs=["old", "new"]))
    assert compared.changes[0].kind == "better"
    (step,) = (step for step in compared.next if step.tool == "get_run")
    assert step.arguments["item_id"] == "worsened"


def _page(lengths: list[int], size: AnswerSize) -> RunDetail:
    items = [
        ItemAnswer(item_id=str(n), status="succeeded", output=size.truncate_text("x" * length))
        for n, length in enumerate(lengths)
    ]
    return RunDetail.model_construct(items=items[: size.rows])


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(st.integers(0, 8_000), min_size=1, max_size=100), st.sampled_from(["summary", "full"]))
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_higher_limit_never_shows_fewer_entries(lengths: list[int], detail: Detail) -> None:
    shown = [len(fit(lambda size: _page(lengths, size), limit, detail).items) for limit in (1, 2, 5, 20, 50, 100)]
    assert shown == sorted(shown)
    assert all(shown)


@settings(max_examples=60)
@given(answers(*MODELS), st.sampled_from([300, 2_000]))
def test_what_is_cut_keeps_its_names_and_stays_an_answer(answer: Answer, budget: int) -> None:
    cut = truncate_answer(answer, budget)
    assert type(answer).model_validate(cut.model_dump()).model_dump() == cut.model_dump()
    assert getattr(cut, "next", None) == getattr(answer, "next", None)
    assert getattr(cut, "run_name", None) == getattr(answer, "run_name", None)
