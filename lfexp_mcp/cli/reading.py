"""Commands that say what runs mean."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lfexp_mcp.answers.comparison import Comparison
from lfexp_mcp.cli.options import AsJson, Cursor, Dataset, Detail, Limit, RunName, ScoreName, json_object
from lfexp_mcp.cli.output import emit, write_line
from lfexp_mcp.cli.session import in_workspace
from lfexp_mcp.reports.answers import report_of
from lfexp_mcp.reports.foreign import escaped_json
from lfexp_mcp.reports.junit import junit
from lfexp_mcp.reports.markdown import markdown
from lfexp_mcp.reports.result_json import result_json
from lfexp_mcp.services.requests import build

if TYPE_CHECKING:
    from lfexp_mcp.services.workspace import Workspace

OutputForm = Literal["text", "json", "markdown", "junit", "result-json"]


def compare(
    dataset: Dataset,
    runs: Annotated[list[str], typer.Option("--runs", help="Two or more; the first is the baseline.")],
    baseline: Annotated[str | None, typer.Option("--baseline", help="Another baseline among them.")] = None,
    score_name: ScoreName = None,
    primary_score: Annotated[
        str | None, typer.Option("--primary-score", help="Judge it unadjusted for other scores.")
    ] = None,
    min_delta: Annotated[float | None, typer.Option("--min-delta", help="Smallest difference that matters.")] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", help="Exit with 1 if so: `accuracy<0.8`, `quality<4/5`, `accuracy.delta<-0.02`, `worse`."
        ),
    ] = None,
    limit: Limit = 10,
    cursor: Cursor = None,
    detail: Detail = "summary",
    output: Annotated[
        OutputForm, typer.Option("--output", help="Form of the result; `result-json` is that of Langfuse's action.")
    ] = "text",
    as_json: AsJson = False,
) -> None:
    """Compare runs of a dataset item by item, with intervals and verdicts."""
    from lfexp_mcp.services.comparison import CompareRequest, compare_runs

    request = build(
        CompareRequest,
        dataset=dataset,
        runs=runs,
        baseline=baseline,
        score_name=score_name,
        primary_score=primary_score,
        min_delta=min_delta,
        fail_if=fail_if,
        limit=limit,
        cursor=cursor,
        detail=detail,
    )

    async def compare_and_print(workspace: "Workspace") -> Comparison:
        comparison = await compare_runs(workspace, request)
        await _print_comparison(workspace, comparison, "json" if as_json else output)
        return comparison

    comparison = in_workspace(compare_and_print)
    if comparison.gate is not None and not comparison.gate.passed:
        raise typer.Exit(1)


async def _print_comparison(workspace: "Workspace", comparison: Comparison, form: OutputForm) -> None:
    if form == "junit":
        write_line(junit(comparison))
    elif form == "markdown":
        write_line(markdown(report_of(comparison)))
    elif form == "result-json":
        from lfexp_mcp.services.runs.read_run import read_run

        records = [await read_run(workspace, comparison.dataset, run.run) for run in comparison.runs]
        document = json.dumps(result_json(comparison, records), ensure_ascii=False, indent=2)
        write_line(escaped_json(document))
    else:
        emit(comparison, as_json=form == "json")


def analyze(
    dataset: Dataset,
    run_name: RunName,
    show_failures: Annotated[bool, typer.Option("--show-failures", help="List the failing items whole.")] = False,
    score_name: ScoreName = None,
    score_threshold: Annotated[
        str | None, typer.Option("--score-threshold", help="An item fails below it: 0.7, 70%, or 4/5 of --score-name.")
    ] = None,
    limit: Limit = 10,
    cursor: Cursor = None,
    detail: Detail = "summary",
    as_json: AsJson = False,
) -> None:
    """Explain one run: spread of its scores, failing items and why, slices, errors."""
    from lfexp_mcp.services.analysis import AnalyzeRequest, analyze_run

    request = build(
        AnalyzeRequest,
        dataset=dataset,
        run_name=run_name,
        show_failures=show_failures,
        score_name=score_name,
        score_threshold=score_threshold,
        limit=limit,
        cursor=cursor,
        detail=detail,
    )
    emit(in_workspace(lambda workspace: analyze_run(workspace, request)), as_json)


def comments(
    score_name: ScoreName = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="With --run-name: that run's items.")] = None,
    run_name: Annotated[str | None, typer.Option("--run-name", help="Run of that dataset.")] = None,
    trace_ids: Annotated[list[str] | None, typer.Option("--trace-ids", help="Comments on these traces.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Annotation queue, by name or id.")] = None,
    author: Annotated[str | None, typer.Option("--author", help="User id of who wrote them.")] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="Written at or after.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Written before.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="Comments to show.")] = 50,
    cursor: Cursor = None,
    themes: Annotated[str | None, typer.Option("--themes", help='Themes to count: {"tone": ["rude", "curt"]}.')] = None,
    as_json: AsJson = False,
) -> None:
    """Show what people wrote about results, with themes and the judges' agreement."""
    from lfexp_mcp.services.annotations import CommentsRequest, fetch_annotation_comments

    request = build(
        CommentsRequest,
        score_name=score_name,
        dataset=dataset,
        run_name=run_name,
        trace_ids=trace_ids,
        queue=queue,
        author=author,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
        themes=json_object("--themes", themes),
    )
    emit(in_workspace(lambda workspace: fetch_annotation_comments(workspace, request)), as_json)
