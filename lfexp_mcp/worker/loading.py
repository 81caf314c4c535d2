"""Check everything about a run that can be checked before its first item, and load the user's code."""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lfexp_mcp.environment import set_variables
from lfexp_mcp.errors import ScriptError
from lfexp_mcp.evaluators import build_evaluator
from lfexp_mcp.files import MAX_SCRIPT_BYTES, open_regular
from lfexp_mcp.model import (
    BuiltInMaker,
    DatasetItem,
    EvaluatorInfo,
    Provenance,
    ProviderName,
    ResolvedPrompt,
    RunPlan,
    RunSpec,
    ScriptMaker,
    changed_code,
)
from lfexp_mcp.runs.events import Warned, WorkerAccepted
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.runs.sources import keep_sources
from lfexp_mcp.runs.span_batches import drop_unrecorded
from lfexp_mcp.scripts import EvaluatorSet, RunEvaluator, ScriptEvaluator, Task, load_evaluators, load_task
from lfexp_mcp.scripts.modules import import_from_source, loaded_sources
from lfexp_mcp.settings import Settings
from lfexp_mcp.worker.engine import Cluster, connect
from lfexp_mcp.worker.isolation import RunLog
from lfexp_mcp.worker.item_evaluators import ScriptMakers
from lfexp_mcp.worker.provenance import collect_provenance, git_state

if TYPE_CHECKING:
    from lfexp_mcp.worker.loopback_models import LoopbackModels


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run that is ready to start."""

    folder: RunFolder
    run_spec: RunSpec
    state: RunState
    """As earlier workers left it."""
    task: Task | ResolvedPrompt | None
    """None where existing results are only scored."""
    evaluators: Sequence[tuple[ScriptEvaluator, ScriptMakers]]
    run_evaluators: Sequence[tuple[RunEvaluator, ScriptMakers]]
    plan: RunPlan
    provenance: Provenance
    journal: JournalWriter
    outbox: Outbox
    log: RunLog
    cluster: Cluster | None = None
    """Where the user's code is called, if not in this process."""
    models: "LoopbackModels | None" = None
    """Stands before the models of a run that is recorded or replayed."""

    def items(self) -> Iterator[DatasetItem]:
        """Read the run's dataset items, one at a time.

        Raises:
            StateError: They cannot be read.
        """
        return self.folder.items(self.run_spec)

    @property
    def scores_only(self) -> bool:
        """Whether no task is called."""
        return self.task is None

    @property
    def providers(self) -> set[ProviderName]:
        """The providers of the models that the run calls."""
        judges = {judge.provider for judge in self.run_spec.judges}
        return judges | {self.task.provider} if isinstance(self.task, ResolvedPrompt) else judges


def load_run(
    folder: RunFolder, state: RunState, journal: JournalWriter, settings: Settings, *, scores_only: bool = False
) -> LoadedRun:
    """Load a run, or what its results are to be scored with, and journal that it is accepted.

    No event loop is running yet, so that scripts may run theirs while they are imported.

    Raises:
        LfexpError: The run cannot start.
        OSError: A file of it cannot be read.
    """
    run_spec = (folder.scoring() if scores_only else None) or folder.next_run_spec()
    log = _enter(folder, run_spec, settings)
    git = git_state(run_spec)
    models = None if scores_only else _open_models(settings, run_spec)
    cluster = None if scores_only else connect(run_spec)
    task, scripts, imported = _load_scripts(run_spec, scores_only=scores_only)
    provenance = collect_provenance(run_spec, imported, git)
    if run_spec.confirmation is not None:
        _check_code(run_spec, provenance)
    elif not scores_only:
        keep_sources(folder, loaded_sources.values())
    script, scales = provenance.script_maker, run_spec.score_scales
    evaluators = [(each, ScriptMakers(each, script, scales)) for each in scripts.evaluators]
    run_evaluators = [(each, ScriptMakers(each, script, scales)) for each in scripts.run_evaluators]
    judges = [judge.maker for judge in run_spec.judges]
    plan = RunPlan.of(run_spec, (*judges, *(makers.default for _, makers in evaluators)))
    described = (*map(EvaluatorInfo.of_judge, judges), *_describe(evaluators, run_evaluators))
    provenance = replace(provenance, evaluators=described, plan=plan)
    outbox = _open_outbox(folder, run_spec, state)
    if not scores_only:
        folder.adopt_next_run_spec()
    results = _count_results(folder, run_spec, state) if scores_only else 0
    warnings = (*scripts.warnings, *_ambiguous_modules(run_spec, imported), *_confused(task, run_spec.params))
    journal.append(
        WorkerAccepted(pid=os.getpid(), provenance=provenance, to_score=results),
        *(Warned(text=text) for text in warnings),
    )
    return LoadedRun(
        folder=folder,
        run_spec=run_spec,
        state=state,
        task=task,
        evaluators=evaluators,
        run_evaluators=run_evaluators,
        plan=plan,
        provenance=provenance,
        journal=journal,
        outbox=outbox,
        log=log,
        models=models,
        cluster=cluster,
    )


