"""Scoring a run again: its stored results are read, judged and scored, and no task is called."""

from collections.abc import Collection
from functools import partial
from itertools import chain
from pathlib import Path

import anyio
import anyio.to_thread

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset, SpooledItems
from lfexp_mcp.model import ExperimentHead, RecordingUse, RunRecord, RunSpec
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.services.experiments.choosing import ChosenItems, last_change
from lfexp_mcp.services.experiments.earlier_results import events_of, items_of
from lfexp_mcp.services.experiments.new_run_spec import bare_run_spec, check_script, with_scoring
from lfexp_mcp.services.experiments.preparation import PreparedRun, released_state, with_holdout
from lfexp_mcp.services.experiments.run_experiment import follow_launch, launch_prepared
from lfexp_mcp.services.experiments.run_prompts import resolve_judges, within_budget
from lfexp_mcp.services.launches import Launch
from lfexp_mcp.services.next_steps import resume_step
from lfexp_mcp.services.requests import ScoreRunRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.runs.read_run import read_recorded_run
from lfexp_mcp.services.spending import check_spending, shown_name
from lfexp_mcp.services.workspace import Workspace


async def score_run(
    ws: Workspace,
    request: ScoreRunRequest,
    *,
    wait_seconds: float = 45,
    on_progress: OnProgress | None = None,
    agreed: Collection[str] | None = None,
) -> RunAnswer:
    """Score the stored results of a run with judges, an evaluator script, or both; no task is called.

    The run may be one of this machine, of another one, or of another tool. Its results, and the scores that it has,
    stay as they are: a score of another judge, another version of one, or an edited script is another score. Results
    that a judge, or the script as it is, has scored already are not scored by it again, so that the same call goes on
    with a scoring that was interrupted.

    Args:
        request: What to score, and with what.
        wait_seconds: How long to wait for the end.
        on_progress: Called with the progress, at most once a second and at least every ten.
        agreed: See `check_spending`.

    Returns:
        The run as it stands when the scoring ends or the wait is over.

    Raises:
        ConfirmationError: The user has to agree to the cost first.
        UsageError: The run is running, or has no good result; or a judge or the script cannot be used.
        LfexpError: As `run_experiment`.
    """
    deadline = anyio.current_time() + wait_seconds
    if request.names_judges:
        what = f"Score run {shown_name(request.run_name)} of dataset {shown_name(request.dataset)} with judges."
        await check_spending(ws, agreed, "score_run", request, what, partial(cost_of_scoring, ws, request))
    launch = ws.launches.begin(request.dataset, request.run_name, request, partial(launch_scoring, ws, request, None))
    return await follow_launch(ws, launch, deadline, on_progress)


async def launch_scoring(ws: Workspace, request: ScoreRunRequest, against: RunRecord | None, launch: Launch) -> None:
    """Prepare a scoring, and hand it over to a worker; see `prepare_scoring`."""
    await launch_prepared(ws, launch, await prepare_scoring(ws, request, against))


async def cost_of_scoring(ws: Workspace, request: ScoreRunRequest, against: RunRecord | None = None) -> float | None:
    """Prepare a scoring, and return what it may cost; see `check_spending`.

    Raises:
        LfexpError: As `score_run`.
    """
    prepared = await prepare_scoring(ws, request, against)
    return request.max_cost if prepared.scoring is None or prepared.scoring.models else 0.0


async def prepare_scoring(ws: Workspace, request: ScoreRunRequest, against: RunRecord | None = None) -> PreparedRun:
    """Check a request against Langfuse and this machine, and read the results that are to be scored.

    Args:
        request: What to score, and with what.
        against: The run whose outputs pairwise judges compare those of the scored run with.

    Raises:
        LfexpError: As `score_run`.
    """
    check_script(ws, request.evaluator_script, "evaluator")
    _ = request.built_in_evaluators
    ws.runs.prepare()
    dataset = await ws.gateway.datasets.get(request.dataset)
    folder = ws.runs.folder(await ws.gateway.experiments.id_of(dataset.id, request.run_name))
    is_new = not folder.has_started()
    state = folder.read_state() if is_new else await released_state(ws, folder, request.run_name, dataset.name)
    record = await read_recorded_run(ws, dataset.name, request.run_name)
    results = [item for item in record.items if item.status != "pending"]
    if not any(item.status == "succeeded" for item in results):
        resume = resume_step(dataset.name, request.run_name)
        raise UsageError(f"Run {request.run_name!r} has no good result to score.", next=[resume])
    is_recorded = is_new or state.is_recorded
    if is_recorded:
        items = SpooledItems(items_of(results, await ws.gateway.datasets.items(dataset)))
        run_spec = await _recorded_run_spec(ws, record, dataset, items)
    else:
        run_spec = folder.run_spec()
        known = SpooledItems(folder.items(run_spec))
        ids = {item.id for item in known}
        # A resume on another machine may have gone on to further items.
        items = SpooledItems(chain(known, items_of((each for each in results if each.item_id not in ids), ())))
    run_spec = await with_holdout(ws, run_spec, dataset)
    bare = _without_code(run_spec)
    other = against.run_name if against else None
    open_items = items if bare.set_aside is None else SpooledItems(bare.open_items(items))
    scoring = await resolve_judges(ws, request, bare, dataset, open_items, against=other)
    scoring = await within_budget(ws, request, scoring)
    return PreparedRun(
        folder,
        run_spec,
        items,
        await anyio.to_thread.run_sync(events_of, results, state),
        is_new=is_new,
        is_recorded=is_recorded,
        scoring=(await with_scoring(ws, request, scoring)).model_copy(
            update={"item_count": len(items), "batch": request.batch}
        ),
        against={(item.repeat, item.item_id): item.output for item in against.items if item.status == "succeeded"}
        if against
        else None,
    )


def _without_code(run_spec: RunSpec) -> RunSpec:
    """Leave out what the run itself called: a scoring calls no task, and brings its own judges and evaluators."""
    return run_spec.model_copy(
        update={
            "judges": (),
            "warnings": (),
            "evaluator_script": None,
            "evaluators": (),
            "task_script": None,
            "task_prompt": None,
            "engine": "local",
        }
    )


async def _recorded_run_spec(ws: Workspace, record: RunRecord, dataset: Dataset, items: SpooledItems) -> RunSpec:
    """Describe a run that this machine did not make."""
    heads = [
        ExperimentHead(id=identity, name=repeat_name(record.run_name, repeat))
        for repeat, identity in enumerate(record.experiment_ids)
    ]
    chosen = ChosenItems(items, record.plan.part if record.plan else None, last_change(items))
    run_spec = await bare_run_spec(ws, dataset, chosen, heads)
    if record.replayed is None:
        return run_spec
    use = RecordingUse("replay", Path(record.replayed.file), record.replayed.sha256)
    return run_spec.model_copy(update={"recording": use})
