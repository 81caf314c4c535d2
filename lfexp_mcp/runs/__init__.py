"""Runs on disk: run specs, journals, and outboxes of what Langfuse has not acknowledged yet."""

from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.runs_folder import RunsFolder

__all__ = ["RunFolder", "RunsFolder"]
