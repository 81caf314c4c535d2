"""Runs on disk: what a run was asked to do, what came of it so far, and what Langfuse has not acknowledged yet."""

from lfexp_mcp.runs.folder import RunFolder, RunsFolder

__all__ = ["RunFolder", "RunsFolder"]
