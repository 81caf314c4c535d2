"""Scores as pure logic: scales, normalisation, summaries. Knows neither Langfuse nor the disk."""

from lfexp_mcp.scores.readings import ScoreReading, read_scores
from lfexp_mcp.scores.resolution import ResolvedScale, ScaleSource, resolve_judge_scale
from lfexp_mcp.scores.scale import BOOLEAN, TEN, UNIT, Category, Normalised, Scale
from lfexp_mcp.scores.summary import summarise_scores
from lfexp_mcp.scores.votes import SelfDisagreement, judge_disagreements
from lfexp_mcp.scores.warnings import scale_warnings

__all__ = [
    "BOOLEAN",
    "TEN",
    "UNIT",
    "Category",
    "Normalised",
    "ResolvedScale",
    "Scale",
    "ScaleSource",
    "ScoreReading",
    "SelfDisagreement",
    "judge_disagreements",
    "read_scores",
    "resolve_judge_scale",
    "scale_warnings",
    "summarise_scores",
]
