"""Whether a judge still scores as it did: it is asked again about outputs that people have labelled."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from statistics import mean

from pydantic import JsonValue

from lfexp_mcp.answers.labels import JudgeCheck, JudgeStanding
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BudgetError
from lfexp_mcp.gateway import CHECK_SCORE_NAME, METADATA_KEY
from lfexp_mcp.judges.budget import budget_warnings
from lfexp_mcp.model import Estimate, NextStep, Score
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.services.background import Job
from lfexp_mcp.services.labels.anchors import MIN_ANCHORS, JudgeCheckPlan, prepare_check
from lfexp_mcp.services.labels.rejudging import Rejudged, rejudge
from lfexp_mcp.services.requests import JudgeCheckRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.spending import check_budget, check_spending, shown_name
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.drift import (
    Anchor,
    application_shift,
    judge_shift,
    position_bias,
    self_disagreement,
    weighted_mean,
    worst_case,
)
from lfexp_mcp.statistics.labelled_sample import DrawnResult
from lfexp_mcp.strict_json import strict_loads

MAX_UNREADABLE_SHARE = 0.1
"""Share of anchors without a verdict up to which the others may stand for all."""
UNCHANGED = 0.05
"""A judge whose shift lies within this is shown to be unchanged."""


async def check_judge(
    ws: Workspace,
    request: JudgeCheckRequest,
    *,
    wait_seconds: float = 45,
    on_progress: OnProgress | None = None,
    agreed: Collection[str] | None = None,
) -> JudgeCheck:
    """Ask a judge again about stored outputs that people have labelled, and say how far it has moved.

    The outputs are those that the run has; no task is called, and the verdicts are not written to Langfuse: only that
    there was a check, and its result, as a score of the run. The check goes on when the wait is over; an equal call
    takes its result.

    Args:
        wait_seconds: How long to wait for its end.
        on_progress: Called with how far it is.
        agreed: See `check_spending`.

    Raises:
        ConfirmationError: The user has to agree to the cost first.
        NotFoundError: There is no such dataset, run, score or judge.
        UsageError: There are no labelled results, or too few.
        JudgeError: The score is not a judge's, or the judge cannot be asked.
        BudgetError: `max_cost` covers too few anchors.
        BackendError: Langfuse did not answer.
    """
    check = await prepare_check(ws, request)
    check.warnings.extend(budget_warnings(request.max_cost, [check.judge]))
    identity = (request, check.judge.model_dump_json(), tuple(result.key for result in check.results))
    # A check that goes on, or whose result waits, has been agreed to.
    if not ws.background.has(identity):
        named = map(shown_name, (check.judge.name, check.run.name, request.dataset))
        what = "Ask judge {} again about labelled results of run {} of dataset {}.".format(*named)
        await check_spending(ws, agreed, "check_judge", request, what, partial(_cost, ws, request, check))
    ask = partial(
        rejudge,
        ws,
        check.judge,
        check.results,
        votes=request.votes,
        max_cost=request.max_cost,
        against=check.against,
    )
    found = await ws.background.do(identity, ask, wait_seconds, on_progress)
    answer = JudgeCheck(
        backend=str(ws.gateway.backend),
        status="completed",
        then=JudgeStanding(judge=check.then.label),
        now=JudgeStanding(judge=check.judge.maker.label),
        anchors=len(check.results),
        warnings=check.warnings,
    )
    if isinstance(found, Job):
        again = request.model_dump(mode="json", exclude_defaults=True)
        return answer.model_copy(
            update={
                "status": "running",
                "warnings": [*answer.warnings, f"{found.done} of {found.total} anchors are judged so far."],
                "next": [NextStep("check_judge", again, "Wait for the result.")],
            }
        )
    answer = _describe(answer, request, check, found)
    return answer if answer.shift is None else await _recorded(ws, check, answer, answer.shift)


async def _cost(ws: Workspace, request: JudgeCheckRequest, check: JudgeCheckPlan) -> float | None:
    await check_budget(ws, request.max_cost, [check.judge.model])
    return request.max_cost


async def _recorded(ws: Workspace, check: JudgeCheckPlan, answer: JudgeCheck, shift: Estimate) -> JudgeCheck:
    """Record a check with the run in Langfuse, and say how many there were: by chance one of many shows a shift."""
    experiment_id = check.run.record.experiment_ids[0]
    recorded = await ws.gateway.scores.find(experiment_id=experiment_id, name=CHECK_SCORE_NAME)
    earlier = sum(_is_about(score, check.score) for score in recorded)
    about = {"score": check.score, "then": answer.then.judge, "now": answer.now.judge, "anchors": answer.anchors}
    score = Score(
        id=secrets.token_hex(16),
        name=CHECK_SCORE_NAME,
        value=shift.value,
        data_type="NUMERIC",
        comment=f"{answer.verdict}: {answer.now.judge} against {answer.then.judge}, on {answer.anchors} anchors.",
        metadata={METADATA_KEY: json.dumps({**about, "shift": shift})},
        timestamp=CLOCK.now(),
        experiment_id=experiment_id,
    )
    notes = [f"The check could not be recorded: {why}" for why in (await ws.gateway.scores.write([score])).values()]
    if earlier:
        notes.append(
            f"Check number {earlier + 1} of this score by this run's anchors: of many checks, one shows a shift by "
            "chance, and all share the earlier verdicts."
        )
    return answer.model_copy(update={"warnings": [*answer.warnings, *notes]})


def _is_about(recorded: Score, name: str) -> bool:
    """Whether a recorded check was of the score of that name."""
    # Anybody can write a score under the name of our checks.
    with suppress(ValueError):
        about = strict_loads(str(recorded.metadata.get(METADATA_KEY)))
        return isinstance(about, dict) and about.get("score") == name
    return False


def _describe(answer: JudgeCheck, request: JudgeCheckRequest, check: JudgeCheckPlan, found: Rejudged) -> JudgeCheck:
    """Describe how the judge's verdicts have changed.

    Raises:
        BudgetError: `max_cost` covered too few anchors.
    """
    drawn = [check.anchors[result.key] for result in check.results]
    judged = [each for each in drawn if each.key in found.votes]
    if found.stopped is not None and len(judged) < MIN_ANCHORS:
        raise BudgetError(f"Only {len(judged)} of {len(drawn)} anchors were judged. {found.stopped}")
    notes = _notes(check, found, len(drawn))
    update: dict[str, object] = {
        "unreadable": len(found.failures),
        "cost_usd": found.cost,
        "next": _next_steps(request, check),
    }
    usable = Counter(each.stratum for each in judged)
    if len(judged) < MIN_ANCHORS or any(usable[number] < 2 for number, size in enumerate(check.sizes) if size):
        notes.append(f"Only {len(judged)} of {len(drawn)} anchors have a verdict now: too few to tell a shift.")
    else:
        unread = [each for each in drawn if each.key in found.failures]
        if len(unread) <= MAX_UNREADABLE_SHARE * (len(unread) + len(judged)):
            unread = []
        else:
            notes.append("Those without a verdict may have moved otherwise: the intervals hold whatever it would be.")
        update |= _figures(check, found, judged, unread)
        update |= _standings(answer, check, found, judged)
    return answer.model_copy(update={**update, "warnings": [*answer.warnings, *notes]})


def _figures(
    check: JudgeCheckPlan, found: Rejudged, judged: Sequence[DrawnResult], unread: Sequence[DrawnResult]
) -> dict[str, object]:
    """Return the fields about how far judge and application have moved, whatever the verdicts on `unread` would be."""
    anchors, others = ([_anchor(each, found) for each in results] for results in (judged, unread))

    def estimate(of: Callable[[Sequence[Anchor]], Estimate]) -> Estimate:
        return worst_case(of, anchors, others) if others else of(anchors)

    shift = estimate(partial(judge_shift, sizes=check.sizes))
    inside = shift.low > -UNCHANGED and shift.high < UNCHANGED
    moved = "higher" if shift.low > 0 else "lower" if shift.high < 0 else "inconclusive"
    figures: dict[str, object] = {
        "shift": shift,
        "verdict": "unchanged" if inside else moved,
        "self_disagreement": self_disagreement(anchors, check.sizes),
        "newly_pass": sum(is_pass(anchor.votes[0]) > is_pass(anchor.then) for anchor in anchors),
        "newly_fail": sum(is_pass(anchor.votes[0]) < is_pass(anchor.then) for anchor in anchors),
    }
    if found.places:
        signs = {("A", "A"): 1, ("B", "B"): -1}
        places = [(item_id, signs.get(places, 0)) for (item_id, _), places in found.places.items()]
        figures["position_bias"] = position_bias(places)
    if check.changes is not None:
        figures["application_shift"] = estimate(partial(application_shift, sizes=check.sizes, changes=check.changes))
    return figures


def _anchor(result: DrawnResult, found: Rejudged) -> Anchor:
    return Anchor(result.item_id, result.judge or 0.0, tuple(found.votes.get(result.key, ())), result.stratum)


def _standings(
    answer: JudgeCheck, check: JudgeCheckPlan, found: Rejudged, judged: Sequence[DrawnResult]
) -> dict[str, object]:
    """Return how close the judge was to people then, and is now."""
    labelled = [(_anchor(each, found), each.human) for each in judged if each.human is not None]
    if not labelled:
        return {}
    anchors = [anchor for anchor, _ in labelled]

    def standing(known: JudgeStanding, votes_of: Callable[[Anchor], Sequence[float]]) -> JudgeStanding:
        alike = [mean(is_pass(vote) == is_pass(human) for vote in votes_of(anchor)) for anchor, human in labelled]
        above = [mean(votes_of(anchor)) - human for anchor, human in labelled]
        figures = {
            "agreement": weighted_mean(anchors, alike, check.sizes),
            "bias": weighted_mean(anchors, above, check.sizes),
        }
        return known.model_copy(update=figures)

    return {
        "then": standing(answer.then, lambda anchor: (anchor.then,)),
        "now": standing(answer.now, lambda anchor: anchor.votes),
    }


def _notes(check: JudgeCheckPlan, found: Rejudged, anchors: int) -> list[str]:
    notes = []
    if found.failures:
        reason = Counter(found.failures.values()).most_common(1)[0][0]
        notes.append(f"{len(found.failures)} of {anchors} anchors have no verdict now, mostly because: {reason}")
    if found.stopped is not None:
        notes.append(f"Only {len(found.votes)} of {anchors} anchors were judged. {found.stopped}")
    if len(found.models) > 1:
        named = " and ".join(sorted(found.models))
        notes.append(f"More than one model answered ({named}): the alias moved meanwhile. Check again.")
    if check.against is None and check.changes is not None:
        notes.append(
            "The split holds for outputs like the baseline's: a judge that moved on other outputs shows as application."
        )
    return notes


def _next_steps(request: JudgeCheckRequest, check: JudgeCheckPlan) -> list[NextStep]:
    run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": request.run_name}
    if check.judge.maker.is_same(check.then) or check.against is not None:
        return []
    judge = f"{check.judge.name}:{check.judge.version}"
    return [
        NextStep("score_run", {**run, "judges": [judge]}, "Score the run with the judge as it is now."),
        NextStep("request_labels", {**run, "score_name": request.score_name}, "Then hold these scores against people."),
    ]
