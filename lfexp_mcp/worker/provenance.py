"""Collect what a run was made with: code, dataset, task prompt, packages."""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from lfexp_mcp.model import (
    EngineUse,
    FileVersion,
    GitState,
    Provenance,
    RecordedLimits,
    RunSpec,
    TaskPromptVersion,
    module_versions,
)
from lfexp_mcp.scripts.modules import loaded_sources

GIT_TIMEOUT_S = 3.0
OUR_PACKAGES = ("lfexp-mcp", "langfuse", "openai", "anthropic")
MAX_PACKAGES = 30
MAX_MODULES = 20
"""Of the user's own, listed by name."""


def collect_provenance(run_spec: RunSpec, imported: Iterable[str], git: GitState | None) -> Provenance:
    """Collect the provenance of a run, without its evaluators and plan.

    Args:
        run_spec: What the run was asked to do.
        imported: Names of the modules that the scripts imported.
        git: See `git_state`.

    Returns:
        Small enough to go with every span.
    """
    task: FileVersion | TaskPromptVersion | None = _script_file(run_spec.task_script)
    if run_spec.task_prompt is not None:
        prompt = run_spec.task_prompt
        task = TaskPromptVersion(prompt.name, prompt.version, prompt.provider, prompt.model)
    return Provenance(
        version=_version("lfexp-mcp"),
        dataset_version=run_spec.dataset_version.isoformat(),
        packages=package_versions(imported),
        limits=RecordedLimits(run_spec.limits.item_timeout, run_spec.limits.max_concurrency),
        description=run_spec.description or None,
        task=task,
        params=run_spec.params or None,
        evaluator_script=_script_file(run_spec.evaluator_script),
        modules=_modules(run_spec),
        confirmation=run_spec.confirmation,
        sweep=run_spec.sweep,
        git=git,
        engine=_engine(run_spec),
        replayed=_replayed(run_spec),
    )


def _engine(run_spec: RunSpec) -> EngineUse | None:
    if run_spec.engine == "local":
        return None
    return EngineUse(run_spec.engine, _version(run_spec.engine), run_spec.engine_options.asked_resources)


def _replayed(run_spec: RunSpec) -> FileVersion | None:
    use = run_spec.recording
    return FileVersion(use.file.name, use.sha256) if use is not None and use.mode == "replay" else None


def _script_file(path: Path | None) -> FileVersion | None:
    """The script as it was compiled, whatever the file holds by now."""
    if path is None:
        return None
    source = next((source for file, source in loaded_sources.values() if file == path), None)
    return FileVersion(path.name, hashlib.sha256(path.read_bytes() if source is None else source).hexdigest())


def _modules(run_spec: RunSpec) -> dict[str, str]:
    """The user's own modules that the scripts imported."""
    scripts = {run_spec.task_script, run_spec.evaluator_script}
    own = {name: digest for name, digest in digests().items() if loaded_sources[name][0] not in scripts}
    return module_versions(own, MAX_MODULES)


def digests() -> dict[str, str]:
    """Return the digests of the user's modules that are loaded, scripts included, by name."""
    return {
        name: hashlib.sha256(source).hexdigest()
        for name, (_, source) in loaded_sources.items()
        if name.partition(".")[0] != "lfexp_mcp"
    }


def package_versions(imported: Iterable[str]) -> dict[str, str]:
    """Return the versions of our packages, and of those that the scripts imported and that are named like a module."""
    roots = {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names)
    found = {"python": platform.python_version()}
    for name in (*OUR_PACKAGES, *sorted(roots)):
        version = _version(name)
        if version is not None and len(found) < MAX_PACKAGES:
            found[name] = version
    return found


def _version(package: str) -> str | None:
    try:
        return _installed_version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return None


# A spare worker has read those of our packages when its run comes.
_installed_version = cache(metadata.version)


def git_state(run_spec: RunSpec) -> GitState | None:
    """Return the commit of the task script's work tree, and whether that has changes; None if there is none.

    Call it before the user's code is loaded, which may replace what `subprocess` needs.
    """
    if run_spec.task_script is None:
        return None
    folder = run_spec.task_script.parent
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    return GitState(commit, bool(changes) if changes is not None else None)


def _ask_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode("utf-8", "replace").strip() if answer.returncode == 0 else None
