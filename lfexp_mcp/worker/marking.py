"""Telling every machine, through Langfuse, what a run was to do and how it ended."""

from datetime import UTC, datetime

from lfexp_mcp.gateway import status_score
from lfexp_mcp.model import JudgeMaker, MissingScores, RecordedStatus, RunMaker, RunPlan, RunSpec, ScriptMaker
from lfexp_mcp.runs.events import RunEnded, StatusRecorded
from lfexp_mcp.runs.run_state import ItemKey, RunState

DIED = RunEnded(status="failed", reason="The process of the run died.")
MAX_LISTED = 200
"""Results that one evaluator failed on which are listed one by one."""


def begun(run_spec: RunSpec, plan: RunPlan) -> StatusRecorded:
    """Record that a run is running."""
    return _event(run_spec, RecordedStatus("running", datetime.now(UTC), plan, makers=plan.makers))


def ended(run_spec: RunSpec, plan: RunPlan, state: RunState, end: RunEnded) -> StatusRecorded | None:
    """Record how a run ended.

    Args:
        run_spec: What the run was asked to do.
        plan: Its plan.
        state: What it has done.
        end: How it ended.

    Returns:
        None if that is recorded already.
    """
    if state.status_score is not None and state.status_score.value == end.status:
        return None
    recorded = RecordedStatus(
        status=end.status,
        at=datetime.now(UTC),
        plan=plan,
        succeeded=len(state.ended) - state.failed_count,
        failed=state.failed_count,
        unscored=_unscored(state),
        makers=tuple(_makers(state)),
        reason=end.reason,
    )
    return _event(run_spec, recorded)


def _event(run_spec: RunSpec, recorded: RecordedStatus) -> StatusRecorded:
    return StatusRecorded(score=status_score(recorded, run_spec.experiments[0].id))


def _makers(state: RunState) -> dict[RunMaker, None]:
    scores = (score for scored in state.scored.values() for score in scored.scores)
    return {score.maker: None for score in scores if isinstance(score.maker, JudgeMaker | ScriptMaker)}


def _unscored(state: RunState) -> dict[str, MissingScores]:
    failed: dict[str, list[ItemKey]] = {}
    for key, scored in state.scored.items():
        for missing in scored.unscored:
            failed.setdefault(missing.name, []).append(key)
    return {name: MissingScores(len(keys), tuple(keys[:MAX_LISTED])) for name, keys in failed.items()}
