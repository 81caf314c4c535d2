"""Tools that make runs and read them."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from lfexp_mcp.answers.run import Progress, RunAnswer, RunDetail, RunList
from lfexp_mcp.services.experiments.request import (
    FailOnError,
    ItemTimeout,
    JudgeSamples,
    MaxConcurrency,
    MaxCost,
    Repeats,
    RunTimeout,
    SampleSize,
    TaskRetries,
)
from lfexp_mcp.services.experiments.request import RunName as NewRunName
from lfexp_mcp.tools.arguments import Cursor, DatasetName, Detail, Limit, RunName, ScriptPath
from lfexp_mcp.tools.state import ToolContext, workspace_of

JOURNAL_AFTER_S = 5.0
"""How long `get_run` lets Langfuse keep it beyond its wait, before the journal of a run of this machine answers."""


async def run_experiment(
    ctx: ToolContext,
    run_name: NewRunName,
    task_script: ScriptPath = None,
    dataset: Annotated[str | None, Field(description="Dataset to run over; leave out with source_type `live`.")] = None,
    source_type: Annotated[
        Literal["dataset", "live"],
        Field(
            description="`live` first copies the newest production traces into dataset `live-<run_name>`; what "
            "production answered is in an item's metadata `production_output`."
        ),
    ] = "dataset",
    sample_size: SampleSize = 10,
    use_langfuse_judges: Annotated[
        bool,
        Field(
            description="Score with the judges in the dataset's metadata `judge_prompts`, else with every prompt "
            "named `judge-*`."
        ),
    ] = False,
    judges: Annotated[
        list[str] | None,
        Field(description="Judge prompts to score with: `judge-tone`, `judge-tone@production`, `judge-tone:3`."),
    ] = None,
    evaluator_script: ScriptPath = None,
    max_concurrency: MaxConcurrency = 5,
    description: Annotated[str | None, Field(description="What this run tries, for later readers.")] = None,
    metadata: Annotated[dict[str, JsonValue] | None, Field(description="Stored with the run.")] = None,
    resume: Annotated[
        bool,
        Field(
            description="Go on with a run of this name: only what is missing, failed or unscored is done. It keeps the "
            "task, evaluator script and judges that it was begun with, unless this call names others."
        ),
    ] = False,
    wait_seconds: Annotated[
        float, Field(ge=0, le=3600, description="How long this call waits; the run goes on without it.")
    ] = 45,
    item_timeout: ItemTimeout = None,
    run_timeout: RunTimeout = None,
    task_retries: TaskRetries = 0,
    repeats: Repeats = 1,
    fail_on_error: FailOnError = None,
    python: Annotated[
        str | None,
        Field(description="Interpreter that runs the scripts, one that has their packages and lfexp-mcp."),
    ] = None,
    judge_samples: JudgeSamples = 1,
    dry_run: Annotated[
        bool,
        Field(description="Run two items, store nothing, and estimate calls, tokens and cost of the whole."),
    ] = False,
    max_cost: MaxCost = None,
    task_prompt: Annotated[
        str | None,
        Field(description="Langfuse prompt to run instead of a script: `my-prompt`, `my-prompt@label`, `:3`."),
    ] = None,
    model: Annotated[str | None, Field(description="Model for task_prompt.")] = None,
    provider: Annotated[Literal["openai", "anthropic"] | None, Field(description="Provider of that model.")] = None,
) -> RunAnswer:
    """Run a task on every item of a dataset, score the outputs, and store all of it in Langfuse.

    The task script defines `def task(*, item, **kwargs)` (or `async def`) and returns the output to score; `item` has
    `input`, `expected_output` and `metadata`. The evaluator script lists functions in `EVALUATORS`, each taking
    `input, output, expected_output, metadata` as keywords and returning a number or a Langfuse `Evaluation`. Both run
    in a fresh process, as they are on disk now. Give task_script or task_prompt (a resume needs neither); judges, an
    evaluator script, or both.

    Answers with the status and, per score, mean, count and how many items are unscored. If status is `running` when
    the wait is over, call get_run; ending this call does not stop the run, cancel_run does. A name that has items
    already is refused unless `resume`.
    """
    from lfexp_mcp.services.experiments.request import RunRequest
    from lfexp_mcp.services.experiments.run_experiment import run_experiment
    from lfexp_mcp.services.requests import build

    request = build(
        RunRequest,
        run_name=run_name,
        task_script=task_script,
        dataset=dataset,
        source_type=source_type,
        sample_size=sample_size,
        use_langfuse_judges=use_langfuse_judges,
        judges=judges,
        evaluator_script=evaluator_script,
        max_concurrency=max_concurrency,
        description=description,
        metadata=metadata,
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
    workspace = await workspace_of(ctx)
    return await run_experiment(workspace, request, wait_seconds=wait_seconds, on_progress=progress_reporter(ctx))


async def get_run(
    ctx: ToolContext,
    dataset: DatasetName,
    run_name: RunName,
    item_id: Annotated[str | None, Field(description="Only this item, whole.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    wait_seconds: Annotated[
        float, Field(ge=0, le=3600, description="Wait so long for a running run to end; 45 is a good wait.")
    ] = 0,
    detail: Detail = "summary",
) -> RunDetail:
    """Read a run, at work or done: status, scores, and a page of its items with outputs, scores and the reasons given.

    Use it to follow a run that outlived its call, and to look at single items. Reads runs that others recorded, too.
    """
    from lfexp_mcp.services.runs.get_run import get_run

    return await get_run(
        await workspace_of(ctx),
        dataset,
        run_name,
        item_id=item_id,
        limit=limit,
        cursor=cursor,
        wait_seconds=wait_seconds,
        detail=detail,
        patience_s=JOURNAL_AFTER_S,
        on_progress=progress_reporter(ctx),
    )


async def list_runs(ctx: ToolContext, dataset: DatasetName, limit: Limit = 20, cursor: Cursor = None) -> RunList:
    """List the runs of a dataset, newest first: names, times, descriptions and how many results each has."""
    from lfexp_mcp.services.runs.list_runs import list_runs

    return await list_runs(await workspace_of(ctx), dataset, limit=limit, cursor=cursor)


async def cancel_run(ctx: ToolContext, dataset: DatasetName, run_name: RunName) -> RunAnswer:
    """Stop a run at work: no new items start, those at work get a short grace, what is done stays.

    In live mode the dataset is `live-<run_name>`. run_experiment with `resume` goes on from there.
    """
    from lfexp_mcp.services.experiments.cancel_run import cancel_run

    return await cancel_run(await workspace_of(ctx), dataset, run_name)


def progress_reporter(ctx: ToolContext) -> Callable[[Progress], Awaitable[None]]:
    """Return what passes a run's progress on to the client that asked for it."""

    async def report(progress: Progress) -> None:
        from lfexp_mcp.reports.foreign import one_line
        from lfexp_mcp.reports.runs import progress_line

        await ctx.report_progress(progress.done, progress.total, one_line(progress_line(progress)))

    return report
