"""Commands that run experiments and read them."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

import anyio
import typer

from lfexp_mcp.cli.flags import AsJson, command
from lfexp_mcp.cli.output import print_answer, print_note, write_line
from lfexp_mcp.errors import UsageError
from lfexp_mcp.files import new_file, write_private
from lfexp_mcp.reports.answers import report_of
from lfexp_mcp.reports.comment import comparison_comment
from lfexp_mcp.reports.comparison_formats import github_commands, junit, result_json
from lfexp_mcp.reports.layout import plain
from lfexp_mcp.reports.untrusted import escaped_json
from lfexp_mcp.services.experiments.recordings import RecordedRunRequest
from lfexp_mcp.services.requests import (
    AnalyzeRequest,
    CancelRunRequest,
    CommentsRequest,
    CompareRequest,
    ConfirmRequest,
    GetRunRequest,
    JudgeCheckRequest,
    LabelsRequest,
    ListRunsRequest,
    PairsRequest,
    ScoreRunRequest,
    build,
)
from lfexp_mcp.settings import load_settings
from lfexp_mcp.tools.pages import ROWS, PageRequest, page_of, page_request, read_charted

if TYPE_CHECKING:
    from pathlib import Path

    from lfexp_mcp.answers.comparison import Comparison
    from lfexp_mcp.answers.run import SweepAnswer
    from lfexp_mcp.services.workspace import Workspace

OutputFormat = Literal["text", "json", "markdown", "html", "junit", "github", "result-json"]

T = TypeVar("T")


def in_workspace(work: Callable[[Workspace], Awaitable[T]]) -> T:
    """Open the workspace of the environment, do the work in it and return its result.

    Raises:
        LfexpError: What the work or the opening raised.
    """
    from lfexp_mcp.services.experiments.maintenance import try_deliver_pending
    from lfexp_mcp.services.workspace import open_workspace

    async def session() -> T:
        async with open_workspace(load_settings()) as workspace:
            result = await work(workspace)
            await try_deliver_pending(workspace)
            return result

    return anyio.run(session)


@command
def run(request: RecordedRunRequest, as_json: AsJson = False) -> None:
    """Run a task on every item of a dataset and score the outputs."""
    from lfexp_mcp.cli.following import stay_with
    from lfexp_mcp.services.sweeps import run

    async def work(ws: Workspace) -> SweepAnswer:
        if request.dry_run:
            return await run(ws, request, wait_seconds=math.inf)
        return await stay_with(ws, request.dataset_name, request.run_name, partial(run, ws, request))

    answer = in_workspace(work)
    print_answer(answer, as_json)
    if answer.status not in ("completed", "stopped"):
        raise typer.Exit(1)


@command
def score_run(request: ScoreRunRequest, as_json: AsJson = False) -> None:
    """Score the stored results of a run with judges or an evaluator script; no task is called."""
    from lfexp_mcp.cli.following import stay_with
    from lfexp_mcp.services.experiments.score_run import score_run

    answer = in_workspace(lambda ws: stay_with(ws, request.dataset, request.run_name, partial(score_run, ws, request)))
    print_answer(answer, as_json)
    if answer.scoring != "completed":
        raise typer.Exit(1)


@command
def judge_pairs(request: PairsRequest, as_json: AsJson = False) -> None:
    """Let a pairwise judge compare the outputs of two runs, each pair in both orders."""
    from lfexp_mcp.cli.following import stay_with
    from lfexp_mcp.services.experiments.judge_pairs import judge_pairs

    answer = in_workspace(lambda ws: stay_with(ws, request.dataset, request.run_b, partial(judge_pairs, ws, request)))
    print_answer(answer, as_json)
    if answer.status != "completed":
        raise typer.Exit(1)


@command
def confirm(request: ConfirmRequest, as_json: AsJson = False) -> None:
    """Confirm a run on the held-out items. Exits with 1 unless it is better there."""
    from lfexp_mcp.cli.following import stay_with
    from lfexp_mcp.services.confirmation import confirm_run

    answer = in_workspace(
        lambda ws: stay_with(ws, request.dataset, request.cancelled_by, partial(confirm_run, ws, request))
    )
    print_answer(answer, as_json)
    if answer.verdict != "better" and answer.status != "planned":
        raise typer.Exit(1)


@command
def list_runs(request: ListRunsRequest, as_json: AsJson = False) -> None:
    """List the runs of a dataset, newest first."""
    from lfexp_mcp.services.runs.list_runs import list_runs

    print_answer(in_workspace(lambda workspace: list_runs(workspace, **dict(request))), as_json)


@command
def get_run(request: GetRunRequest, as_json: AsJson = False) -> None:
    """Show a run, its scores and its items."""
    from lfexp_mcp.services.runs.get_run import get_run

    print_answer(in_workspace(lambda workspace: get_run(workspace, **request.arguments)), as_json)


@command
def cancel(request: CancelRunRequest, as_json: AsJson = False) -> None:
    """Stop a running run; what is done stays, and `run --resume` goes on."""
    from lfexp_mcp.services.experiments.cancel_run import cancel_run

    print_answer(in_workspace(lambda workspace: cancel_run(workspace, **dict(request))), as_json)


@command
def compare(
    request: CompareRequest,
    output: Annotated[
        OutputFormat, typer.Option("--output", help="Format; `result-json` is that of Langfuse's GitHub action.")
    ] = "text",
    write: Annotated[
        list[str] | None, typer.Option("--write", help="Further forms, into files: `junit=junit.xml`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare runs of a dataset item by item, with intervals and verdicts. Exits with 1 if --fail-if holds."""
    from lfexp_mcp.services.comparison.compare import compare_runs

    if as_json and output not in ("text", "json"):
        raise UsageError(f"Pass --json or --output {output}, not both: --write takes further forms.")
    files = [_output_file(each) for each in write or ()]
    if len({file for _, file in files}) < len(files):
        raise UsageError("--write names one file twice: give each form a file of its own.")

    async def compare_and_print(workspace: Workspace) -> Comparison:
        comparison = await compare_runs(workspace, request)
        for form, file in files:
            write_private(file, await _render(workspace, comparison, form) + "\n", "--write")
        if output == "text" and not as_json:
            print_answer(comparison, as_json=False)
        else:
            write_line(await _render(workspace, comparison, "json" if as_json else output))
        return comparison

    comparison = in_workspace(compare_and_print)
    if comparison.gate is not None and not comparison.gate.passed:
        raise typer.Exit(1)


