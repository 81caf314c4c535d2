"""Next steps that several answers and errors propose."""

from collections.abc import Mapping

from pydantic import JsonValue

from lfexp_mcp.model import Confirmation, NextStep, ToolName


def list_runs_step(dataset: str, why: str = "See which runs there are.") -> NextStep:
    """Propose to list the runs of a dataset."""
    return NextStep("list_runs", {"dataset": dataset}, why)


def add_items_step(dataset: str, why: str = "The dataset is empty: add items.") -> NextStep:
    """Propose to add items to a dataset."""
    return NextStep("create_dataset", {"name": dataset, "items_file": "<path>.jsonl"}, why)


def judged_run_step(judge: str) -> NextStep:
    """Propose a run that a judge scores.

    Args:
        judge: As `judges` names it.
    """
    run: dict[str, JsonValue] = {"dataset": "<a dataset>", "run_name": "<a new name>", "task_script": "<path>.py"}
    return NextStep("run_experiment", {**run, "judges": [judge]}, "Score a run with this judge.")


def run_step(tool: ToolName, dataset: str, run_name: str, why: str, **arguments: JsonValue) -> NextStep:
    """Propose the call of a tool about a run, with further arguments."""
    return NextStep(tool, {"dataset": dataset, "run_name": run_name, **arguments}, why)


def running_steps(dataset: str, run_name: str) -> list[NextStep]:
    """Propose to wait for a run, or to cancel it."""
    return [
        run_step("get_run", dataset, run_name, "Wait for the run to end.", wait_seconds=45),
        run_step("cancel_run", dataset, run_name, "Cancel it; what is done is kept."),
    ]


def resume_step(
    dataset: str,
    run_name: str,
    arguments: Mapping[str, JsonValue] | None = None,
    why: str = "Resume it: only what is missing, failed or unscored is done.",
) -> NextStep:
    """Propose to resume a run.

    Args:
        arguments: What the resume does not keep from the run by itself.
        why: What to do it for.
    """
    return run_step("run_experiment", dataset, run_name, why, **(arguments or {}), resume=True)


def confirm_step(dataset: str, confirmation: Confirmation) -> NextStep:
    """Propose the call that a confirmation belongs to."""
    asked: dict[str, JsonValue] = {
        "dataset": dataset,
        "run_name": confirmation.of,
        "baseline": confirmation.baseline,
        "score_name": confirmation.score,
        "min_delta": confirmation.min_delta,
    }
    return NextStep("confirm_run", asked, "See what the held-out items say.")
