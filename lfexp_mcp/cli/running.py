"""Commands that make runs and read them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lfexp_mcp.cli.options import AsJson, Cursor, Dataset, Detail, Limit, RunName, json_object
from lfexp_mcp.cli.output import emit
from lfexp_mcp.cli.session import in_workspace
from lfexp_mcp.services.requests import build


def run(
    run_name: Annotated[str, typer.Option("--run-name", help="Unique name for this run.")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Name of the dataset.")] = None,
    task_script: Annotated[
        Path | None, typer.Option("--task-script", help="Python script with a `task()` function.")
    ] = None,
    use_langfuse_judges: Annotated[
        bool, typer.Option("--use-langfuse-judges", help="Score with the judge prompts in Langfuse.")
    ] = False,
    judges: Annotated[list[str] | None, typer.Option("--judges", help="Judge prompts to use, one or several.")] = None,
    evaluator_script: Annotated[
        Path | None, typer.Option("--evaluator-script", help="Python script with evaluator functions.")
    ] = None,
    max_concurrency: Annotated[int, typer.Option("--max-concurrency", help="Items at work at once.")] = 5,
    description: Annotated[str | None, typer.Option("--description", help="What this run tries.")] = None,
    source_type: Annotated[
        Literal["dataset", "live"], typer.Option("--source-type", help="`live` takes recent production traces.")
    ] = "dataset",
    sample_size: Annotated[int, typer.Option("--sample-size", help="Traces to take in live mode.")] = 10,
    metadata: Annotated[str | None, typer.Option("--metadata", help="A JSON object kept with the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Run only what is missing or failed.")] = False,
    item_timeout: Annotated[float | None, typer.Option("--item-timeout", help="Seconds for one item.")] = None,
    run_timeout: Annotated[float | None, typer.Option("--run-timeout", help="Seconds for the run.")] = None,
    task_retries: Annotated[int, typer.Option("--task-retries", help="Further tries of a failed task.")] = 0,
    repeats: Annotated[int, typer.Option("--repeats", help="Runs of every item.")] = 1,
    fail_on_error: Annotated[
        float | None, typer.Option("--fail-on-error", help="Stop after so many failures, or (below 1) this share.")
    ] = None,
    python: Annotated[Path | None, typer.Option("--python", help="Interpreter that runs the scripts.")] = None,
    judge_samples: Annotated[int, typer.Option("--judge-samples", help="Votes per judge and item.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run two items, store nothing, estimate cost.")] = False,
    max_cost: Annotated[float | None, typer.Option("--max-cost", help="USD; stops before judges spend more.")] = None,
    task_prompt: Annotated[
        str | None, typer.Option("--task-prompt", help="Langfuse prompt to run instead of a script.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model for --task-prompt.")] = None,
    provider: Annotated[
        Literal["openai", "anthropic"] | None, typer.Option("--provider", help="Provider of that model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a task on every item of a dataset and score what comes out."""
    from lfexp_mcp.cli.following import follow
    from lfexp_mcp.services.experiments.request import RunRequest

    request = build(
        RunRequest,
        run_name=run_name,
        dataset=dataset,
        task_script=task_script,
        use_langfuse_judges=use_langfuse_judges,
        judges=judges or None,
        evaluator_script=evaluator_script,
        max_concurrency=max_concurrency,
        description=description,
        source_type=source_type,
        sample_size=sample_size,
        metadata=json_object("--metadata", metadata),
        resume=resume,
        item_timeout=item_timeout,
        run_timeout=run_timeout,
        task_retries=task_retries,
        repeats=repeats,
        fail_on_error=fail_on_error,
        python=python,
        judge_samples=judge_samples,
        dry_run=dry_run,
        max_cost=max_cost,
        task_prompt=task_prompt,
        model=model,
        provider=provider,
    )
    answer = in_workspace(lambda workspace: follow(workspace, request))
    emit(answer, as_json)
    if answer.status != "completed":
        raise typer.Exit(1)


def list_runs(dataset: Dataset, limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List the runs of a dataset, newest first."""
    from lfexp_mcp.services.runs.list_runs import list_runs

    emit(in_workspace(lambda workspace: list_runs(workspace, dataset, limit=limit, cursor=cursor)), as_json)


def get_run(
    dataset: Dataset,
    run_name: RunName,
    item_id: Annotated[str | None, typer.Option("--item-id", help="Only this item, whole.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    wait_seconds: Annotated[
        float, typer.Option("--wait-seconds", min=0, help="Wait so long for a running run to end.")
    ] = 0,
    detail: Detail = "summary",
    as_json: AsJson = False,
) -> None:
    """Show a run, its scores and its items."""
    from lfexp_mcp.services.runs.get_run import get_run

    answer = in_workspace(
        lambda workspace: get_run(
            workspace,
            dataset,
            run_name,
            item_id=item_id,
            limit=limit,
            cursor=cursor,
            wait_seconds=wait_seconds,
            detail=detail,
        )
    )
    emit(answer, as_json)


def cancel(dataset: Dataset, run_name: RunName, as_json: AsJson = False) -> None:
    """Stop a run at work; what is done stays, and `run --resume` goes on."""
    from lfexp_mcp.services.experiments.cancel_run import cancel_run

    emit(in_workspace(lambda workspace: cancel_run(workspace, dataset, run_name)), as_json)
