"""What a run was made of: code, dataset, judges, packages."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.model import RunSpec, ScriptMaker

GIT_PATIENCE = 3.0
"""Seconds that git may take; a run does not wait longer for it."""
OUR_PACKAGES = ("lfexp-mcp", "langfuse", "openai", "anthropic")
MOST_PACKAGES = 30


def collect_provenance(
    run_spec: RunSpec,
    evaluators: Sequence[dict[str, JsonValue]],
    imported: Iterable[str],
    git: dict[str, JsonValue] | None,
) -> dict[str, JsonValue]:
    """Collect the provenance of a run.

    Args:
        run_spec: The run's order.
        evaluators: What is known of its evaluators and judges, as `answers.run.EvaluatorInfo` has it.
        imported: Names of the modules that the scripts imported.
        git: See `git_state`.

    Returns:
        Small enough to go with every span.
    """
    provenance: dict[str, JsonValue] = {
        "version": _version("lfexp-mcp"),
        "dataset_version": run_spec.dataset_version.isoformat(),
        "evaluators": list(evaluators),
        "packages": _packages(imported),
        "limits": {
            "item_timeout": run_spec.limits.item_timeout,
            "max_concurrency": run_spec.limits.max_concurrency,
        },
    }
    if run_spec.description:
        provenance["description"] = run_spec.description
    for name, path in (("task", run_spec.task_script), ("evaluator_script", run_spec.evaluator_script)):
        if path is not None:
            provenance[name] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if run_spec.task_prompt is not None:
        prompt = run_spec.task_prompt
        provenance["task"] = prompt.model_dump(include={"name", "version", "provider", "model"})
    if git is not None:
        provenance["git"] = git
    return provenance


def task_version(provenance: dict[str, JsonValue]) -> str | None:
    """Return what tells the task of now from an edited one: the beginning of its script's hash, or its prompt."""
    task = provenance.get("task")
    if not isinstance(task, dict):
        return None
    digest = task.get("sha256")
    return digest[:12] if isinstance(digest, str) else f"{task.get('name')}:{task.get('version')} ({task.get('model')})"


def script_maker(provenance: dict[str, JsonValue]) -> ScriptMaker:
    """Return the evaluator script as the maker of scores; which function gave one is the caller's to add."""
    script = provenance.get("evaluator_script")
    if not isinstance(script, dict):
        return ScriptMaker()
    return ScriptMaker(file=str(script["file"]), sha256=str(script["sha256"]))


def experiment_metadata(run_spec: RunSpec, provenance: dict[str, JsonValue], repeat: int) -> dict[str, JsonValue]:
    """Return what Langfuse keeps as the metadata of one repetition: the user's, and the provenance as one text."""
    own = dict(provenance)
    if run_spec.repeats > 1:
        own["repeats"] = {"group": run_spec.run_name, "index": repeat, "count": run_spec.repeats}
    return {**run_spec.metadata, "lfexp": json.dumps(own, ensure_ascii=False)}


def _packages(imported: Iterable[str]) -> dict[str, JsonValue]:
    """Versions of our packages, and of those that the scripts imported under their package's own name."""
    roots = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    found: dict[str, JsonValue] = {"python": platform.python_version()}
    for name in (*OUR_PACKAGES, *sorted(roots)):
        version = _version(name)
        if version is not None and len(found) < MOST_PACKAGES:
            found[name] = version
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def git_state(run_spec: RunSpec) -> dict[str, JsonValue] | None:
    """Return commit and cleanness of the work tree that the task's script lies in, None where there is none.

    Ask before the user's code is loaded, which may replace what it takes to wait for another process.
    """
    if run_spec.task_script is None:
        return None
    folder = run_spec.task_script.parent
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes) if changes is not None else None}


def _ask_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode("utf-8", "replace").strip() if answer.returncode == 0 else None
