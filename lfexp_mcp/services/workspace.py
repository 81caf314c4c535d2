"""What every service works with: settings, gateway, and the runs on disk."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from lfexp_mcp.errors import UsageError, name_some
from lfexp_mcp.files import locate
from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.runs.replay import Replays
from lfexp_mcp.runs.runs_folder import RunsFolder
from lfexp_mcp.runs.spares import Workers
from lfexp_mcp.services.background import Background
from lfexp_mcp.services.launches import Launches
from lfexp_mcp.services.run_cache import RunCache
from lfexp_mcp.settings import Settings

GC_THRESHOLDS = (100_000, 20, 20)
"""A run of 100,000 items is some million objects without cycles. At Python's own thresholds, looking for cycles among
them takes as long as reading them."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One per process, or per caller with keys of its own: the server's lifespan state and the shell hold it."""

    settings: Settings
    gateway: Gateway
    runs: RunsFolder
    workers: Workers
    allowed_folders: tuple[Path, ...] | None = None
    """Where files lie that calls may name; None for anywhere."""
    background: Background = field(default_factory=Background)
    launches: Launches = field(default_factory=Launches)
    run_cache: RunCache = field(default_factory=RunCache)
    replays: Replays = field(default_factory=Replays)
    labelling: anyio.Lock = field(default_factory=anyio.Lock)
    """Held while a queue of labels is filled."""

    def locate(self, path: Path, what: str, error: type[UsageError] = UsageError) -> Path:
        """Make the path of a file that a call names absolute, as `files.locate`, and refuse one that it may not name.

        Raises:
            UsageError: It lies, links resolved, outside of the allowed folders; whether it exists is not told.
        """
        folders = self.allowed_folders
        located = locate(path, what, error) if folders is None or path.is_absolute() else None
        if located is None or (folders is not None and not any(located.is_relative_to(folder) for folder in folders)):
            allowed = f"only files in {name_some([str(folder) for folder in folders])}" if folders else "no files"
            raise error(
                f"Over HTTP, calls may name {allowed}, by absolute paths; the {what} {str(path)[:300]!r} is not one. "
                "LFEXP_SCRIPT_FOLDERS of the server says which folders these are."
            )
        return located

    @property
    def is_busy(self) -> bool:
        """Whether it does what no call waits for any longer; workers go on without it."""
        return self.launches.is_pending or self.background.is_pending


@asynccontextmanager
async def open_workspace(
    settings: Settings, allowed_folders: tuple[Path, ...] | None = None
) -> AsyncIterator[Workspace]:
    """Open the workspace of this process, starting the embedded store where no keys are set.

    Args:
        allowed_folders: Where files lie that calls may name; None for anywhere.

    Raises:
        CredentialsError: Only one of the two keys of Langfuse is set.
        StoreError: The embedded store cannot be started.
        StateError: The folder of the runs cannot be used.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    async with connect(settings) as gateway:
        workspace = Workspace(
            settings=settings,
            gateway=gateway,
            runs=RunsFolder(settings.runs_folder),
            workers=Workers(),
            allowed_folders=allowed_folders,
        )
        try:
            yield workspace
        finally:
            await workspace.launches.close()
            await workspace.background.close()
            await workspace.run_cache.close()
            workspace.workers.close()
