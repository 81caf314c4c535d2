"""From a request to a run's order: the dataset's items, the judges, the run's folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread

from lfexp_mcp.errors import NotFoundError, RunExistsError, ScriptError, UsageError
from lfexp_mcp.files import MAX_SCRIPT_BYTES, locate, open_regular
from lfexp_mcp.gateway.records import Dataset, Experiment
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import DatasetItem, ExperimentHead, Limits, RunSpec, Scale
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.runs.journal import Event
from lfexp_mcp.scores.resolution import scales_of_configs
from lfexp_mcp.services.experiments.journal_import import read_results
from lfexp_mcp.services.experiments.live_dataset import sample_live, store_live
from lfexp_mcp.services.experiments.request import RunRequest
from lfexp_mcp.services.experiments.resolved_prompts import resolve_prompts
from lfexp_mcp.services.experiments.workers import working_folder
from lfexp_mcp.services.runs.completeness import Completeness, read_completeness
from lfexp_mcp.services.workspace import Workspace

DRY_RUN_ITEMS = 2
SCORED_ELSEWHERE = (
    "This machine does not know which evaluators scored the results that Langfuse has: those that have scores were not "
    "scored again, also not by an evaluator that is new. A new run name scores all."
)
FREE_PATIENCE = 30.0
FREE_POLL = 0.05
"""Seconds that a resume waits for a process that has the run in its hands without carrying it out."""


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """An order, ready to be written to its folder."""

    folder: RunFolder
    run_spec: RunSpec
    items: Sequence[DatasetItem] | None
    """None keeps the items that the folder has."""
    earlier: Sequence[Event] = ()
    """What another machine did of the run, for a journal that begins here."""

    @property
    def is_new(self) -> bool:
        """Whether the run begins, rather than goes on."""
        return self.items is not None

    def write(self) -> None:
        """Write it.

        Raises:
            RunExistsError: Another process has begun the same run meanwhile.
            StateError: The folder cannot be written.
        """
        held = self.folder.is_held()
        if held or (self.is_new and self.folder.has_started()):
            raise _exists(self.run_spec.run_name, self.run_spec.dataset_name, at_work=held)
        self.folder.write_run_spec(self.run_spec, self.items)
        if self.earlier:
            journal = self.folder.open_journal()
            journal.append(*self.earlier)
            journal.close()


async def prepare_run(ws: Workspace, request: RunRequest) -> PreparedRun:
    """Check a request against Langfuse and this machine, and work its order out.

    Raises:
        LfexpError: As `starting.run_experiment`.
    """
    for script, kind in ((request.task_script, "task"), (request.evaluator_script, "evaluator")):
        if script is not None:
            _check_script(script, kind)
    ws.runs.prepare()
    if request.dry_run:
        return await _dry_order(ws, request)
    if request.source_type == "live":
        dataset = await store_live(ws, request.run_name, request.sample_size)
    else:
        dataset = await ws.gateway.dataset(request.dataset or "")
    heads = await _heads(ws, dataset, request)
    folder = ws.runs.folder(heads[0].id)
    if folder.has_started():
        return await _continue_order(ws, folder, request, dataset)
    return await _begin_order(ws, folder, request, dataset, heads)


async def _dry_order(ws: Workspace, request: RunRequest) -> PreparedRun:
    """The order of a run of a few items, of which nothing is stored."""
    if request.source_type == "live":
        sample = await sample_live(ws, request.run_name, request.sample_size)
        dataset, items = sample.dataset, sample.items
    else:
        dataset = await ws.gateway.dataset(request.dataset or "")
        items = await ws.gateway.dataset_items(dataset.name)
    heads = await _heads(ws, dataset, request)
    whole = await _new_run_spec(ws, request, dataset, items, heads)
    few = items[:DRY_RUN_ITEMS]
    changes = {"item_count": len(few), "dry_run_of": whole.total_items, "experiments": whole.experiments[:1]}
    return PreparedRun(ws.runs.dry_folder(), whole.model_copy(update=changes), few)


async def _begin_order(
    ws: Workspace, folder: RunFolder, request: RunRequest, dataset: Dataset, heads: Sequence[ExperimentHead]
) -> PreparedRun:
    """The order of a run that this machine does not know: a new one, or one that another machine began."""
    items, taken = await _read(ws, dataset, heads)
    experiment = taken.get(request.run_name)
    if taken and not request.resume:
        raise _exists(min(taken), dataset.name, at_work=False)
    if experiment is None and request.resume:
        raise NotFoundError(
            f"There is no run {request.run_name!r} of dataset {dataset.name!r} to resume. "
            "list_runs names those that exist; leave `resume` out to begin it."
        )
    if not request.names_task:
        raise UsageError(
            f"Run {request.run_name!r} was begun on another machine, so that its task is not known here. Pass "
            "task_script or task_prompt, and the evaluators and judges that it had."
        )
    whole = await read_completeness(ws, experiment) if experiment is not None else None
    run_spec = await _new_run_spec(ws, request, dataset, items, heads, whole)
    earlier = await read_results(ws, whole, heads) if whole is not None else ()
    if earlier and (run_spec.evaluator_script or run_spec.judges):
        run_spec = run_spec.model_copy(update={"warnings": (*run_spec.warnings, SCORED_ELSEWHERE)})
    return PreparedRun(folder, run_spec, items, earlier)


async def _new_run_spec(
    ws: Workspace,
    request: RunRequest,
    dataset: Dataset,
    items: Sequence[DatasetItem],
    heads: Sequence[ExperimentHead],
    whole: Completeness | None = None,
) -> RunSpec:
    if not items:
        raise UsageError(f"Dataset {dataset.name!r} has no items. Add some with create_dataset, then run again.")
    work = await resolve_prompts(ws, request, dataset, items, versions=whole.judge_versions if whole else None)
    return RunSpec(
        created=datetime.now(UTC),
        project_id=await ws.gateway.project_id(),
        base_url=ws.gateway.backend.url,
        public_key=ws.gateway.public_key,
        dataset_id=dataset.id,
        dataset_name=dataset.name,
        dataset_version=_version_of(dataset, items),
        item_count=len(items),
        experiments=tuple(heads),
        description=request.description,
        metadata=request.metadata or {},
        task_script=_absolute(request.task_script),
        task_prompt=work.task_prompt,
        evaluator_script=_absolute(request.evaluator_script),
        score_scales=await _score_scales(ws, request.evaluator_script),
        judges=work.judges,
        warnings=work.warnings,
        python=request.python,
        working_folder=working_folder(),
        limits=_limits(ws, request),
    )


async def _heads(ws: Workspace, dataset: Dataset, request: RunRequest) -> list[ExperimentHead]:
    """The experiments that the run's repetitions are."""
    names = (repeat_name(request.run_name, repeat) for repeat in range(request.repeats))
    return [ExperimentHead(id=await ws.gateway.experiment_id(dataset.id, name), name=name) for name in names]