def _enter(folder: RunFolder, run_spec: RunSpec, settings: Settings) -> RunLog:
    """Prepare the process for the user's code."""
    for _ in folder.items(run_spec):
        # All are read, so that a damaged one is noticed before the first is run.
        pass
    # What the code of a confirmation prints may be of held-out items, which nobody is shown.
    log = RunLog(Path(os.devnull) if run_spec.confirmation else folder.log_path)
    os.chdir(run_spec.working_folder)
    folders = settings.script_folders
    import_from_source(run_spec.kept_sources, partial(_read_within, folders) if folders else None)
    return log


def _open_models(settings: Settings, run_spec: RunSpec) -> "LoopbackModels | None":
    """Open what stands before the models of a run that is recorded or replayed."""
    if run_spec.recording is None:
        return None
    # Most runs need none of the server that this imports.
    from lfexp_mcp.worker.loopback_models import open_loopback_models

    models = open_loopback_models(settings, run_spec, run_spec.recording)
    set_variables(models.variables)
    return models


def _open_outbox(folder: RunFolder, run_spec: RunSpec, state: RunState) -> Outbox:
    drop_unrecorded(folder.outbox_path, run_spec, state)
    outbox = Outbox(folder.outbox_path)
    # A proxy may have refused the spans in Langfuse's name.
    outbox.retry_refused()
    state.refused.clear()
    return outbox


def _count_results(folder: RunFolder, run_spec: RunSpec, state: RunState) -> int:
    """Count the good results, all of which are to be scored."""
    items = run_spec.open_items(folder.items(run_spec))
    return sum(state.succeeded((repeat, item.id)) for item in items for repeat in range(run_spec.repeats))


def _read_within(folders: Sequence[Path], path: Path) -> bytes:
    """Read a script of the folders that it has to lie in: the server checked its path, which may be another by now."""
    with open_regular(path, "script", MAX_SCRIPT_BYTES, ScriptError, folders) as file:
        return file.read()


def _check_code(run_spec: RunSpec, provenance: Provenance) -> None:
    """Check that a confirmation runs the very code that was measured.

    Raises:
        ScriptError: It does not.
    """
    changed = changed_code(run_spec.measured, provenance.code)
    if changed:
        run = run_spec.confirmation.of if run_spec.confirmation else run_spec.run_name
        raise ScriptError(
            f"This is not the code that run {run!r} measured: {', '.join(changed)} differ. Restore it, or measure the "
            "current code in a run of its own first."
        )


def _load_scripts(
    run_spec: RunSpec, *, scores_only: bool
) -> tuple[Task | ResolvedPrompt | None, EvaluatorSet, set[str]]:
    """Load the task and the evaluators; return them, and the names of the modules they imported."""
    before = set(sys.modules)
    for script in (run_spec.evaluator_script, run_spec.task_script):
        if script is not None and str(script.parent) not in sys.path:
            sys.path.insert(0, str(script.parent))
    task: Task | ResolvedPrompt | None = run_spec.task_prompt
    if run_spec.task_script is not None:
        task = load_task(run_spec.task_script, with_params=bool(run_spec.params))
    if task is None and not scores_only:
        raise ScriptError("The run has no task. Pass task_script or task_prompt.")
    evaluators = EvaluatorSet()
    if run_spec.evaluator_script is not None:
        evaluators = load_evaluators(run_spec.evaluator_script)
    imported = set(sys.modules) - before
    built_ins = map(build_evaluator, run_spec.evaluators)
    return task, evaluators.with_built_ins(built_ins, run_spec.judged_scores), imported


def _ambiguous_modules(run_spec: RunSpec, imported: Iterable[str]) -> Iterator[str]:
    """Warn of modules that both scripts' folders have, since only one of them can be imported."""
    if run_spec.task_script is None or run_spec.evaluator_script is None:
        return
    folders = {run_spec.task_script.parent, run_spec.evaluator_script.parent}
    for name in sorted(imported):
        file = getattr(sys.modules.get(name), "__file__", None)
        if len(folders) < 2 or file is None or Path(file).parent not in folders:
            continue
        [other] = folders - {Path(file).parent}
        if (other / Path(file).name).exists():
            yield f"Both scripts' folders have a module {name!r}; the task and the evaluators got {file}."


def _confused(task: Task | ResolvedPrompt | None, params: Collection[str]) -> Iterator[str]:
    """Warn of parameters that an argument of the task is named like."""
    names = task.confused(params) if isinstance(task, Task) else []
    if names:
        listed = ", ".join(names)
        yield f"The task has arguments named {listed}, like keys of params; they are only in its argument `params`."


def _describe(
    evaluators: Iterable[tuple[ScriptEvaluator, ScriptMakers]],
    run_evaluators: Iterable[tuple[RunEvaluator, ScriptMakers]],
) -> Iterator[EvaluatorInfo]:
    """Describe evaluators, as far as their makers are known before they have scored."""
    for evaluator, makers in evaluators:
        yield _info(evaluator.name, "built-in" if evaluator.built_in else "script", makers.default)
    for run_evaluator, makers in run_evaluators:
        yield _info(run_evaluator.name, "run", makers.default)


def _info(name: str, kind: Literal["script", "run", "built-in"], maker: ScriptMaker | BuiltInMaker) -> EvaluatorInfo:
    made_by = maker.named if isinstance(maker, BuiltInMaker) else None
    if maker.scale is None:
        return EvaluatorInfo(name, kind, made_by=made_by)
    return EvaluatorInfo(name, kind, scale=maker.scale.name, scale_source=maker.scale_source, made_by=made_by)
