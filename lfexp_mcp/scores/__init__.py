"""Scores as pure logic: scales, normalisation, summaries. Knows neither Langfuse nor the disk."""

from lfexp_mcp.scores.resolution import ScaleSource, resolve_judge_scale
from lfexp_mcp.scores.scale import TEN, Category, Scale

__all__ = ["TEN", "Category", "Scale", "ScaleSource", "resolve_judge_scale"]
