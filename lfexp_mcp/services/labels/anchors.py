"""The outputs by which a judge is checked, and the judge as it is now."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError, NotFoundError, UsageError
from lfexp_mcp.judges.discovery import find_judges
from lfexp_mcp.judges.templates import as_text
from lfexp_mcp.model import DatasetItem, ItemResult, JudgeMaker, NextStep, ResolvedJudge, ResultKey, RunRecord
from lfexp_mcp.scores.score_names import name_scores
from lfexp_mcp.services.labels.draw import drawn_first, judge_values, labellable, put_in_order, seed_of
from lfexp_mcp.services.labels.reading import Labels, read_labels
from lfexp_mcp.services.requests import JudgeCheckRequest
from lfexp_mcp.services.runs.completeness import check_measured
from lfexp_mcp.services.runs.read_run import named, read_recorded_run, read_run
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_with_configs
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.labelled_sample import DrawnResult

MIN_ANCHORS = 20
"""Labelled results below which a shift is not estimated."""
GOOD_ANCHORS = 40
"""As many as it takes to tell a shift of about 0.05 from none, for a judge whose scores vary by 0.15 from time to time.
"""
MIN_QUOTED_CHARS = 20
"""Length from which an anchor's input is recognised in a prompt."""


@dataclass(frozen=True, slots=True)
class JudgeCheckPlan:
    """What a check needs to know before the judge is asked."""

    run: ScoredRun
    """The run with the anchors."""
    score: str
    then: JudgeMaker
    judge: ResolvedJudge
    results: tuple[ItemResult, ...]
    """The anchors' results, in the order of the draw."""
    anchors: Mapping[ResultKey, DrawnResult]
    sizes: tuple[int, ...]
    """Of the strata that they were drawn from."""
    against: Mapping[ResultKey, JsonValue] | None = None
    """Of a pairwise judge: the outputs of the other run."""
    changes: Mapping[str, float] | None = None
    """By item: the change of the score from the baseline to the run."""
    warnings: list[str] = field(default_factory=list)


async def prepare_check(ws: Workspace, request: JudgeCheckRequest) -> JudgeCheckPlan:
    """Find the anchors of a check, and the judge.

    Raises:
        NotFoundError: There is no such dataset, run, score or judge.
        UsageError: There are no anchors, or too few.
        JudgeError: The score is not a judge's, or the judge cannot be used.
    """
    anchored = request.baseline or request.run_name
    record = await read_recorded_run(ws, request.dataset, anchored)
    check_measured(record, "to check a judge")
    run = await interpret_with_configs(ws, await named(ws, record))
    makers = run.interpretations[request.score_name].makers if request.score_name in run.interpretations else ()
    if not makers:
        raise NotFoundError.of(f"score of run {anchored!r}", request.score_name, sorted(run.interpretations))
    if all(isinstance(maker, JudgeMaker) and maker.against for maker in makers):
        return await _prepare_pairs(ws, request, run)
    labels = (await read_labels(ws, run, [request.score_name])).get(request.score_name)
    if labels is not None and labels.void is not None:
        # The scores that the draw is about may have been followed by those of another version.
        judged = labels.draw.maker
        if isinstance(judged, JudgeMaker):
            run = await interpret_with_configs(ws, name_scores(record, {request.score_name: judged}))
            labels = (await read_labels(ws, run, [request.score_name]))[request.score_name]
    then = _maker(run, request.score_name)
    labels = _sufficient(request, anchored, labels)
    judge, warnings = await _judge_now(ws, request, run.record, then)
    anchors = {each.key: each for each in labels.labelled if each.judge is not None}
    if len(anchors) < len(labels.labelled):
        warnings.append(f"{len(labels.labelled) - len(anchors)} labelled results had no score then, and are left out.")
    check = JudgeCheckPlan(
        run=run,
        score=request.score_name,
        then=then,
        judge=judge,
        results=_in_order(run.record, anchors, len(labels.strata)),
        anchors=anchors,
        sizes=tuple(stratum.size for stratum in labels.strata),
        changes=await _changes(ws, request, run, judge, warnings) if request.baseline else None,
        warnings=warnings,
    )
    warnings += _quoted(check)
    return check


def _in_order(record: RunRecord, anchors: Mapping[ResultKey, DrawnResult], strata: int) -> tuple[ItemResult, ...]:
    """Return the results of anchors in an order in which the first ones, however many, are from all strata."""
    results = {result.key: result for result in record.items}
    ordered = [[results[key] for key, each in anchors.items() if each.stratum == number] for number in range(strata)]
    return tuple(drawn_first(ordered, [len(stratum) for stratum in ordered]))


def _maker(run: ScoredRun, score: str) -> JudgeMaker:
    """Return the judge whose scores a run has.

    Raises:
        JudgeError: They are not one judge's.
    """
    reading = run.interpretations[score]
    judges = [maker for maker in reading.makers if isinstance(maker, JudgeMaker)]
    if not judges or reading.mixed:
        makers = ", ".join(maker.label for maker in reading.makers)
        raise JudgeError(f"Score {score!r} of run {run.name!r} is not one judge's, but by {makers}.")
    return judges[0]


