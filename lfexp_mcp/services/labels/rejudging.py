"""Asking a judge as it is now about outputs that it scored before. What it says is not written to Langfuse."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from pydantic import JsonValue

from lfexp_mcp.errors import BudgetError, JudgeReplyError, LfexpError, ModelRefusedError
from lfexp_mcp.groups import for_each
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.model_client import ModelClient
from lfexp_mcp.judges.pairs import VALUES, Place, judge_pair
from lfexp_mcp.judges.prices import open_prices
from lfexp_mcp.judges.providers.messages import ModelAnswer
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.judges.templates import JudgedItem
from lfexp_mcp.judges.verdict import Verdict
from lfexp_mcp.model import ItemResult, ModelUsage, ResolvedJudge, ResultKey, Score, Trace
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.background import Job
from lfexp_mcp.services.workspace import Workspace

MAX_OBSERVATIONS = 1000
"""Observations read of a trace, for a judge that looks at it."""


@dataclass(slots=True)
class Rejudged:
    """What a judge says now."""

    votes: dict[ResultKey, list[float]] = field(default_factory=dict)
    """Canonical, by result; of those that have every vote that was asked for."""
    places: dict[ResultKey, tuple[Place, Place]] = field(default_factory=dict)
    """Of a pairwise judge: the place preferred in each order, by the first vote on each pair."""
    failures: dict[ResultKey, str] = field(default_factory=dict)
    """Why others have no verdict."""
    models: set[str] = field(default_factory=set)
    """Those that answered, as the provider names them."""
    stopped: str | None = None
    """Why it was not asked about all results, if `max_cost` did not cover them."""
    cost: float | None = None
    """In USD; None if the price or the tokens are not known."""


class _Listener:
    """Notes which models answer, in place of tracing the questions."""

    def __init__(self, models: set[str]) -> None:
        self._models = models

    def answered(self, answer: ModelAnswer) -> None:
        if answer.model:
            self._models.add(answer.model)

    def failed(self, error: LfexpError) -> None:
        pass


async def rejudge(
    ws: Workspace,
    judge: ResolvedJudge,
    results: Sequence[ItemResult],
    job: Job,
    *,
    votes: int,
    max_cost: float | None,
    against: Mapping[ResultKey, JsonValue] | None = None,
) -> Rejudged:
    """Ask a judge about stored outputs, as a run with a single vote per item does.

    Args:
        results: In the order in which it is asked about them.
        job: Counts how far it is.
        votes: How often it is asked about each.
        max_cost: What all of it may cost, in USD.
        against: Of a pairwise judge: the outputs of the other run.

    Raises:
        ModelRefusedError: The model refuses all calls.
        JudgeError: The provider's key is not set, or `max_cost` is set and the model's price is not known.
    """
    prices = await open_prices(await ws.gateway.model_prices(), [judge.model])
    budget = Budget(max_cost, prices) if max_cost is not None else None
    if budget is not None:
        budget.check([judge.model])
    found, used = Rejudged(), ModelUsage()
    job.total = len(results)

    def use(_judge: ResolvedJudge, usage: ModelUsage) -> None:
        nonlocal used
        used += usage

    async with ModelClient(ws.settings, budget=budget) as models:
        runner = JudgeRunner(models, lambda _judge, _request: nullcontext(_Listener(found.models)), use)

        async def ask(result: ItemResult) -> None:
            if found.stopped is None:
                await _ask(ws, runner, judge, result, votes, against, found)
            job.done += 1

        await for_each(results, ask, ws.settings.judge_concurrency)
    found.cost = prices.cost(judge.model, used)
    return found


async def _ask(
    ws: Workspace,
    runner: JudgeRunner,
    judge: ResolvedJudge,
    result: ItemResult,
    votes: int,
    against: Mapping[ResultKey, JsonValue] | None,
    found: Rejudged,
) -> None:
    given: list[float] = []
    places: tuple[Place, Place] | None = None
    item: JudgedItem = {
        "input": result.input,
        "output": result.output,
        "expected_output": result.expected_output,
        "metadata": result.metadata,
    }
    try:
        trace = await _trace(ws, result) if judge.takes_trace else None
        for _ in range(votes):
            if against is not None:
                pair = await judge_pair(runner, judge, against=against[result.key], **item)
                given.append(VALUES[pair.outcome])
                places = places or pair.places
            else:
                given.append(_canonical(judge, await runner.judge(judge, trace=trace, **item)))
    except BudgetError as error:
        found.stopped = str(error)
    # No other output would be judged either.
    except ModelRefusedError:
        raise
    except LfexpError as error:
        found.failures[result.key] = str(error)
    else:
        found.votes[result.key] = given
        if places is not None:
            found.places[result.key] = places


def _canonical(judge: ResolvedJudge, verdict: Verdict) -> float:
    """Return a verdict's value on 0-1, read as the stored scores are.

    Raises:
        JudgeReplyError: It is a label without a value.
    """
    evaluation = verdict.evaluation(judge)
    reading = ScoreInterpretation(judge.score_name, verdict.data_type, "run", judge.scale, None, (judge.maker,))
    score = Score("", judge.score_name, evaluation.value, evaluation.data_type, maker=judge.maker)
    value = reading.canonical(score)
    if value is None:
        raise JudgeReplyError(f"Judge {judge.name!r} gives {evaluation.value!r}, which has no value on 0-1.")
    return value


async def _trace(ws: Workspace, result: ItemResult) -> Trace:
    recorded = await ws.gateway.observations.find(trace_id=result.trace_id or "", max_rows=MAX_OBSERVATIONS)
    return Trace.of_task(result.trace_id or "", result.observation_id or "", [*reversed(recorded)], result.seconds)
