"""What travels to the nodes: the folders of the scripts, as Ray's runtime environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import EngineOptions, RunSpec
from lfexp_mcp.worker.node import TravellingScript

EXCLUDES = [".env*", "*.pem", "*.key", ".aws", ".ssh", ".git", ".venv", "venv", "node_modules", "__pycache__"]
"""What no node needs, and what everyone on the cluster could read."""


@dataclass(frozen=True, slots=True)
class Package:
    """The folders that travel to the nodes."""

    working_dir: Path
    beside: tuple[Path, ...] = ()
    """Folders of scripts that lie outside of it."""

    @classmethod
    def of(cls, run_spec: RunSpec) -> "Package":
        """Find what a run's scripts need.

        Raises:
            UsageError: It is a folder of everything.
        """
        scripts = [path for path in (run_spec.task_script, run_spec.evaluator_script) if path is not None]
        folders = list(dict.fromkeys(path.parent for path in scripts)) or [run_spec.working_folder]
        working_dir = (run_spec.engine_options.working_dir or folders[0]).resolve()
        for folder in (working_dir, *folders):
            if folder in (Path.home(), Path(folder.anchor)):
                raise UsageError(
                    f"With engine `ray` the folder of the scripts is sent to the nodes, and {folder} holds far more: "
                    "move the scripts to a folder of their own."
                )
        return cls(working_dir, tuple(folder for folder in folders if not folder.is_relative_to(working_dir)))

    def travelling(self, path: Path | None) -> TravellingScript | None:
        """Say where a file is found on a node; None for one that does not travel."""
        if path is None:
            return None
        if path.is_relative_to(self.working_dir):
            return TravellingScript(path.relative_to(self.working_dir).as_posix())
        folder = next((folder for folder in self.beside if path.is_relative_to(folder)), None)
        return TravellingScript(path.relative_to(folder).as_posix(), folder.name) if folder is not None else None

    def runtime_env(self, options: EngineOptions) -> dict[str, Any]:
        """Return Ray's runtime environment."""
        asked = dict(options.runtime_env)
        excludes, modules = asked.pop("excludes", None), asked.pop("py_modules", None)
        beside = [*map(str, self.beside), *(modules if isinstance(modules, list) else ())]
        return {
            **asked,
            "working_dir": str(self.working_dir),
            "excludes": [*EXCLUDES, *(excludes if isinstance(excludes, list) else ())],
            # Ray cannot set up an empty list.
            **({"py_modules": beside} if beside else {}),
        }
