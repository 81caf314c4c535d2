"""Runs of this machine: their folders and journals."""

import anyio
import anyio.to_thread

from lfexp_mcp.errors import UnreachableError
from lfexp_mcp.model import RunRecord
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.services.workspace import Workspace

LOOKUP_PATIENCE_S = 5.0
"""How long Langfuse may take to identify a run, before a run of the same names on this machine is taken."""


async def find_run_folder(ws: Workspace, dataset: str, run_name: str) -> RunFolder | None:
    """Return the folder of a run that was started on this machine, None for others.

    If Langfuse does not answer, the run is found by its names, among those that were started with the same keys on the
    same server.

    Raises:
        NotFoundError: There is no such dataset.
        BackendError: Langfuse did not answer, and no run of these names was started here.
    """
    try:
        with anyio.move_on_after(LOOKUP_PATIENCE_S):
            return await _find_by_id(ws, dataset, run_name)
    except UnreachableError:
        folder = _find_by_names(ws, dataset, run_name)
        if folder is None:
            raise
        return folder
    return _find_by_names(ws, dataset, run_name) or await _find_by_id(ws, dataset, run_name)


async def _find_by_id(ws: Workspace, dataset: str, run_name: str) -> RunFolder | None:
    found = await ws.gateway.datasets.get(dataset)
    return ws.runs.find(await ws.gateway.experiments.id_of(found.id, run_name))


def _find_by_names(ws: Workspace, dataset: str, run_name: str) -> RunFolder | None:
    for folder, run_spec in ws.runs.started():
        here = (run_spec.base_url, run_spec.public_key) == (ws.gateway.backend.url, ws.gateway.public_key)
        if here and (run_spec.dataset_name, run_spec.run_name) == (dataset, run_name):
            return folder
    return None


async def read_journal(ws: Workspace, folder: RunFolder) -> RunRecord:
    """Return a run of this machine from its journal.

    Raises:
        StateError: The folder cannot be read.
    """
    replay = ws.replays.of(folder)

    def read() -> RunRecord:
        replay.refresh()
        return replay.record()

    return await anyio.to_thread.run_sync(read)
