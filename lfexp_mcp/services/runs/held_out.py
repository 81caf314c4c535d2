"""What may be said of a run over held-out items outside of confirm_run: that it is one, and how it stands."""

from lfexp_mcp.answers.run import RunState
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import Confirmation, NextStep, RunSpec
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.next_steps import confirm_step, list_runs_step
from lfexp_mcp.services.workspace import Workspace


def check_confirmation(dataset: str, run_name: str, confirmation: Confirmation | None, *, held_out: bool) -> None:
    """Check that a run is over held-out items exactly if it is asked for as such.

    Raises:
        UsageError: It is not.
    """
    if (confirmation is not None) is held_out:
        return
    if confirmation is None:
        raise UsageError(f"Run {run_name!r} of dataset {dataset!r} is not a confirmation.")
    raise UsageError(
        f"Run {run_name!r} of dataset {dataset!r} went over held-out items, of which nothing is shown. confirm_run "
        "gives its verdict.",
        next=_asks(dataset, confirmation),
    )


def describe_held_out(ws: Workspace, folder: RunFolder, run_spec: RunSpec) -> RunState:
    """Say how a run over held-out items of this machine stands, without a count of what it did."""
    confirmation = run_spec.confirmation
    return RunState(
        status=folder.status(),
        backend=str(ws.gateway.backend),
        dataset=run_spec.dataset_name,
        run_name=run_spec.run_name,
        total_items=run_spec.total_items,
        next=_asks(run_spec.dataset_name, confirmation) if confirmation else [],
    )


def _asks(dataset: str, confirmation: Confirmation) -> list[NextStep]:
    return [confirm_step(dataset, confirmation)] if confirmation.baseline else [list_runs_step(dataset)]
