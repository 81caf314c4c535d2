"""Import the user's modules, always from their source.

Python takes a compiled copy for current if its second and size match the source, so a module that was edited twice
within a second would be imported as it was before the last edit.
"""

import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from importlib.abc import PathEntryFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Literal

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.scripts.texts import clean

ScriptKind = Literal["task", "evaluator"]

MAX_TRACEBACK_LINES = 12
MAX_LINE_CHARS = 500
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_SCRIPTS = Path(__file__).parent


loaded_sources: dict[str, tuple[Path, bytes]] = {}
"""File and source of each module of the user's that was imported, as it was compiled."""
_kept: dict[Path, Path] = {}
_read: list[Callable[[Path], bytes]] = []
"""Reads scripts; by default they are read like other modules."""
_scripts: dict[Path, ModuleType] = {}
"""By their files."""


class _SourceLoader(SourceFileLoader):
    """Compiles the source at each import: that of the file, or that which was kept of it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        file = Path(path).resolve()
        source = _kept[file].read_bytes() if file in _kept else self.get_data(path)
        loaded_sources[fullname] = file, source
        code: CodeType = self.source_to_code(source, path)
        return code


class _ScriptLoader(_SourceLoader):
    """Reads a script in the way that it may be read."""

    def get_data(self, path: str) -> bytes:
        return _read[-1](Path(path)) if _read else super().get_data(path)


def import_from_source(kept: Mapping[Path, Path] | None = None, read: Callable[[Path], bytes] | None = None) -> None:
    """Import all modules from source from now on, except those of Python and of installed packages.

    Args:
        kept: Files that are to be imported as they were, and where they are kept so.
        read: Reads a script by its path, links in which are then not resolved; what scripts import is read as usual.
    """
    _kept.update(kept or {})
    if read is not None:
        _read.append(read)
    library = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
    find: Callable[[str], PathEntryFinder] = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (_SourceLoader, SOURCE_SUFFIXES)
    )

    def hook(entry: str) -> PathEntryFinder:
        folder = Path(entry or ".").resolve()
        if _INSTALLED.intersection(folder.parts) or library.intersection((folder, *folder.parents)):
            raise ImportError
        return find(entry)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def load_module(path: Path, kind: ScriptKind) -> ModuleType:
    """Import a script once, even if it holds both the task and the evaluators.

    The module is registered in `sys.modules` under the file's stem, so that its classes and functions can be pickled; a
    number is added to a stem that is taken. The caller sets `sys.path`.

    Raises:
        ScriptError: There is no such `.py` file, or its import failed.
    """
    file = path if _read else path.expanduser().resolve()
    if file.suffix != ".py":
        raise ScriptError(f"The {kind} script {str(path)!r} is not a Python file: its name has to end in .py.")
    if not file.is_file() and file not in _kept:
        raise ScriptError(
            f"There is no {kind} script {str(path)!r} (looked at {file}). "
            f"Give its absolute path, or one relative to {Path.cwd()}."
        )
    loaded = _scripts.get(file)
    is_registered = loaded is not None and sys.modules.get(loaded.__name__) is loaded
    return loaded if loaded is not None and is_registered else _import(file, kind)


def describe_failure(failure: BaseException) -> str:
    """Return the end of the traceback of what user code raised, without our own frames: 12 lines at most."""
    shown = traceback.TracebackException.from_exception(failure, limit=-MAX_TRACEBACK_LINES)
    own = [frame for frame in shown.stack if not _is_ours(frame.filename)]
    frames = "".join(traceback.StackSummary.from_list(own).format()).splitlines()
    exception = "".join(shown.format_exception_only()).rstrip().splitlines()[:MAX_TRACEBACK_LINES]
    lines = [*frames, *exception][-MAX_TRACEBACK_LINES:]
    return clean("\n".join(line if len(line) <= MAX_LINE_CHARS else f"{line[:MAX_LINE_CHARS]}..." for line in lines))


def _is_ours(filename: str) -> bool:
    return filename.startswith("<frozen ") or Path(filename).parent in {_SCRIPTS, _SCRIPTS.parent / "worker"}


def _import(path: Path, kind: ScriptKind) -> ModuleType:
    name = _free_name(path.stem.replace(".", "_"))
    spec = importlib.util.spec_from_file_location(name, path, loader=_ScriptLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ScriptError(f"The {kind} script {str(path)!r} cannot be imported as Python code.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ScriptError:
        del sys.modules[name]
        raise
    except BaseException as failure:  # noqa: BLE001 - the user's script may raise anything, `SystemExit` included
        del sys.modules[name]
        raise ScriptError(f"The {kind} script {path} failed on import:\n{describe_failure(failure)}") from None
    _scripts[path] = module
    return module


def _free_name(stem: str) -> str:
    """Add a number to the stem if it is the name of another module, which a script must not replace."""
    number, name = 1, stem
    while name in sys.modules or name in sys.stdlib_module_names:
        number += 1
        name = f"{stem}_{number}"
    return name
