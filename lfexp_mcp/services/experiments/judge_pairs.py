"""Letting a pairwise judge compare the outputs of two runs."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import anyio

from lfexp_mcp.answers.comparison import PairsAnswer
from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.judges.pairs import Outcome, Place, read_outcome
from lfexp_mcp.model import NextStep, ResolvedJudge, RunRecord
from lfexp_mcp.services.experiments.run_experiment import follow_launch
from lfexp_mcp.services.experiments.score_run import cost_of_scoring, launch_scoring
from lfexp_mcp.services.next_steps import run_step
from lfexp_mcp.services.requests import PairsRequest
from lfexp_mcp.services.runs.follower import OnProgress
from lfexp_mcp.services.runs.local_runs import read_journal
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.spending import check_spending, shown_name
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.proportions import Preference

MAX_INCONSISTENT_SHARE = 0.3
"""Share of inconsistent pairs beyond which the answer warns that the judge mostly follows the places."""
READING_S = 10.0
"""What reading the scores may take beyond the wait."""


async def judge_pairs(
    ws: Workspace,
    request: PairsRequest,
    *,
    wait_seconds: float = 45,
    on_progress: OnProgress | None = None,
    agreed: Collection[str] | None = None,
) -> PairsAnswer:
    """Let a pairwise judge compare the outputs of two runs, each pair in both orders.

    The verdicts become scores of the items of `run_b`. Pairs that this very judge has compared already, with the same
    outputs, are not asked again. Items without a good result in both runs are counted, and get no score.

    Args:
        request: The runs, the judge, and how far the judging may go.
        wait_seconds: How long to wait for the end.
        on_progress: Called with the progress, at most once a second and at least every ten.
        agreed: See `check_spending`.

    Raises:
        ConfirmationError: The user has to agree to the cost first.
        JudgeError: The judge cannot be used, or is not pairwise.
        LfexpError: As `score_run`.
    """
    deadline = anyio.current_time() + wait_seconds
    names = (request.run_a, request.run_b, request.dataset)
    what = "Let a judge compare runs {} and {} of dataset {}.".format(*map(shown_name, names))
    against = await read_run(ws, request.dataset, request.run_a)
    cost = partial(cost_of_scoring, ws, request.scoring, against)
    await check_spending(ws, agreed, "judge_pairs", request, what, cost)
    work = partial(launch_scoring, ws, request.scoring, against)
    launch = ws.launches.begin(request.dataset, request.run_b, request, work)
    answer = await follow_launch(ws, launch, deadline, on_progress)
    about = _describe_launch(request, answer)
    if launch.run_spec is None or launch.folder is None:
        return about
    (judge,) = launch.run_spec.judges
    scored = await read_journal(ws, launch.folder, deadline + READING_S)
    return _describe(request, judge, about, _count(judge, against, scored))


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a judge made of two runs."""

    outcomes: Counter[Outcome]
    """Of pairs."""
    preference: Preference
    """Over items: one with repeats is won if it was won more often than lost."""
    asked: Counter[tuple[Place, Place]]
    """The places that were preferred in both orders, of pairs that were asked."""
    unscored: int
    unpaired: int


def _count(judge: ResolvedJudge, against: RunRecord, scored: RunRecord) -> _Judged:
    """Count a judge's verdicts on two runs; the scored one comes from its journal, which has its scores' metadata."""
    others = {(item.repeat, item.item_id) for item in against.items if item.status == "succeeded"}
    outcomes: Counter[Outcome] = Counter()
    asked: Counter[tuple[Place, Place]] = Counter()
    balance: Counter[str] = Counter()
    unscored = unpaired = 0
    for item in scored.items:
        key = (item.repeat, item.item_id)
        score = next((score for score in item.scores if judge.maker.is_same(score.maker)), None)
        if item.status != "succeeded" or key not in others:
            unpaired += key in others or item.status == "succeeded"
        elif score is None:
            unscored += any(failure.name == judge.score_name for failure in item.unscored)
        else:
            outcome, places = read_outcome(score)
            outcomes[outcome] += 1
            balance[item.item_id] += (outcome == "win") - (outcome == "loss")
            if places is not None:
                asked[places] += 1
        others.discard(key)
    signs = Counter((value > 0) - (value < 0) for value in balance.values())
    return _Judged(outcomes, Preference(signs[1], signs[-1], signs[0]), asked, unscored, unpaired + len(others))


def _describe_launch(request: PairsRequest, answer: RunAnswer) -> PairsAnswer:
    """Describe how far a judging is, without verdicts: it may not have begun."""
    return PairsAnswer(
        status=answer.scoring or answer.status,
        backend=answer.backend,
        run_a=request.run_a,
        run_b=request.run_b,
        judge=request.judge,
        progress=answer.progress,
        warnings=answer.warnings,
        next=answer.next,
    )


def _describe(request: PairsRequest, judge: ResolvedJudge, about: PairsAnswer, judged: _Judged) -> PairsAnswer:
    preference, asked = judged.preference, judged.asked.total()
    inconsistent, has_ended = judged.outcomes["inconsistent"], about.status == "completed"
    warnings = [*about.warnings]
    if inconsistent > MAX_INCONSISTENT_SHARE * asked:
        warnings.append(
            f"In {inconsistent} of {asked} pairs the verdict changed with the order: the judge mostly follows the "
            "places, so the preference says little about the outputs."
        )
    if not preference.n and has_ended:
        warnings.append("There is no pair with a verdict, so the preference is not known.")
    changes = {
        "judge": judge.maker.label,
        "score_name": judge.score_name,
        "wins": preference.wins,
        "losses": preference.losses,
        "ties": preference.ties,
        "inconsistent": inconsistent,
        "identical": judged.outcomes["identical"],
        "unscored": judged.unscored,
        "unpaired": judged.unpaired,
        "preference": preference.share,
        "interval": preference.interval,
        "p": preference.p,
        "verdict": preference.verdict if has_ended and preference.n else None,
        "asked": asked,
        "first_preferred": judged.asked["A", "A"],
        "second_preferred": judged.asked["B", "B"],
        "warnings": warnings,
        "next": _next_steps(request, judge, judged) if about.status != "running" else about.next,
    }
    return about.model_copy(update=changes)


def _next_steps(request: PairsRequest, judge: ResolvedJudge, judged: _Judged) -> list[NextStep]:
    steps = []
    if judged.unscored:
        again = request.model_dump(mode="json", exclude_defaults=True)
        steps.append(NextStep("judge_pairs", again, "Ask again about the pairs without a verdict."))
    if judged.preference.losses:
        run, why = (request.dataset, request.run_b), "See the items that the other run won."
        name = judge.score_name
        steps.append(run_step("analyze_run", *run, why, score_name=name, score_threshold=0.5, show_failures=True))
    return steps
