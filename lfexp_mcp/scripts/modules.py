"""Import a user's script by its path."""

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Literal

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.scripts.freshness import FreshLoader
from lfexp_mcp.scripts.texts import clean

ScriptKind = Literal["task", "evaluator"]

_LAST_LINES = 12
_LONGEST = 500
_SCRIPTS = Path(__file__).parent


def load_module(path: Path, kind: ScriptKind) -> ModuleType:
    """Import a script, once: a script that holds the task and the evaluators is one module.

    The module is registered in `sys.modules` under the file's stem, so that its classes and functions can be
    pickled; where the stem is taken, a number is added to it. `sys.path` is the caller's to set.

    Raises:
        ScriptError: No such file, not a `.py` file, or its import failed; then with the end of its traceback.
    """
    where = path.expanduser().resolve()
    if where.suffix != ".py":
        raise ScriptError(f"The {kind} script {str(path)!r} is not a Python file: its name has to end in .py.")
    if not where.is_file():
        raise ScriptError(
            f"There is no {kind} script {str(path)!r} (looked at {where}). "
            f"Give its absolute path, or one relative to {Path.cwd()}."
        )
    return _loaded(where) or _import(where, kind)


def describe_failure(failure: BaseException) -> str:
    """Give the end of a failure's traceback, from the user's own frames on.

    Args:
        failure: What user code raised.

    Returns:
        At most 12 lines, the exception's own last.
    """
    shown = traceback.TracebackException.from_exception(failure, limit=-_LAST_LINES)
    own = [frame for frame in shown.stack if not _is_ours(frame.filename)]
    frames = "".join(traceback.StackSummary.from_list(own).format()).splitlines()
    exception = "".join(shown.format_exception_only()).rstrip().splitlines()[:_LAST_LINES]
    lines = [*frames, *exception][-_LAST_LINES:]
    return clean("\n".join(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..." for line in lines))


def _is_ours(filename: str) -> bool:
    return filename.startswith("<frozen ") or Path(filename).parent in {_SCRIPTS, _SCRIPTS.parent / "worker"}


def _loaded(path: Path) -> ModuleType | None:
    # Whatever a package put there in a module's place need not have attributes.
    modules = list(sys.modules.values())
    return next((m for m in modules if getattr(m, "__dict__", {}).get("__lfexp_script__") == path), None)


def _import(path: Path, kind: ScriptKind) -> ModuleType:
    name = _free_name(path.stem.replace(".", "_"))
    spec = importlib.util.spec_from_file_location(name, path, loader=FreshLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ScriptError(f"The {kind} script {str(path)!r} cannot be imported as Python code.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    # The script is the user's: whatever it raises or exits with, the answer is its traceback.
    except BaseException as failure:  # noqa: BLE001
        del sys.modules[name]
        raise ScriptError(f"The {kind} script {path} failed on import:\n{describe_failure(failure)}") from None
    module.__dict__["__lfexp_script__"] = path
    return module


def _free_name(stem: str) -> str:
    """The stem; with a number where a module of that name exists, which a script must not replace."""
    number, name = 1, stem
    while name in sys.modules or name in sys.stdlib_module_names:
        number += 1
        name = f"{stem}_{number}"
    return name
