"""The judges of a run and the prompt that is its task, also of a run that is resumed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.judges.prompts import parse_reference
from lfexp_mcp.model import DatasetItem, JudgeMaker, ResolvedJudge, RunSpec
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.runs.outdated_judges import find_outdated
from lfexp_mcp.services.workspace import Workspace


async def resolve_prompts(
    ws: Workspace,
    request: RunRequest,
    run_spec: RunSpec,
    dataset: Dataset,
    items: Sequence[DatasetItem],
    state: RunState | None = None,
    versions: Mapping[str, int] | None = None,
) -> RunSpec:
    """Add the judges and the prompt task that a request names to a run spec; the others stay.

    Args:
        ws: The workspace.
        request: What is asked for.
        run_spec: The run so far. Judges that the request names without a version keep the one they have there.
        dataset: The run's dataset.
        items: Its items.
        state: What the run has done so far; None for a new one.
        versions: Versions of the judges of a run of another machine.

    Raises:
        NotFoundError: There is no such prompt.
        JudgeError: A prompt cannot be used, a judge gives a score that the run has from another maker, or `max_cost`
            is set and the price of a model is not known.
    """
    judges, warnings, task_prompt = run_spec.judges, run_spec.warnings, run_spec.task_prompt
    progress = _judge_progress(run_spec.judges, state) if state is not None else {}
    if request.names_judges:
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
            versions={name: known.judge.version for name, known in progress.items()} or versions,
        )
        judges, warnings = found.judges, found.warnings
        if state is not None:
            _check_score_names(judges, state)
    if progress:
        warnings = tuple(dict.fromkeys((*warnings, *await _check_versions(ws, request, judges, progress))))
    if request.task_prompt is not None:
        from lfexp_mcp.judges.prompt_task import resolve_task_prompt

        task_prompt = await resolve_task_prompt(
            ws.gateway, ws.settings, request.task_prompt, items, model=request.model, provider=request.provider
        )
    elif request.names_task:
        task_prompt = None
    resolved = run_spec.model_copy(update={"judges": judges, "warnings": warnings, "task_prompt": task_prompt})
    if request.max_cost is not None and resolved.models:
        from lfexp_mcp.judges.budget import Budget
        from lfexp_mcp.judges.prices import open_prices

        prices = await open_prices(await ws.gateway.model_prices(), resolved.models)
        Budget(request.max_cost, prices).check(resolved.models)
    return resolved


@dataclass(frozen=True, slots=True)
class _JudgeProgress:
    judge: ResolvedJudge
    scored: int
    """Results that it has scored, in this version."""
    failures: Counter[str]
    """Why it did not score others."""


def _judge_progress(judges: Sequence[ResolvedJudge], state: RunState) -> dict[str, _JudgeProgress]:
    """Count what the judges of a run have done so far, by the names of their prompts."""
    scored: Counter[tuple[str, int | None]] = Counter()
    failures: dict[str, Counter[str]] = {}
    for item in state.scored.values():
        for score in item.scores:
            if isinstance(score.maker, JudgeMaker):
                scored[score.maker.prompt, score.maker.version] += 1
        for missing in item.unscored:
            failures.setdefault(missing.name, Counter())[missing.error] += 1
    return {
        judge.name: _JudgeProgress(judge, scored[judge.name, judge.version], failures.get(judge.score_name, Counter()))
        for judge in judges
    }


async def _check_versions(
    ws: Workspace, request: RunRequest, judges: Sequence[ResolvedJudge], progress: Mapping[str, _JudgeProgress]
) -> list[str]:
    """Check the judge versions that a resume is going to ask.

    Returns:
        Warnings about versions that differ.

    Raises:
        JudgeError: A version that has scored nothing would be asked again although there is a newer one, and the
            request does not name the version or a label.
    """
    warnings = []
    failing = []
    for judge in judges:
        known = progress.get(judge.name)
        if known is None:
            continue
        if judge.version == known.judge.version:
            if known.failures:
                failing.append(judge.maker)
        elif known.scored:
            warnings.append(
                f"Judge {judge.name!r} version {judge.version} is asked only about what version {known.judge.version} "
                f"did not score: its {known.scored} scores are kept, and no mean is given over both. A new run name "
                "scores all with one version."
            )
    references = [parse_reference(name) for name in request.judges or ()]
    chosen = {one.name for one in references if one.version is not None or one.label is not None}
    for newer in await find_outdated(ws, failing):
        known = progress[newer.name]
        if known.scored or newer.name in chosen:
            warnings.append(newer.advice)
            continue
        ((reason, _),) = known.failures.most_common(1)
        named = {judge.name: f"{judge.name}:{judge.version}" for judge in judges}
        raise JudgeError(
            f"Judge {newer.name!r} has scored none of {known.failures.total()} results in version {newer.version}, "
            f"mostly because: {reason} Its latest version is {newer.latest}. Say in `judges` which one to ask.",
            next=[
                request.step("Ask the latest version.", judges=[*(named | {newer.name: newer.reference}).values()]),
                request.step("Ask the same version again.", judges=[*named.values()]),
            ],
        )
    return warnings


def _check_score_names(judges: Sequence[ResolvedJudge], state: RunState) -> None:
    """Refuse judges of a resume whose score name has scores from another maker, before money is spent on them."""
    for judge in judges:
        others = Counter(
            score.maker.label
            for item in state.scored.values()
            for score in item.scores
            if score.name == judge.score_name
            and not (isinstance(score.maker, JudgeMaker) and score.maker.prompt == judge.name)
        )
        for label, count in others.most_common(1):
            raise JudgeError(
                f"Judge {judge.name!r} gives the score {judge.score_name!r}, of which the run has {count} by {label}. "
                "Set another `score_name` in the config of its prompt, or score all with it under a new run name."
            )
