"""Asking people for labels of results that are drawn at random."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import anyio
from pydantic import JsonValue

from lfexp_mcp.answers.labels import LabelsAnswer
from lfexp_mcp.errors import NotFoundError, RejectedError, UsageError
from lfexp_mcp.gateway import Queue, ScoreConfig
from lfexp_mcp.model import ItemResult, JudgeMaker, NextStep, ResultKey, Scale
from lfexp_mcp.services.labels.draw import (
    Draw,
    allocate,
    drawn_first,
    judge_values,
    labellable,
    put_in_order,
    seed_of,
    split_for,
)
from lfexp_mcp.services.labels.reading import Labels, find_draws, is_made_by, read_labels
from lfexp_mcp.services.next_steps import running_steps
from lfexp_mcp.services.requests import LabelsRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_with_configs
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.corrected import MIN_STRATUM_LABELS

DEFAULT_N = 50
FILLING_S = 40.0
"""How long a call may fill a queue, since Langfuse may be slow or throttle it; the next call goes on."""
MAX_NAME_CHARS = 100
MAX_CONFIG_NAME_CHARS = 35
"""Of a score config, as Langfuse takes it."""
_NOT_IN_A_CONFIG_NAME = re.compile(r"[^\w .()-]+")
INTRODUCTION = (
    "{drawn} of {population} results of run {run!r} (dataset {dataset!r}), drawn at random, to hold score {score!r} "
    "against. Please label all of them in the order given, without looking at the scores that they have, and add or "
    "remove none: the labels stand for the whole run."
)


async def request_labels(ws: Workspace, request: LabelsRequest) -> LabelsAnswer:
    """Draw results of a run at random and ask people to label them, in an annotation queue of Langfuse.

    A further call with a larger `n` draws more of the same random order; any call shows how far the labels are.

    Raises:
        NotFoundError: There is no such dataset, run or score.
        UsageError: The run is running, or the score cannot be held against people.
        RejectedError: Langfuse refused the queue, such as for its plan.
        BackendError: Langfuse did not answer.
    """
    record = await read_run(ws, request.dataset, request.run_name)
    if record.status == "running":
        raise UsageError(
            f"Run {record.run_name!r} is running: its results are drawn from when it has ended.",
            next=running_steps(record.dataset, record.run_name),
        )
    run = await interpret_with_configs(ws, record)
    scale = _scale(run, request)
    results = labellable(record)
    if not results:
        raise UsageError(f"Run {record.run_name!r} has no good result to label.")
    # Of two calls at once, each would find what the other is about to put into the queue missing there.
    async with ws.labelling:
        wanted, is_new = await _draw(ws, request, run, scale, results)
    labels = (await read_labels(ws, run, [request.score_name]))[request.score_name]
    return await _describe(ws, request, labels, wanted, is_new=is_new)


async def _draw(
    ws: Workspace, request: LabelsRequest, run: ScoredRun, scale: Scale, results: Sequence[ItemResult]
) -> tuple[int, bool]:
    """Draw results and put them into a queue; return how many are drawn, and whether the draw is new."""
    values = judge_values(run, request.score_name, results)
    queues = await ws.gateway.queues.all()
    known = find_draws(run, queues).get(request.score_name, [])
    current = next((each for each in known if each[1].is_genuine and is_made_by(run, each[1])), None)
    is_new = current is None
    n = request.n or (DEFAULT_N if current is None else current[1].n)
    if current is None:
        split = split_for(results, values) if request.stratify else None
        config = await _config(ws, request.score_name, scale, known)
        draw = _new_draw(run, request.score_name, n, results, values, split)
        current = await _open_queue(ws, run, draw, config, {queue.name for queue in queues}, again=bool(known))
    queue, draw = current
    strata = put_in_order(results, values, draw.seed, draw.split)
    wanted = drawn_first(strata, allocate(n, [len(stratum) for stratum in strata]))
    await _fill(ws, queue, wanted)
    return len(wanted), is_new


def _scale(run: ScoredRun, request: LabelsRequest) -> Scale:
    """Return the scale of a score that people can be asked for.

    Raises:
        NotFoundError: The run has no such score.
        UsageError: People cannot be asked for it.
    """
    reading = run.interpretations.get(request.score_name)
    if reading is None:
        raise NotFoundError.of(f"score of run {run.name!r}", request.score_name, sorted(run.interpretations))
    if any(isinstance(maker, JudgeMaker) and maker.against for maker in reading.makers):
        raise UsageError(
            f"Score {reading.name!r} compares two outputs, and an annotation queue shows one: people cannot be asked "
            "for it. Let a judge score single outputs."
        )
    if reading.origin == "human":
        raise UsageError(f"Score {reading.name!r} is people's own: there is no judge to check.")
    if reading.mixed:
        raise UsageError(
            f"Score {reading.name!r} is by several makers ({', '.join(maker.label for maker in reading.makers)}). "
            "Score the run with one of them first.",
            next=[NextStep("score_run", {"dataset": request.dataset, "run_name": request.run_name}, "Score it again.")],
        )
    if reading.scale is None or not reading.is_canonical:
        raise UsageError(
            f"Score {reading.name!r} has no values on 0-1 ({reading.problem or 'it has no scale'}), so that labels "
            "cannot be compared with it. Declare its scale."
        )
    return reading.scale


def _new_draw(
    run: ScoredRun,
    score: str,
    n: int,
    results: Sequence[ItemResult],
    values: Mapping[ResultKey, float],
    split: float | None,
) -> Draw:
    seed = seed_of(run.record.experiment_ids[0], score)
    sizes = [len(stratum) for stratum in put_in_order(results, values, seed, split)]
    counts = allocate(n, sizes)
    return Draw(
        experiment_id=run.record.experiment_ids[0],
        score=score,
        seed=seed,
        maker=run.interpretations[score].makers[0],
        n=sum(counts),
        population=len(results),
        split=split,
        strata=tuple(zip(sizes, counts, strict=True)),
    )


async def _config(ws: Workspace, score: str, scale: Scale, known: Sequence[tuple[Queue, Draw]]) -> ScoreConfig:
    """Return the score config that people label by: that of an earlier draw, one that is there, or a new one.

    A new one does not have the score's own name, which would state the scale of what others score under it.
    """
    configs = await ws.gateway.score_configs()
    used = {config_id for queue, _ in known for config_id in queue.score_config_ids}
    own = _NOT_IN_A_CONFIG_NAME.sub("-", f"human-{score}")[:MAX_CONFIG_NAME_CHARS].strip()
    usable = [(config, config.scale) for config in configs if config.scale is not None]
    found = [config for config, _ in usable if config.id in used]
    found += [config for config, _ in usable if config.name == own]
    alike = (scale.kind, scale.low, scale.high)
    found += [config for config, of in usable if config.name == score and (of.kind, of.low, of.high) == alike]
    if found:
        return found[0]
    values = [category.value for category in scale.categories]
    # Langfuse takes no two categories of one value.
    kind = "NUMERIC" if scale.kind == "CATEGORICAL" and len(set(values)) < len(values) else scale.kind
    plain = Scale(scale.low, scale.high, kind=kind, categories=scale.categories)
    better = "Lower is better." if scale.lower_is_better else "Higher is better."
    return await ws.gateway.create_score_config(own, plain, f"What people give for {score!r}. {better}")


async def _open_queue(
    ws: Workspace, run: ScoredRun, draw: Draw, config: ScoreConfig, taken: Collection[str], *, again: bool
) -> tuple[Queue, Draw]:
    """Create the queue of a new draw; if another call has just done so, take that one."""
    record = run.record
    introduction = INTRODUCTION.format(
        drawn=draw.n, population=draw.population, run=record.run_name, dataset=record.dataset, score=draw.score
    )
    base = f"{draw.score} of {record.run_name} ({record.dataset})"[:MAX_NAME_CHARS]
    if again:
        base = f"{base} by {draw.maker.label}"
    # One more than there are queues, so that one is free.
    names = [base, *(f"{base} {number}" for number in range(2, len(taken) + 3))]
    name = next(name for name in names if name not in taken)
    try:
        return await ws.gateway.queues.create(name, draw.text(introduction), [config.id]), draw
    except RejectedError as refused:
        # Langfuse refuses a name that is taken, as by a call that ran at the same time.
        if refused.status != 400:
            raise
        found = find_draws(run, await ws.gateway.queues.all())
        made = next((each for each in found.get(draw.score, []) if is_made_by(run, each[1])), None)
        if made is None:
            raise
        return made


async def _fill(ws: Workspace, queue: Queue, wanted: Sequence[ItemResult]) -> None:
    """Put the drawn results that are missing into a queue, as far as there is time.

    What people have labelled already counts as done.
    """
    listed = {item.object_id for item in await ws.gateway.queues.items(queue.id)}
    missing = [result for result in wanted if result.observation_id not in listed]
    traces = [result.trace_id for result in missing if result.trace_id]
    given = await ws.gateway.scores.find(trace_ids=traces, source="ANNOTATION") if traces else []
    labelled = {score.trace_id for score in given if score.config_id in queue.score_config_ids}
    with anyio.move_on_after(FILLING_S):
        # One after another, since people are shown what is in a queue in the order in which it was added.
        for result in missing:
            await ws.gateway.queues.add(queue.id, result.observation_id or "", done=result.trace_id in labelled)


async def _describe(
    ws: Workspace, request: LabelsRequest, labels: Labels, wanted: int, *, is_new: bool
) -> LabelsAnswer:
    warnings = []
    if request.stratify and labels.draw.split is None:
        few = f"fewer than {MIN_STRATUM_LABELS} results passed, or failed"
        why = few if is_new else "it began without strata and keeps that"
        warnings.append(f"The draw is not stratified: {why}.")
    if labels.drawn < wanted:
        warnings.append(f"{labels.drawn} of {wanted} results are in the queue so far: call again to go on.")
    elif labels.drawn < (request.n or 0):
        warnings.append(
            f"There {'is only 1 result' if labels.drawn == 1 else f'are only {labels.drawn} results'} to draw."
        )
    if labels.unattributed:
        warnings.append(
            f"{labels.unattributed} labels have no author: they came through the API, and nobody knows whether people "
            "gave them."
        )
    if labels.skipped:
        warnings.append(f"{labels.skipped} results were looked at and not labelled.")
    if labels.volunteered:
        warnings.append(
            f"{labels.volunteered} results have labels though they were not drawn: these show as agreement, and "
            "correct nothing."
        )
    if labels.queue_only:
        warnings.append(f"{labels.queue_only} results in the queue were not drawn: they were added by hand.")
    return LabelsAnswer(
        backend=str(ws.gateway.backend),
        queue=await ws.gateway.queue_url(labels.queue.id) or labels.queue.name,
        population=len(labels.results),
        drawn=labels.drawn,
        labelled=labels.given,
        random=len(labels.labelled),
        void=labels.void,
        warnings=warnings,
        next=_next_steps(request, labels),
    )


def _next_steps(request: LabelsRequest, labels: Labels) -> list[NextStep]:
    run: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": request.run_name}
    score: dict[str, JsonValue] = {"score_name": request.score_name}
    step = partial(NextStep, arguments=run | score)
    if labels.given < labels.drawn:
        return [step("request_labels", why="See the progress once people have labelled.")]
    return [
        NextStep("analyze_run", run | score, "See the mean that the labels correct."),
        step("check_judge", why="See whether the judge still scores as it did."),
    ]
