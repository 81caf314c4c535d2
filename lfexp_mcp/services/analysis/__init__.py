"""Explaining one run: distributions of scores, failures, slices by metadata, and unusual items."""

from lfexp_mcp.services.analysis.analyze import AnalyzeRequest, analyze_run

__all__ = ["AnalyzeRequest", "analyze_run"]
