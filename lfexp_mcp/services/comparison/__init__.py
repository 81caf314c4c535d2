"""Comparing runs item by item: verdicts with their statistics, changed items, comparability, and gates."""

from lfexp_mcp.services.comparison.compare import compare_runs

__all__ = ["compare_runs"]
