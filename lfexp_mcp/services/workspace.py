"""What every service works with: the settings, the gateway, and the runs on disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.gateway.connection import connect
from lfexp_mcp.runs.folder import RunsFolder
from lfexp_mcp.runs.process import Workers
from lfexp_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Workspace:
    """One per process: the server's lifespan state and the shell hold it."""

    settings: Settings
    gateway: Gateway
    runs: RunsFolder
    workers: Workers


@asynccontextmanager
async def open_workspace(settings: Settings) -> AsyncIterator[Workspace]:
    """Open the workspace, starting the embedded store where no keys are set.

    Raises:
        CredentialsError: Only one of the two keys of Langfuse is set.
        StoreError: The embedded store cannot be started.
        StateError: The folder of the runs cannot be used.
    """
    async with connect(settings) as gateway:
        workers = Workers()
        try:
            yield Workspace(settings=settings, gateway=gateway, runs=RunsFolder(settings.runs_folder), workers=workers)
        finally:
            workers.close()
