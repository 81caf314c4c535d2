"""What every service works with: settings, gateway, and the runs on disk."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.runs.folder import RunsFolder
from lfexp_mcp.runs.process import Workers
from lfexp_mcp.runs.replay import Replays
from lfexp_mcp.services.background import Background
from lfexp_mcp.services.launches import Launches
from lfexp_mcp.services.run_cache import RunCache
from lfexp_mcp.settings import Settings

GC_THRESHOLDS = (100_000, 20, 20)
"""A run of 100,000 items is some million objects without cycles. At Python's own thresholds, looking for cycles among
them takes as long as reading them."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One per process: the server's lifespan state and the shell hold it."""

    settings: Settings
    gateway: Gateway
    runs: RunsFolder
    workers: Workers
    background: Background = field(default_factory=Background)
    launches: Launches = field(default_factory=Launches)
    run_cache: RunCache = field(default_factory=RunCache)
    replays: Replays = field(default_factory=Replays)


@asynccontextmanager
async def open_workspace(settings: Settings) -> AsyncIterator[Workspace]:
    """Open the workspace of this process, starting the embedded store where no keys are set.

    Raises:
        CredentialsError: Only one of the two keys of Langfuse is set.
        StoreError: The embedded store cannot be started.
        StateError: The folder of the runs cannot be used.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    async with connect(settings) as gateway:
        workspace = Workspace(
            settings=settings, gateway=gateway, runs=RunsFolder(settings.runs_folder), workers=Workers()
        )
        try:
            yield workspace
        finally:
            await workspace.launches.close()
            await workspace.background.close()
            await workspace.run_cache.close()
            workspace.workers.close()
