"""The demo: the main job on the embedded store, told in a few steps."""

from itertools import count
from pathlib import Path

from lfexp_mcp.answers.catalog import DatasetAnswer
from lfexp_mcp.answers.comparison import Comparison
from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.cli.next_steps import shell_line
from lfexp_mcp.cli.output import print_answer, show, write_line
from lfexp_mcp.demo import DATASET, DESCRIPTION, EVALUATORS, FIRST_NUMBER, FOLDER, LABELLED_TOTAL, RECEIPTS
from lfexp_mcp.reports.answers import report_of
from lfexp_mcp.reports.layout import Report, Table
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest, RunRequest
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings

PATIENCE_S = 120.0


async def run_demo(settings: Settings, as_json: bool) -> None:
    """Make a dataset, run two versions of a task over it, compare them, and print what each step says.

    Args:
        settings: What the environment says; its Langfuse keys are left alone, since the demo stays on this machine.
        as_json: Print only the comparison, as the model that the tool returns.
    """
    own = settings.model_copy(update={"langfuse_public_key": None, "langfuse_secret_key": None})
    async with open_workspace(own) as workspace:
        if as_json:
            print_answer(await _compared(workspace), as_json)
        else:
            await _tell(workspace, has_account=not settings.embedded)


async def _compared(workspace: Workspace) -> Comparison:
    await _dataset(workspace)
    first, second = await _free_names(workspace)
    await _run(workspace, first, FIRST_NUMBER)
    await _run(workspace, second, LABELLED_TOTAL)
    return await _compare(workspace, first, second)


async def _tell(workspace: Workspace, has_account: bool) -> None:
    write_line("The job: read the total off a line of a receipt. No model is called, nothing leaves this machine.\n")
    dataset = await _dataset(workspace)
    write_line(f"1. A dataset: {dataset.total_items} receipts, each with the right total and metadata.")
    first, second = await _free_names(workspace)
    write_line(f"\n2. A first version takes the first number it sees ({FIRST_NUMBER.name}).")
    _show_scores(await _run(workspace, first, FIRST_NUMBER))
    write_line(f"\n3. A second version looks for the word `total` ({LABELLED_TOTAL.name}).")
    _show_scores(await _run(workspace, second, LABELLED_TOTAL))
    write_line("\n4. Is it better? Compared item by item:")
    _show_comparison(await _compare(workspace, first, second))
    write_line("\n5. The mean went up, and still some receipts got worse. Which ones?")
    await _show_slices(workspace, second)
    _show_next_steps(workspace, first, second, has_account)


async def _dataset(workspace: Workspace) -> DatasetAnswer:
    return await create_dataset(workspace, DATASET, description=DESCRIPTION, items_file=RECEIPTS)


async def _free_names(workspace: Workspace) -> tuple[str, str]:
    """Return names that no run has yet, so that the demo can be shown again."""
    taken = {run.name for run in (await list_runs(workspace, DATASET, limit=100)).runs}
    pairs = ((f"first-number-{number}", f"labelled-total-{number}") for number in count(1))
    return next(pair for pair in pairs if taken.isdisjoint(pair))


async def _run(workspace: Workspace, run_name: str, task_script: Path) -> RunAnswer:
    request = RunRequest(
        dataset=DATASET, run_name=run_name, task_script=task_script, evaluator_script=EVALUATORS, max_concurrency=20
    )
    return await run_experiment(workspace, request, wait_seconds=PATIENCE_S)


async def _compare(workspace: Workspace, first: str, second: str) -> Comparison:
    return await compare_runs(workspace, CompareRequest(dataset=DATASET, runs=[first, second], limit=3))


def _show_scores(answer: RunAnswer) -> None:
    for score in answer.scores:
        write_line(f"   {answer.run_name}: {score.name} {score.display}, over {score.count} items")


def _show_comparison(comparison: Comparison) -> None:
    show(Report(report_of(comparison).blocks[1:3]))


async def _show_slices(workspace: Workspace, run_name: str) -> None:
    analysis = await analyze_run(workspace, AnalyzeRequest(dataset=DATASET, run_name=run_name, limit=3))
    worse = [part for part in analysis.slices if part.verdict == "worse"]
    rows = [
        (f"{part.key} = {part.value}", str(part.count), f"{part.mean:.2f}", f"{part.rest_mean:.2f}") for part in worse
    ]
    show(Report((Table(("slice", "items", "mean", "the rest"), rows),)))
    for item in analysis.failures.items:
        reason = "; ".join(score.comment for score in item.scores if score.comment)
        write_line(f"   {item.input}: {reason}")


def _show_next_steps(workspace: Workspace, first: str, second: str, has_account: bool) -> None:
    dataset = ("--dataset", DATASET)
    scripts = ("--task-script", LABELLED_TOTAL.name, "--evaluator-script", EVALUATORS.name)
    lines = [
        "\nThe new version reads 7,40 as 740: decimal commas, hidden by the gain elsewhere. Try next:",
        f"  {shell_line('analyze', *dataset, '--run-name', second, '--show-failures')}",
        f"  {shell_line('compare', *dataset, '--runs', first, second, '--fail-if', 'correct<0.95')}",
        f"Copy {LABELLED_TOTAL.name} and {EVALUATORS.name} from {FOLDER}, fix amount(), and run it:",
        f"  {shell_line('run', *dataset, '--run-name', 'mine', *scripts)}",
        "Or let an agent do all this: the README shows how to add lfexp-mcp to an MCP client.",
        f"Everything is in the embedded store in {workspace.settings.store_folder}.",
    ]
    if has_account:
        lines.append("Langfuse keys are set here: unset them first, since these commands would go to that account.")
    for line in lines:
        write_line(line)
