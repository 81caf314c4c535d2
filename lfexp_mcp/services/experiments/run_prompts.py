"""The judges of a run and the prompt that is its task, also of a run that is resumed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.judges.prompts import parse_reference
from lfexp_mcp.model import DatasetItem, JudgeMaker, ResolvedJudge, RunRecord, RunSpec
from lfexp_mcp.services.requests import RunRequest, ScoringRequest
from lfexp_mcp.services.runs.outdated_judges import find_outdated
from lfexp_mcp.services.spending import check_budget
from lfexp_mcp.services.workspace import Workspace


async def resolve_prompts(
    ws: Workspace,
    request: RunRequest,
    run_spec: RunSpec,
    dataset: Dataset,
    items: Sequence[DatasetItem],
    record: RunRecord | None = None,
) -> RunSpec:
    """Add the judges and the prompt task that a request names to a run spec; the others stay.

    Args:
        run_spec: The run so far. Judges that the request names without a version keep the one they have there.
        record: What the run has done so far, on any machine; None for a new one.

    Raises:
        NotFoundError: There is no such prompt.
        JudgeError: A prompt cannot be used, it is open which version of a judge to ask, or `max_cost` is set and the
            price of a model is not known.
    """
    task_prompt = run_spec.task_prompt
    progress = _judge_progress(record) if record is not None else {}
    versions = {name: known.maker.version for name, known in progress.items() if known.maker.version is not None}
    run_spec = await resolve_judges(ws, request, run_spec, dataset, items, versions)
    if progress:
        found = await _check_versions(ws, request, run_spec.judges, progress)
        run_spec = run_spec.model_copy(update={"warnings": tuple(dict.fromkeys((*run_spec.warnings, *found)))})
    if request.task_prompt is not None:
        from lfexp_mcp.judges.model_choice import parameter_warnings
        from lfexp_mcp.judges.prompt_task import resolve_task_prompt

        task_prompt = await resolve_task_prompt(
            ws.gateway,
            ws.settings,
            request.task_prompt,
            items,
            run_spec.params,
            model=request.model,
            provider=request.provider,
        )
        warnings = dict.fromkeys((*run_spec.warnings, *parameter_warnings(task_prompt)))
        run_spec = run_spec.model_copy(update={"warnings": tuple(warnings)})
    elif request.names_task:
        task_prompt = None
    run_spec = run_spec.model_copy(update={"task_prompt": task_prompt})
    return await within_budget(ws, request, run_spec)


async def within_budget(ws: Workspace, request: ScoringRequest, run_spec: RunSpec) -> RunSpec:
    """Return a run spec with a warning where what it may cost is not limited strictly.

    Raises:
        JudgeError: `max_cost` is set and the price of a model is not known.
    """
    if request.max_cost is None:
        return run_spec
    from lfexp_mcp.judges.budget import budget_warnings

    await check_budget(ws, request.max_cost, run_spec.models)
    warnings = dict.fromkeys((*run_spec.warnings, *budget_warnings(request.max_cost, run_spec.prompts)))
    return run_spec.model_copy(update={"warnings": tuple(warnings)})


async def resolve_judges(
    ws: Workspace,
    request: ScoringRequest,
    run_spec: RunSpec,
    dataset: Dataset,
    items: Sequence[DatasetItem],
    versions: Mapping[str, int] | None = None,
    against: str | None = None,
) -> RunSpec:
    """Take over the judges that a request names, if it names any, with warnings about them.

    Args:
        run_spec: The run so far.
        versions: The versions of the judges that the request names without one. Those of them that the run spec has
            stay as they are, with their models.
        against: The run whose outputs the judges compare with, if they are pairwise ones.

    Raises:
        NotFoundError: There is no such prompt.
        JudgeError: A prompt cannot be used.
    """
    if not request.names_judges:
        return run_spec
    # Imported here, since most runs need no model.
    from lfexp_mcp.judges.discovery import find_judges

    found = await find_judges(
        ws.gateway,
        ws.settings,
        dataset,
        items,
        names=request.judges,
        use_langfuse_judges=request.use_langfuse_judges,
        samples=request.judge_samples,
        versions=versions,
        against=against,
    )
    known = {(judge.name, judge.version): judge for judge in run_spec.judges}
    judges = tuple(
        known.get((judge.name, judge.version), judge).model_copy(update={"samples": judge.samples})
        for judge in found.judges
    )
    return run_spec.model_copy(update={"judges": judges, "warnings": found.warnings})


@dataclass(frozen=True, slots=True)
class _JudgeProgress:
    maker: JudgeMaker
    scored: int
    """Results that it has scored, in this version."""
    failures: Counter[str]
    """Why it did not score others."""


def _judge_progress(record: RunRecord) -> dict[str, _JudgeProgress]:
    """Count what the judges of a run have done so far, by the names of their prompts."""
    makers = Counter(score.maker for score in record.bare_scores)
    missing = [failure for item in record.items for failure in item.unscored]
    return {
        judge.prompt: _JudgeProgress(
            judge,
            sum(count for maker, count in makers.items() if judge.is_same(maker)),
            Counter(
                failure.error
                for failure in missing
                if failure.name == name and (failure.maker is None or judge.is_same(failure.maker))
            ),
        )
        for name, judge in (record.plan.judges if record.plan else {}).items()
    }


async def _check_versions(
    ws: Workspace, request: RunRequest, judges: Sequence[ResolvedJudge], progress: Mapping[str, _JudgeProgress]
) -> list[str]:
    """Check the judge versions that a resume is going to ask.

    Returns:
        Warnings about versions that differ.

    Raises:
        JudgeError: A version that failed on results would be asked again although there is a newer one, and the
            request does not name the version or a label.
    """
    warnings = []
    failing = []
    for judge in judges:
        known = progress.get(judge.name)
        if known is None:
            continue
        if judge.version == known.maker.version:
            if known.failures:
                failing.append(judge.maker)
        elif known.scored:
            warnings.append(
                f"Judge {judge.name!r} scores all results in version {judge.version}; the {known.scored} scores of "
                f"version {known.maker.version} stay, as another score."
            )
    references = [parse_reference(name) for name in request.judges or ()]
    chosen = {one.name for one in references if one.version is not None or one.label is not None}
    for newer in await find_outdated(ws, failing):
        known = progress[newer.name]
        if newer.name in chosen:
            warnings.append(newer.advice)
            continue
        ((reason, _),) = known.failures.most_common(1)
        failed = known.failures.total()
        named = {judge.name: f"{judge.name}:{judge.version}" for judge in judges}
        raise JudgeError(
            f"Judge {newer.name!r} failed on {failed} of {known.scored + failed} results in version {newer.version}, "
            f"mostly because: {reason} Its latest version is {newer.latest}. Say in `judges` which one to ask; another "
            "version scores all results, since scores of two versions have no common mean.",
            next=[
                request.step("Ask the latest version.", judges=[*(named | {newer.name: newer.reference}).values()]),
                request.step("Ask the same version again.", judges=[*named.values()]),
            ],
        )
    return warnings
