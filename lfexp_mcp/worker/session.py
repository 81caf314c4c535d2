"""One worker's life with one run: check the order, carry it out, tell how it ended."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import anyio

from lfexp_mcp.errors import LfexpError, RunExistsError, ScriptError, StateError
from lfexp_mcp.model import EvaluatorInfo, ResolvedTaskPrompt, RunMaker, RunPlan, RunSpec, ScriptMaker
from lfexp_mcp.runs.events import Event, RunEnded, Warned, WorkerAccepted, WorkerLoading
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.runs.protocol import Reply, WorkerCommand
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.runs.unrecorded import drop_unrecorded
from lfexp_mcp.scripts import EvaluatorSet, RunEvaluator, ScriptEvaluator, Task, load_evaluators, load_task
from lfexp_mcp.scripts.modules import import_from_source
from lfexp_mcp.worker.control import run_apart
from lfexp_mcp.worker.declaring import ScriptScale
from lfexp_mcp.worker.output import RunLog
from lfexp_mcp.worker.provenance import collect_provenance, git_state
from lfexp_mcp.worker.run import Run, Scripts, deliver
from lfexp_mcp.worker.sdk import Sdk


def carry_out(order: WorkerCommand, answer: Callable[[Reply], None], sdk: Sdk) -> None:
    """Carry an order out.

    Args:
        order: What to do.
        answer: Called when the run's folder is this worker's, and again when the user's code is loaded.
        sdk: Makes the spans.
    """
    if order.run is not None:
        folder = RunFolder(order.run)
        try:
            with folder.worker.locked():
                _run(folder, answer, sdk)
        except RunExistsError as error:
            answer(Reply.of_error(error))
    else:
        answer(Reply())
        answer(Reply())
        anyio.run(_deliver, order.deliver, sdk)


async def _deliver(paths: Sequence[Path], sdk: Sdk) -> None:
    """Send what runs have left; one that another process works on, or that cannot be read, is left to others."""
    for folder in map(RunFolder, paths):
        with suppress(LfexpError, OSError), folder.worker.locked(delivers=True):
            await deliver(folder, sdk)


def _run(folder: RunFolder, answer: Callable[[Reply], None], sdk: Sdk) -> None:
    try:
        state, journal = folder.read_state(), folder.open_journal()
        journal.append(WorkerLoading())
        answer(Reply())
        try:
            run = _prepare(folder, state, journal)
        except LfexpError as error:
            journal.append(*_refusal(state, error))
            raise
    except LfexpError as error:
        answer(Reply.of_error(error))
    except OSError as error:
        answer(Reply.of_error(StateError(f"The run in {folder.path} cannot begin: {error}.")))
    else:
        answer(Reply())
        # `anyio.run` would mark the context that the user's threads inherit, and no `anyio.run` of theirs could begin.
        run_apart(run.carry_out(sdk))


def _refusal(before: RunState, error: LfexpError) -> list[Event]:
    """What the journal keeps of a refusal, for those who did not wait for it: a run that had ended stays as it was."""
    if before.run_ended is None:
        return [RunEnded(status="failed", reason=str(error))]
    return [Warned(text=f"It was not resumed: {error}"), before.run_ended]


def _prepare(folder: RunFolder, state: RunState, journal: JournalWriter) -> Run:
    """Check all that can be checked before the first item; no event loop runs here, so that scripts may run theirs."""
    run_spec = folder.next_run_spec()
    items = list(folder.items())
    log = RunLog(folder.log_path)
    os.chdir(run_spec.working_folder)
    import_from_source()
    git = git_state(run_spec)
    scripts, imported = _load_scripts(run_spec)
    provenance = collect_provenance(run_spec, _describe_evaluators(scripts), imported, git)
    plan = RunPlan(
        run_spec.item_count, run_spec.repeats, run_spec.judged_scores, _makers(scripts, provenance.script_maker)
    )
    provenance = replace(provenance, plan=plan)
    drop_unrecorded(folder.outbox_path, run_spec, state)
    outbox = Outbox(folder.outbox_path)
    # A resume asks once more: a proxy may have refused in Langfuse's name.
    outbox.retry_refused()
    state.refused.clear()
    folder.adopt_next_run_spec()
    journal.append(
        WorkerAccepted(pid=os.getpid(), provenance=provenance),
        *(Warned(text=sentence) for sentence in (*scripts.evaluators.warnings, *_shared_names(run_spec, imported))),
    )
    return Run(folder, run_spec, items, state, scripts, plan, provenance, journal, outbox, log)


def _makers(scripts: Scripts, script: ScriptMaker) -> tuple[RunMaker, ...]:
    return (
        *(judge.maker for judge in scripts.judges),
        *(ScriptScale.of(evaluator, script, {}).maker for evaluator in scripts.evaluators.evaluators),
    )


def _shared_names(run_spec: RunSpec, imported: Iterable[str]) -> Iterator[str]:
    """Say of modules of one name in both scripts' folders which of them both scripts were given."""
    if run_spec.task_script is None or run_spec.evaluator_script is None:
        return
    folders = {run_spec.task_script.parent, run_spec.evaluator_script.parent}
    for name in sorted(imported):
        file = getattr(sys.modules.get(name), "__file__", None)
        if len(folders) < 2 or file is None or Path(file).parent not in folders:
            continue
        [other] = folders - {Path(file).parent}
        if (other / Path(file).name).exists():
            yield f"Both scripts' folders have a module {name!r}: the task and the evaluators were given {file}."


def _load_scripts(run_spec: RunSpec) -> tuple[Scripts, set[str]]:
    """Load the user's code; return it, and the names of the modules that came with it."""
    before = set(sys.modules)
    for script in (run_spec.evaluator_script, run_spec.task_script):
        if script is not None and str(script.parent) not in sys.path:
            sys.path.insert(0, str(script.parent))
    task = _load_task(run_spec)
    evaluators = EvaluatorSet((), ())
    if run_spec.evaluator_script is not None:
        evaluators = load_evaluators(run_spec.evaluator_script)
    return Scripts(task, evaluators, run_spec.judges), set(sys.modules) - before


def _load_task(run_spec: RunSpec) -> Task | ResolvedTaskPrompt:
    if run_spec.task_script is not None:
        return load_task(run_spec.task_script)
    if run_spec.task_prompt is not None:
        return run_spec.task_prompt
    raise ScriptError("The run has no task. Pass task_script or task_prompt.")


def _describe_evaluators(scripts: Scripts) -> list[EvaluatorInfo]:
    """Describe the evaluators; a scale declaration that cannot be read refuses the run."""
    return [
        *(EvaluatorInfo.of_judge(judge.maker) for judge in scripts.judges),
        *(_describe(evaluator, "script") for evaluator in scripts.evaluators.evaluators),
        *(_describe(evaluator, "run") for evaluator in scripts.evaluators.run_evaluators),
    ]


def _describe(evaluator: ScriptEvaluator | RunEvaluator, kind: Literal["script", "run"]) -> EvaluatorInfo:
    maker = ScriptScale.of(evaluator, ScriptMaker(), {}).maker
    if maker.scale is None:
        return EvaluatorInfo(evaluator.name, kind)
    return EvaluatorInfo(evaluator.name, kind, scale=maker.scale.name, scale_source=maker.scale_source)
