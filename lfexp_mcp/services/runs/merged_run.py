"""A run as Langfuse shows it, merged with its journal on this machine."""

from collections.abc import Sequence
from dataclasses import replace

from lfexp_mcp.model import EvaluatorFailure, ItemResult, RunPlan, RunRecord, Score
from lfexp_mcp.services.runs.completeness import status_elsewhere
from lfexp_mcp.services.runs.score_attribution import newest_scores


def commented(score: Score, full: Score | None) -> Score:
    """Return a score as Langfuse lists it with the comment, and what else is left out there, of the full one."""
    if full is None or score.comment is not None:
        return score
    return replace(full, name=score.name, value=score.value, data_type=score.data_type, maker=score.maker)


def merge_journal(record: RunRecord, journal: RunRecord) -> RunRecord:
    """Add to a run as Langfuse shows it what only its journal on this machine has.

    Args:
        record: The run as read from Langfuse; its status is `unknown` unless another machine has resumed it since.
        journal: The run as read from its journal.
    """
    shown: dict[int, dict[str, ItemResult]] = {}
    for item in record.items:
        shown.setdefault(item.repeat, {})[item.item_id] = item
    items: list[ItemResult] = []
    results = scores = 0
    for kept in journal.items:
        seen = shown.get(kept.repeat, {}).pop(kept.item_id, None)
        if kept.status == "pending":
            # What this machine has not run, another one may have.
            items.append(seen or kept)
        elif seen is kept:
            items.append(kept)
        elif seen is not None and seen.observation_id == kept.observation_id:
            item, added = _merge_scores(seen, kept)
            items.append(item)
            scores += added
        elif seen is None or _supersedes(kept, seen):
            items.append(kept)
            results += 1
            scores += len(kept.scores)
        else:
            items.append(seen)
    # Of items that a resume on another machine has added.
    items += (item for of_repeat in shown.values() for item in of_repeat.values())
    stored = {score.id for score in record.run_scores}
    unstored = (score for score in journal.run_scores if score.id not in stored)
    leaves_out = record.leaves_out or journal.leaves_out
    # This machine may have only scored the results of others: their run is as Langfuse has it.
    is_own = journal.status != "unknown"
    # What a resume on another machine has recorded since.
    is_resumed = is_own and record.status != "unknown"
    merged = replace(
        record,
        status=journal.status if is_own and not is_resumed else status_elsewhere(record.status),
        items=tuple(items),
        total_items=max(journal.total_items if is_own else record.total_items, len(items)),
        experiment_ids=journal.experiment_ids,
        description=record.description or journal.description,
        created=(journal.created if is_own else None) or record.created,
        metadata=record.metadata or journal.metadata,
        provenance=record.provenance or journal.provenance,
        run_scores=() if leaves_out else (*record.run_scores, *unstored),
        model_usage=journal.model_usage,
        warnings=tuple(dict.fromkeys((*record.warnings, *journal.warnings))),
        leaves_out=leaves_out,
        plan=_plan(journal, items) if is_own else record.plan,
        scoring=journal.scoring,
        looks=journal.looks if is_own and not is_resumed else record.looks,
    )
    additions = [f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in ((results, "result"), (scores, "score")) if n]
    if not additions:
        return merged
    return merged.with_warning(
        f"Langfuse does not show all yet: {' and '.join(additions)} come from the journal on this machine."
    )


def _plan(journal: RunRecord, items: Sequence[ItemResult]) -> RunPlan | None:
    """The plan of the journal, unless a resume on another machine has gone on to further items."""
    plan = journal.plan
    if plan is None or plan.part is None:
        return plan
    known = len({item.item_id for item in items})
    if known <= plan.items:
        return plan
    return replace(plan, items=known, part=plan.part if known < plan.part.of else None)


def _merge_scores(shown: ItemResult, kept: ItemResult) -> tuple[ItemResult, int]:
    """Merge one result as Langfuse shows it and as the journal has it; return it with the count of added scores."""
    kept_scores, shown_scores = kept.scores, shown.scores
    own = {score.id: score for score in kept_scores}
    visible = {score.id for score in shown_scores}
    missing = [score for score in kept_scores if score.id not in visible]
    scores = newest_scores((*(commented(score, own.get(score.id)) for score in shown_scores), *missing))
    # A resume on another machine may have scored what was missing here.
    since = [score for score in shown_scores if score.id not in own and score.maker.origin == "run"]
    unscored = tuple(failure for failure in kept.unscored if not any(_mends(score, failure) for score in since))
    if scores == kept_scores and unscored == kept.unscored:
        return kept, len(missing)
    # The journal has values as the task returned them; Langfuse may have only their text.
    return replace(kept, scores=scores, unscored=unscored), len(missing)


def _mends(score: Score, failure: EvaluatorFailure) -> bool:
    return score.name == failure.name and (failure.maker is None or failure.maker.is_same(score.maker))


def _supersedes(kept: ItemResult, shown: ItemResult) -> bool:
    if kept.status != shown.status:
        return kept.status == "succeeded"
    return kept.started is not None and (shown.started is None or kept.started > shown.started)
