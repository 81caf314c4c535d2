"""What an answer says of all results of a run together, which takes several passes over them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue

from lfexp_mcp.answers.run import ItemError
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import UnreadError
from lfexp_mcp.model import EvaluatorInfo, JudgeMaker, NextStep, RunRecord, Scale
from lfexp_mcp.scores.warnings import score_warnings
from lfexp_mcp.services.run_cache import RunSummary
from lfexp_mcp.services.runs.local_runs import in_thread
from lfexp_mcp.services.runs.score_summaries import summarise_repeats, summarise_scores
from lfexp_mcp.services.runs.scored_run import configured_scales, interpret_run
from lfexp_mcp.services.workspace import Workspace

MAX_ERRORS = 5
MAX_ERROR_CHARS = 300


async def summarise_in_time(ws: Workspace, record: RunRecord, until: float) -> RunSummary:
    """Summarise a run, or return its last summary if there is not time enough for a new one.

    Args:
        ws: The workspace.
        record: The run.
        until: When to give up, on anyio's clock.

    Returns:
        The summary, from memory if the results are the same. A warning tells that it is an earlier one.

    Raises:
        UnreadError: There was no time, and there is no earlier summary.
    """
    scales = await configured_scales(ws, record.scores)
    kept = ws.run_cache.summaries
    run_id = record.experiment_ids[0]
    summary = await in_thread(lambda: kept.get(run_id, record, scales, lambda: summarise(record, scales)), until)
    if summary is not None:
        return summary
    earlier = kept.last(run_id)
    if earlier is None:
        run: dict[str, JsonValue] = {"dataset": record.dataset, "run_name": record.run_name, "wait_seconds": 45}
        raise UnreadError(
            f"Run {record.run_name!r} is read, and the time of this call was too short to summarise its "
            f"{record.total_items} results. The next call finds the summary.",
            next=[NextStep("get_run", run, "Look again.")],
        )
    seconds = (CLOCK.now() - earlier.made).total_seconds()
    old = f"Counts and scores are those of {seconds:.0f} s ago: this call had no time to read all results again."
    return replace(earlier, warnings=[old, *earlier.warnings])


def summarise(record: RunRecord, scales: Mapping[str, Scale]) -> RunSummary:
    """Summarise a run.

    Args:
        record: The run.
        scales: Those that score configs state, by name.
    """
    run = interpret_run(record, scales)
    return RunSummary(
        made=CLOCK.now(),
        interpretations=run.interpretations,
        humans=run.humans,
        counts=Counter(item.status for item in record.items),
        scores=summarise_scores(record, run.interpretations),
        repeated_scores=summarise_repeats(record, run.interpretations),
        evaluators=_evaluators(record),
        errors=_errors(record),
        warnings=score_warnings(record, run.interpretations),
    )


def _errors(record: RunRecord) -> list[ItemError]:
    """The first errors: of failed tasks, then of evaluators and judges."""
    errors = [(item.item_id, item.error) for item in record.items if item.error]
    errors += [(item.item_id, f"{lost.name}: {lost.error}") for item in record.items for lost in item.unscored]
    return [
        ItemError(
            item_id=item_id,
            error=text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]}… ({len(text)} characters)",
        )
        for item_id, text in errors[:MAX_ERRORS]
    ]


def _evaluators(record: RunRecord) -> list[str]:
    """The evaluators that the newest worker recorded, and the judges that scored earlier; none for runs of others."""
    found = record.provenance.evaluators if record.provenance else ()
    known = {(info.name, info.version, info.model) for info in found}
    judges = dict.fromkeys(score.maker for score in record.scores if isinstance(score.maker, JudgeMaker))
    earlier = (judge for judge in judges if (judge.prompt, judge.version, judge.model) not in known)
    return [info.label for info in (*found, *map(EvaluatorInfo.of_judge, earlier))]
