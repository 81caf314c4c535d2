"""What of a run is done by models: its judges, and a prompt that is its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfexp_mcp.gateway.records import Dataset
from lfexp_mcp.model import DatasetItem, ResolvedJudge, RunSpec, models_of
from lfexp_mcp.runs.replay import RunState
from lfexp_mcp.services.experiments.request import RunRequest
from lfexp_mcp.services.experiments.resume_checks import check_score_names, check_versions, judge_progress
from lfexp_mcp.services.workspace import Workspace

if TYPE_CHECKING:
    from lfexp_mcp.model import ResolvedTaskPrompt


@dataclass(frozen=True, slots=True)
class ResolvedPrompts:
    """The judges and the prompt task of a run."""

    judges: tuple[ResolvedJudge, ...] = ()
    warnings: tuple[str, ...] = ()
    task_prompt: ResolvedTaskPrompt | None = None

    @property
    def models(self) -> list[str]:
        """The models that are called."""
        return models_of(self.judges, self.task_prompt)


async def resolve_prompts(
    ws: Workspace,
    request: RunRequest,
    dataset: Dataset,
    items: Sequence[DatasetItem],
    before: RunSpec | None = None,
    state: RunState | None = None,
    versions: Mapping[str, int] | None = None,
) -> ResolvedPrompts:
    """Find the judges and the prompt that a run is asked to have.

    Args:
        ws: The workspace.
        request: What is asked for.
        dataset: The run's dataset.
        items: Its items.
        before: The order that the run was begun with; what the request does not name is that of before, and so are
            the versions of the judges that it names without one.
        state: What the run has done under that order.
        versions: Versions of the judges of a run that another machine began.

    Raises:
        NotFoundError: There is no such prompt.
        JudgeError: A prompt cannot be used, a judge gives a score that the run has of another maker, or the price of a
            model, which `max_cost` needs, is not known.
    """
    kept = (
        ResolvedPrompts(before.judges, before.warnings, before.task_prompt) if before is not None else ResolvedPrompts()
    )
    judges, warnings = kept.judges, kept.warnings
    so_far = judge_progress(before, state) if before is not None and before.judges and state is not None else {}
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
            versions={name: known.judge.version for name, known in so_far.items()} or versions,
        )
        if state is not None:
            check_score_names(found.judges, state)
        judges, warnings = found.judges, found.warnings
    if so_far:
        warnings = tuple(dict.fromkeys((*warnings, *await check_versions(ws, request, judges, so_far))))
    prompt = await _resolve_task(ws, request, items) if request.names_task else kept.task_prompt
    work = ResolvedPrompts(judges, warnings, prompt)
    if request.max_cost is not None and work.models:
        from lfexp_mcp.judges.budget import Budget
        from lfexp_mcp.judges.prices import open_prices

        prices = await open_prices(await ws.gateway.model_prices(), work.models)
        Budget(request.max_cost, prices).check(work.models)
    return work


async def _resolve_task(ws: Workspace, request: RunRequest, items: Sequence[DatasetItem]) -> ResolvedTaskPrompt | None:
    if request.task_prompt is None:
        return None
    from lfexp_mcp.judges.prompt_task import resolve_task_prompt

    return await resolve_task_prompt(
        ws.gateway, ws.settings, request.task_prompt, items, model=request.model, provider=request.provider
    )
