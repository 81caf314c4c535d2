"""Reading a run folder as the services do."""

from lfexp_mcp.model import RunRecord
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.replay import Replay


def read_record(folder: RunFolder) -> RunRecord:
    """Return the run as its journal tells it now."""
    replay = Replay(folder)
    replay.refresh()
    return replay.record()
