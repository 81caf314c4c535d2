"""What travels to the nodes: the folders of the scripts, and Ray's runtime environment if more is asked for."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import EngineOptions, RunSpec
from lfexp_mcp.worker.on_ray.archive import pack

WORKING_DIR = "0"
"""The name that the working folder has on the nodes."""


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
            if Path.home().is_relative_to(folder):
                raise UsageError(
                    f"With engine `ray` the folder of the scripts is sent to the nodes, and {folder} holds far more: "
                    "move the scripts to a folder of their own."
                )
        return cls(working_dir, tuple(folder for folder in folders if not folder.is_relative_to(working_dir)))

    @property
    def folders(self) -> dict[str, Path]:
        """Those that travel, by the names that they have on the nodes."""
        return {WORKING_DIR: self.working_dir} | {str(at): folder for at, folder in enumerate(self.beside, start=1)}

    def place(self, path: Path | None) -> str | None:
        """Return where the nodes find a file, below what they have unpacked; None for one that does not travel."""
        for name, folder in self.folders.items():
            if path is not None and path.is_relative_to(folder):
                return f"{name}/{path.relative_to(folder).as_posix()}"
        return None

    def pack(self, run_spec: RunSpec) -> bytes:
        """Pack the folders.

        Raises:
            UsageError: They cannot be sent.
        """
        excludes = run_spec.engine_options.runtime_env.get("excludes")
        kept = {place: path for file, path in run_spec.kept_sources.items() if (place := self.place(file)) is not None}
        return pack(self.folders, [str(each) for each in excludes] if isinstance(excludes, list) else [], kept)


def asked_environment(options: EngineOptions) -> dict[str, JsonValue] | None:
    """Return the runtime environment that Ray is asked for; None for none, with which processes start sooner."""
    return {name: value for name, value in options.runtime_env.items() if name != "excludes"} or None
