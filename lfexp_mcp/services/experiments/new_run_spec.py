"""The run spec of what was asked for: of a new run, and of a resume, which takes over what it names."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.errors import ScriptError, UsageError
from lfexp_mcp.files import MAX_SCRIPT_BYTES, open_regular
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.model import (
    FAMILY_KEY,
    EngineOptions,
    ExperimentHead,
    RunRecord,
    RunSpec,
    cluster_address,
    param_changes,
)
from lfexp_mcp.runs.identity import repeat_name
from lfexp_mcp.services.experiments.choosing import ChosenItems
from lfexp_mcp.services.experiments.early_stopping import check_rule
from lfexp_mcp.services.experiments.run_prompts import resolve_prompts
from lfexp_mcp.services.experiments.workers import working_folder
from lfexp_mcp.services.requests import RunRequest, ScoringRequest, VariantRequest
from lfexp_mcp.services.workspace import Workspace


def check_params(request: RunRequest, params: dict[str, JsonValue] | None) -> None:
    """Refuse other parameters than those that a run was begun with; None if these are not known."""
    if request.params is None or (params is not None and not param_changes(params, request.params)):
        return
    changes = "which are not known" if params is None else ", ".join(param_changes(params, request.params))
    raise UsageError(
        f"Run {request.run_name!r} was begun with other params ({changes}), and one run has one set. Use another run "
        "name, or omit `params` to go on with its own.",
        next=[request.step("Go on with its own.", params=None)],
    )


async def new_run_spec(
    ws: Workspace,
    request: RunRequest,
    dataset: Dataset,
    chosen: ChosenItems,
    heads: Sequence[ExperimentHead],
    record: RunRecord | None = None,
) -> RunSpec:
    """Write the run spec of a new run, or of one that another machine began.

    Args:
        dataset: Its dataset.
        chosen: The items that it is about.
        heads: Its experiments.
        record: What Langfuse has of it, if another machine began it.

    Raises:
        UsageError: A resume names other parameters or another stopping rule.
    """
    own: dict[str, object]
    if record is not None:
        provenance = record.provenance
        params = (provenance.params if provenance else None) or {}
        check_params(request, params if provenance else None)
        check_rule(request, record.plan.stopping if record.plan else None)
        own = {
            "params": params,
            "stopping": record.plan.stopping if record.plan else None,
            "sweep": provenance.sweep if provenance else None,
        }
    else:
        own = {"params": request.params or {}, "sweep": request.sweep if isinstance(request, VariantRequest) else None}
    run_spec = (await bare_run_spec(ws, dataset, chosen, heads)).model_copy(update=own)
    run_spec = await resolve_prompts(ws, request, run_spec, dataset, chosen.items, record)
    run_spec = run_spec.model_copy(update={"warnings": (*chosen.notes, *run_spec.warnings)})
    return await with_request(ws, request, run_spec, record.metadata if record else None)


async def bare_run_spec(
    ws: Workspace, dataset: Dataset, chosen: ChosenItems, heads: Sequence[ExperimentHead]
) -> RunSpec:
    """Write the run spec of some items of a dataset, without what runs or scores them."""
    return RunSpec(
        created=datetime.now(UTC),
        project_id=await ws.gateway.project_id(),
        base_url=ws.gateway.backend.url,
        public_key=ws.gateway.public_key,
        dataset_id=dataset.id,
        dataset_name=dataset.name,
        dataset_version=chosen.dataset_version or dataset.created,
        item_count=len(chosen.items),
        part=chosen.part,
        holdout=dataset.holdout.digest if dataset.holdout else None,
        experiments=tuple(heads),
        working_folder=working_folder(),
    )


async def with_request(
    ws: Workspace, request: RunRequest, run_spec: RunSpec, begun_with: Mapping[str, JsonValue] | None
) -> RunSpec:
    """Take over what a request names beside judges and prompts; the rest stays as it was.

    A resume cannot declare another family of candidates: by then, results may have been seen.
    """
    metadata = run_spec.metadata if request.metadata is None else request.metadata
    if begun_with is not None:
        metadata = {key: value for key, value in metadata.items() if key != FAMILY_KEY}
        metadata |= {key: value for key, value in begun_with.items() if key == FAMILY_KEY}
    run_spec = run_spec.model_copy(
        update={
            "task_script": check_script(ws, request.task_script, "task")
            if request.names_task
            else run_spec.task_script,
            "description": run_spec.description if request.description is None else request.description,
            "metadata": metadata,
        }
    )
    return await with_scoring(ws, request, with_engine(ws, request, run_spec))


def with_engine(ws: Workspace, request: RunRequest, run_spec: RunSpec) -> RunSpec:
    """Take over the engine that a request names, with the cluster of the settings where it names none.

    Raises:
        UsageError: The run cannot use it.
    """
    if request.engine is None:
        return run_spec
    if request.engine == "ray" and (run_spec.recording is not None or run_spec.task_prompt is not None):
        raise UsageError("Engine `ray` runs task scripts, neither prompts nor recordings: leave out `engine`.")
    options = request.engine_options or EngineOptions()
    folder = options.working_dir
    if folder is not None:
        folder = ws.locate(folder, "working_dir")
        if not folder.is_dir():
            raise UsageError(f"working_dir: {folder} is not a folder. Name one that holds the scripts.")
    address = options.address
    if address is None and ws.settings.ray_address is not None:
        try:
            address = cluster_address(ws.settings.ray_address)
        except ValueError as error:
            raise UsageError(f"LFEXP_RAY_ADDRESS: {error}.") from None
    changes = {"address": address, "working_dir": folder}
    options = options.model_copy(update=changes)
    return run_spec.model_copy(update={"engine": request.engine, "engine_options": options})


async def with_scoring(ws: Workspace, request: ScoringRequest, run_spec: RunSpec) -> RunSpec:
    """Take over the evaluator script and the limits that a request names."""
    evaluator_script = check_script(ws, request.evaluator_script, "evaluator") or run_spec.evaluator_script
    return run_spec.model_copy(
        update={
            "evaluator_script": evaluator_script,
            "evaluators": request.built_in_evaluators or run_spec.evaluators,
            "score_scales": await ws.gateway.score_scales() if evaluator_script is not None else {},
            "variant_of": request.variant_of if isinstance(request, VariantRequest) else run_spec.variant_of,
            "python": request.python or run_spec.python,
            "working_folder": working_folder(),
            "limits": request.limits(
                delivery_patience=ws.settings.delivery_patience,
                # The embedded store shows at once what it has acknowledged.
                visibility_delay=0.0 if ws.gateway.backend.kind == "embedded" else ws.settings.visibility_delay,
                cancel_grace=ws.settings.cancel_grace,
            ),
        }
    )


async def heads_of(ws: Workspace, dataset: Dataset, run_name: str, repeats: int) -> list[ExperimentHead]:
    """Name the experiments of a run: one per repetition."""
    names = (repeat_name(run_name, repeat) for repeat in range(repeats))
    return [ExperimentHead(id=await ws.gateway.experiments.id_of(dataset.id, name), name=name) for name in names]


def check_script(ws: Workspace, path: Path | None, kind: str) -> Path | None:
    """Return the absolute path of a script; refuse what the call may not name, and what no worker could load."""
    if path is None:
        return None
    script = ws.locate(path, f"{kind} script", ScriptError)
    open_regular(script, f"{kind} script", MAX_SCRIPT_BYTES, ScriptError).close()
    if script.suffix != ".py":
        raise ScriptError(f"The {kind} script {path} is not a Python file: its name must end in .py.")
    return script
