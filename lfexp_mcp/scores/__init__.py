"""Scores as pure logic: scales, normalisation, summaries. Knows neither Langfuse nor the disk."""

from lfexp_mcp.model import TEN, Category, Scale, ScaleSource
from lfexp_mcp.scores.resolution import resolve_judge_scale

__all__ = ["TEN", "Category", "Scale", "ScaleSource", "resolve_judge_scale"]
