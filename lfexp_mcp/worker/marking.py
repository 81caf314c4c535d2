"""Telling every machine, through Langfuse, what a run was to do and how it ended."""

from datetime import UTC, datetime

from lfexp_mcp.gateway import mark_score
from lfexp_mcp.model import JudgeMaker, MissingScores, RunMaker, RunMark, RunPlan, RunSpec, ScriptMaker
from lfexp_mcp.runs.journal import RunEnded, RunMarked
from lfexp_mcp.runs.replay import ItemKey, RunState

DIED = RunEnded(status="failed", reason="The process of the run died.")
MAX_LISTED = 200
"""Results that one evaluator failed on which are listed one by one."""


def begun(run_spec: RunSpec, plan: RunPlan) -> RunMarked:
    """Mark a run as running."""
    return _marked(run_spec, RunMark("running", datetime.now(UTC), plan, makers=plan.makers))


def ended(run_spec: RunSpec, plan: RunPlan, state: RunState, end: RunEnded) -> RunMarked | None:
    """Mark a run as ended.

    Args:
        run_spec: The run's order.
        plan: What it was to do.
        state: What it has done.
        end: How it ended.

    Returns:
        None where the newest mark says so already.
    """
    if state.mark is not None and state.mark.value == end.status:
        return None
    mark = RunMark(
        status=end.status,
        at=datetime.now(UTC),
        plan=plan,
        succeeded=len(state.ended) - state.failed_count,
        failed=state.failed_count,
        unscored=_unscored(state),
        makers=tuple(_makers(state)),
        reason=end.reason,
    )
    return _marked(run_spec, mark)


def _marked(run_spec: RunSpec, mark: RunMark) -> RunMarked:
    return RunMarked(score=mark_score(mark, run_spec.experiments[0].id))


def _makers(state: RunState) -> dict[RunMaker, None]:
    scores = (score for scored in state.scored.values() for score in scored.scores)
    return {score.maker: None for score in scores if isinstance(score.maker, JudgeMaker | ScriptMaker)}


def _unscored(state: RunState) -> dict[str, MissingScores]:
    failed: dict[str, list[ItemKey]] = {}
    for key, scored in state.scored.items():
        for missing in scored.unscored:
            failed.setdefault(missing.name, []).append(key)
    return {name: MissingScores(len(keys), tuple(keys[:MAX_LISTED])) for name, keys in failed.items()}
