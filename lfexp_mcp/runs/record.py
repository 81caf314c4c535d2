"""A run as it is read, from its spec, dataset items and journal."""

from collections.abc import Iterator

from lfexp_mcp.model import ItemResult, RunPlan, RunRecord, RunSpec, RunStatus
from lfexp_mcp.runs.run_state import RunState

MAX_RUNNING_SHOWN = 10
MAX_DAMAGED_SHOWN = 5
MAX_REFUSALS_SHOWN = 5
MAX_BATCHES_SHOWN = 3
BATCHES_LEFT = (
    "{requests} requests are in batches whose answers have not been used: {names}. The same score_run call, with "
    "batch=true, uses them; without it, the judge is asked, and paid, again."
)
SCORING_DIED = "The process that scored this run again died; the same score_run call goes on with what is left."
LOADING = "The scripts and what they import are still being loaded; no item has begun."


def build_record(
    run_spec: RunSpec,
    results: tuple[ItemResult, ...],
    state: RunState,
    status: RunStatus,
    exit_reason: str | None = None,
) -> RunRecord:
    """Build the record of a run.

    Args:
        run_spec: The run spec.
        results: One per repetition and item.
        state: The state by its journal.
        status: The run's status.
        exit_reason: Why its worker gave up, where it could not journal it.
    """
    judges = tuple(judge.maker for judge in run_spec.judges)
    return RunRecord(
        dataset=run_spec.dataset_name,
        dataset_id=run_spec.dataset_id,
        run_name=run_spec.run_name,
        experiment_ids=tuple(experiment.id for experiment in run_spec.experiments),
        status=status,
        items=results,
        total_items=run_spec.total_items,
        description=run_spec.description,
        created=state.first_accepted or run_spec.created,
        metadata=run_spec.metadata,
        provenance=state.accepted.provenance if state.accepted else None,
        run_scores=tuple(score for repeat in sorted(state.run_scored) for score in state.run_scored[repeat].scores),
        model_usage=dict(state.model_usage),
        warnings=(*run_spec.warnings, *_warnings(state, status, exit_reason)),
        plan=None if state.is_recorded else RunPlan.of(run_spec, judges),
        scoring=_scoring(state, status),
        looks=tuple(state.looks),
        is_dry=run_spec.dry_run_of is not None,
    ).without_measures()


def _scoring(state: RunState, status: RunStatus) -> RunStatus | None:
    if not state.scores_only:
        return None
    return status if status == "running" else state.run_ended.status if state.run_ended else "failed"


def _warnings(state: RunState, status: RunStatus, exit_reason: str | None) -> Iterator[str]:
    if state.end is not None and state.end.reason is not None:
        yield state.end.reason
    if state.scores_only and state.run_ended is None and status != "running":
        yield f"{SCORING_DIED} {exit_reason or ''}".rstrip()
    elif state.scores_only and state.run_ended is not None and state.run_ended.reason is not None:
        yield f"score_run: {state.run_ended.reason}"
    if state.batches and status != "running":
        left = list(state.batches.values())
        names = ", ".join(f"{batch.batch_id or batch.tag} ({batch.provider})" for batch in left[:MAX_BATCHES_SHOWN])
        yield BATCHES_LEFT.format(requests=sum(batch.requests for batch in left), names=names)
    if state.loading and status == "running":
        yield LOADING
    if state.run_ended is None and status == "failed" and not state.scores_only:
        when = "while it loaded the scripts" if state.loading else "before the run's end"
        yield exit_reason or f"The worker died {when}; the run's log may say why."
        running = ", ".join(repr(item_id) for _, item_id in sorted(state.running)[:MAX_RUNNING_SHOWN])
        if running and not state.loading:
            yield f"Running were items {running}."
    versions = {version: count for version, count in state.task_versions.items() if version and count}
    if len(versions) > 1:
        shares = ", ".join(f"{count} of {version}" for version, count in versions.items())
        yield (
            f"The task was edited before a resume, so the results are of {len(versions)} versions ({shares}), and "
            "means mix them. Use a new run name to measure one version."
        )
    if state.damaged_lines:
        lines = ", ".join(map(str, state.damaged_lines[:MAX_DAMAGED_SHOWN]))
        yield (
            f"{len(state.damaged_lines)} records of the run's journal are damaged (line {lines}) and left out. What "
            "was sent is read from Langfuse; a resume runs the rest again."
        )
    yield from state.warnings
    for refusal in state.refused[:MAX_REFUSALS_SHOWN]:
        yield f"Langfuse refused {refusal.kind} {refusal.name!r}: {refusal.message}"
    if len(state.refused) > MAX_REFUSALS_SHOWN:
        more = len(state.refused) - MAX_REFUSALS_SHOWN
        yield f"Langfuse refused {more} more scores or spans; the run's journal lists them."
    for repeat in sorted(state.run_scored):
        for failure in state.run_scored[repeat].unscored:
            yield f"Run evaluator {failure.name!r} failed: {failure.error}"