async def _continue_order(ws: Workspace, folder: RunFolder, request: RunRequest, dataset: Dataset) -> PreparedRun:
    """The order of a run that this machine knows: the same items, the limits of now, and what the request names."""
    at_work = folder.is_at_work()
    if at_work or not request.resume:
        raise _exists(request.run_name, dataset.name, at_work=at_work)
    await _until_free(folder)
    before = folder.run_spec()
    if request.repeats not in (1, before.repeats):
        raise UsageError(
            f"Run {request.run_name!r} has repeats={before.repeats}, and a resume cannot change that: leave `repeats` "
            "out, or use another run name."
        )
    items = list(folder.items())
    state = await anyio.to_thread.run_sync(folder.read_state)
    work = await resolve_prompts(ws, request, dataset, items, before, state)
    evaluator_script = _absolute(request.evaluator_script) or before.evaluator_script
    changes = {
        "task_script": _absolute(request.task_script) if request.names_task else before.task_script,
        "task_prompt": work.task_prompt,
        "evaluator_script": evaluator_script,
        "score_scales": await _score_scales(ws, evaluator_script),
        "judges": work.judges,
        "warnings": work.warnings,
        "python": request.python or before.python,
        "description": before.description if request.description is None else request.description,
        "metadata": before.metadata if request.metadata is None else request.metadata,
        "working_folder": working_folder(),
        "limits": _limits(ws, request),
    }
    return PreparedRun(folder, before.model_copy(update=changes), None)


async def _score_scales(ws: Workspace, evaluator_script: Path | None) -> dict[str, Scale]:
    """What score configs state at the start of a run: the scale of a script's score that declares none."""
    return scales_of_configs(await ws.gateway.score_configs()) if evaluator_script is not None else {}


async def _until_free(folder: RunFolder) -> None:
    """Let a worker that has told the run's end leave, and one that only delivers have its say."""
    with anyio.move_on_after(FREE_PATIENCE):
        while folder.is_held():  # noqa: ASYNC110 - nobody tells of it
            await anyio.sleep(FREE_POLL)


async def _read(
    ws: Workspace, dataset: Dataset, heads: Sequence[ExperimentHead]
) -> tuple[list[DatasetItem], dict[str, Experiment]]:
    """Read the dataset's items, and those of the experiments that exist, by name."""
    items: list[DatasetItem] = []
    taken: dict[str, Experiment] = {}

    async def read_items() -> None:
        nonlocal items
        items = await ws.gateway.dataset_items(dataset.name)

    async def look(name: str) -> None:
        experiment = await ws.gateway.experiment(dataset.id, name)
        if experiment is not None:
            taken[name] = experiment

    async with open_group() as group:
        group.start_soon(read_items)
        for head in heads:
            group.start_soon(look, head.name)
    return items, taken


def _version_of(dataset: Dataset, items: Sequence[DatasetItem]) -> datetime:
    """The time of the newest change to a dataset's items."""
    return max((item.updated for item in items if item.updated is not None), default=dataset.created)


def _limits(ws: Workspace, request: RunRequest) -> Limits:
    return Limits(
        max_concurrency=request.max_concurrency,
        item_timeout=request.item_timeout,
        run_timeout=request.run_timeout,
        task_retries=request.task_retries,
        fail_on_error=request.failure_limit,
        max_cost=request.max_cost,
        delivery_patience=ws.settings.delivery_patience,
        # The embedded store shows at once what it has acknowledged.
        visibility_delay=0.0 if ws.gateway.backend.kind == "embedded" else ws.settings.visibility_delay,
        cancel_grace=ws.settings.cancel_grace,
    )


def _check_script(script: Path, kind: str) -> None:
    """Refuse early what needs no worker to see."""
    open_regular(script, f"{kind} script", MAX_SCRIPT_BYTES, ScriptError).close()
    if locate(script, f"{kind} script", ScriptError).suffix != ".py":
        raise ScriptError(f"The {kind} script {script} is not a Python file: its name must end in .py.")


def _absolute(path: Path | None) -> Path | None:
    return locate(path, "script", ScriptError) if path is not None else None


def _exists(run_name: str, dataset: str, *, at_work: bool) -> RunExistsError:
    if at_work:
        return RunExistsError(
            f"Run {run_name!r} of dataset {dataset!r} is at work. Wait for it with get_run, stop it with cancel_run, "
            "or use another run name."
        )
    return RunExistsError(
        f"Run {run_name!r} of dataset {dataset!r} has results already. Use another run name, "
        "or resume=true to run only what is missing or failed."
    )
