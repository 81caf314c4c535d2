"""Comparing runs item by item: verdicts with their statistics, changed items, comparability, and gates."""

from lfexp_mcp.services.comparison.compare import CompareRequest, compare_runs

__all__ = ["CompareRequest", "compare_runs"]