def _output_file(argument: str) -> tuple[OutputFormat, Path]:
    """Read a value of `--write`, before there is anything to write: what cannot be a file is wrong usage."""
    name, _, path = argument.partition("=")
    form = next((known for known in get_args(OutputFormat) if known == name), None)
    if form is None:
        raise UsageError(f"--write takes a format and a file, such as `junit=junit.xml`, not {argument!r}.")
    return form, new_file(path, "--write", overwrite=True)


async def _render(workspace: Workspace, comparison: Comparison, output: OutputFormat) -> str:
    match output:
        case "text":
            return plain(report_of(comparison))
        case "json":
            return escaped_json(comparison.model_dump_json(indent=2))
        case "html":
            return page_of(comparison)
        case "markdown":
            return comparison_comment(comparison)
        case "junit":
            return junit(comparison)
        case "github":
            return github_commands(comparison)
        case "result-json":
            from lfexp_mcp.services.runs.read_run import read_run

            records = [await read_run(workspace, comparison.dataset, run.run) for run in comparison.runs]
            return escaped_json(json.dumps(result_json(comparison, records), ensure_ascii=False, indent=2))


@command
def analyze(request: AnalyzeRequest, as_json: AsJson = False) -> None:
    """Explain one run: spread of its scores, failing items and why, slices, errors."""
    from lfexp_mcp.services.analysis.analyze import analyze_run

    print_answer(in_workspace(lambda workspace: analyze_run(workspace, request)), as_json)


def report(
    address: Annotated[str | None, typer.Argument(help="The `page` of an answer: no --dataset, no --runs.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Langfuse dataset.")] = None,
    runs: Annotated[
        list[str] | None, typer.Option("--runs", help="One run to explain; several to compare, the baseline first.")
    ] = None,
    output: Annotated[str, typer.Option("--output", help="File to write; `-` is stdout.")] = "report.html",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if there is one.")] = False,
) -> None:
    """Write a page with charts that compares runs or explains one. It loads nothing, and runs no script."""
    request = _requested_page(address, dataset, runs or [])
    if output == "-":
        write_line(page_of(in_workspace(lambda workspace: read_charted(workspace, request))))
        return
    path = new_file(output, "--output", overwrite=overwrite)
    html = page_of(in_workspace(lambda workspace: read_charted(workspace, request)))
    write_private(path, html, "--output")
    print_note(f"Written: {path}")


def _requested_page(address: str | None, dataset: str | None, runs: list[str]) -> PageRequest:
    if address is None and dataset is not None and runs:
        names: dict[str, object] = {"runs": runs} if len(runs) > 1 else {"run_name": next(iter(runs), None)}
        model: type[PageRequest] = CompareRequest if len(runs) > 1 else AnalyzeRequest
        return build(model, dataset=dataset, limit=ROWS, detail="full", **names)
    request = page_request(address) if address is not None and dataset is None and not runs else None
    if request is None:
        named = "This" if address is None else repr(address[:200])
        raise UsageError(
            f"{named} names no page: pass the `page` of a comparison or an analysis, or --dataset and --runs."
        )
    return request


@command
def comments(request: CommentsRequest, as_json: AsJson = False) -> None:
    """Show what people wrote about results, with themes and the judges' agreement."""
    from lfexp_mcp.services.annotations.fetch import fetch_annotation_comments

    print_answer(in_workspace(lambda workspace: fetch_annotation_comments(workspace, request)), as_json)


@command
def request_labels(request: LabelsRequest, as_json: AsJson = False) -> None:
    """Draw results of a run at random for people to label, or show how far the labels are."""
    from lfexp_mcp.services.labels.request_labels import request_labels

    print_answer(in_workspace(lambda workspace: request_labels(workspace, request)), as_json)


@command
def check_judge(request: JudgeCheckRequest, as_json: AsJson = False) -> None:
    """Ask a judge again about outputs that people have labelled, to see whether it has moved."""
    from lfexp_mcp.services.labels.check_judge import check_judge

    print_answer(in_workspace(lambda workspace: check_judge(workspace, request, wait_seconds=math.inf)), as_json)
