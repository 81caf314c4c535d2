"""Explaining one run: distributions of scores, failures, slices by metadata, and unusual items."""

from lfexp_mcp.services.analysis.analyze import analyze_run

__all__ = ["analyze_run"]