def _sufficient(request: JudgeCheckRequest, run_name: str, labels: Labels | None) -> Labels:
    """Return labels that can be anchors.

    Raises:
        UsageError: There are none, or too few.
    """
    ask: dict[str, JsonValue] = {"dataset": request.dataset, "run_name": run_name, "score_name": request.score_name}
    step = NextStep("request_labels", {**ask, "n": GOOD_ANCHORS}, "Ask people for them.")
    if labels is None:
        raise UsageError(
            f"Run {run_name!r} has no labelled results of score {request.score_name!r} that were drawn at random, and "
            f"these are what checks a judge. At least {MIN_ANCHORS} are needed; {GOOD_ANCHORS} tell a shift of about "
            "0.05 from none.",
            next=[step],
        )
    if labels.void is not None:
        raise UsageError(f"The labels cannot be anchors. {labels.void}", next=[NextStep("request_labels", ask, "See.")])
    usable = Counter(each.stratum for each in labels.labelled if each.judge is not None)
    lacking = [number for number, stratum in enumerate(labels.strata) if stratum.size and usable[number] < 2]
    if usable.total() < MIN_ANCHORS or lacking:
        missing = max(MIN_ANCHORS - usable.total(), 1)
        raise UsageError(
            f"Only {usable.total()} results of run {run_name!r} are labelled in the order of the draw "
            f"({labels.given} of {labels.drawn} in all): {missing} more are needed at least, at least two of each "
            f"stratum. {GOOD_ANCHORS} tell a shift of about 0.05 from none.",
            next=[step if labels.drawn < MIN_ANCHORS else NextStep("request_labels", ask, "See their progress.")],
        )
    return labels


async def _judge_now(
    ws: Workspace, request: JudgeCheckRequest, record: RunRecord, then: JudgeMaker
) -> tuple[ResolvedJudge, list[str]]:
    dataset = await ws.gateway.datasets.get(request.dataset)
    items = [
        DatasetItem(
            id=each.item_id,
            dataset_id=dataset.id,
            input=each.input,
            expected_output=each.expected_output,
            metadata=each.metadata,
        )
        for each in labellable(record)
    ]
    found = await find_judges(
        ws.gateway,
        ws.settings,
        dataset,
        items,
        names=[request.judge or then.prompt],
        use_langfuse_judges=False,
        against=then.against,
    )
    judge = found.judges[0]
    warnings = [*found.warnings]
    if then.scale is not None and judge.scale != then.scale:
        warnings.append(
            f"The judge scored on {then.scale.name} and now scores on {judge.scale.name}; values are compared on 0-1."
        )
    return judge, warnings


async def _changes(
    ws: Workspace, request: JudgeCheckRequest, baseline: ScoredRun, judge: ResolvedJudge, warnings: list[str]
) -> dict[str, float] | None:
    """Return the change of the score by item, from the baseline as it was judged then to the run as it is judged now.

    None, with a warning, if the run is not scored by the judge as it is now: then the change is not known.
    """
    recorded = await read_recorded_run(ws, request.dataset, request.run_name)
    later = await interpret_with_configs(ws, name_scores(recorded, {request.score_name: judge.maker}))
    reading = later.interpretations.get(request.score_name)
    makers = reading.makers if reading is not None else ()
    if not makers or not all(judge.maker.is_same(maker) for maker in makers):
        by = ", ".join(maker.label for maker in makers) or "nobody"
        warnings.append(
            f"Run {request.run_name!r} is scored by {by}, not by {judge.maker.label}: how far the application has "
            "moved is not known. Score the run with it by score_run."
        )
        return None
    before, after = (run.numbers.get(request.score_name, {}) for run in (baseline, later))
    changes = {item: after[item] - before[item] for item in after if item in before}
    if len(changes) < MIN_ANCHORS:
        warnings.append(
            f"The two runs share {len(changes)} scored items: too few to say how far the application moved."
        )
        return None
    return changes


def _quoted(check: JudgeCheckPlan) -> list[str]:
    """Warn if the prompt quotes anchors: a judge that was shown them agrees with people on these by that alone."""
    prompt = "\n".join(message.content for message in check.judge.messages)
    inputs = [as_text(result.input) for result in check.results]
    quoted = sum(len(text) >= MIN_QUOTED_CHARS and text in prompt for text in inputs)
    if not quoted:
        return []
    warning = (
        f"The prompt of judge {check.judge.name!r} contains the inputs of {quoted} anchors: that it agrees with people "
        "on these shows nothing."
    )
    return [warning]


async def _prepare_pairs(ws: Workspace, request: JudgeCheckRequest, run: ScoredRun) -> JudgeCheckPlan:
    """Prepare the check of a pairwise judge, whose anchors are drawn from its pairs: people label no pairs.

    Raises:
        UsageError: There are too few pairs.
    """
    then = _maker(run, request.score_name)
    other = await read_run(ws, request.dataset, then.against or "")
    outputs = {each.key: each.output for each in other.items if each.status == "succeeded"}
    results = labellable(run.record)
    values = judge_values(run, request.score_name, results)
    pairs = [
        each
        for each in results
        if each.key in values and each.key in outputs and as_text(outputs[each.key]) != as_text(each.output)
    ]
    if len(pairs) < MIN_ANCHORS:
        raise UsageError(
            f"Judge {then.label!r} has compared {len(pairs)} pairs of different outputs: {MIN_ANCHORS - len(pairs)} "
            "more are needed at least to check it.",
        )
    judge, warnings = await _judge_now(ws, request, run.record, then)
    seed = seed_of(run.record.experiment_ids[0], request.score_name)
    drawn = put_in_order(pairs, values, seed, None)[0][:GOOD_ANCHORS]
    warnings.append("A pairwise judge is checked by pairs drawn at random; people's labels are of single outputs.")
    return JudgeCheckPlan(
        run=run,
        score=request.score_name,
        then=then,
        judge=judge,
        results=tuple(drawn),
        anchors={each.key: DrawnResult(*each.key, values[each.key]) for each in drawn},
        sizes=(len(pairs),),
        against=outputs,
        warnings=warnings,
    )
