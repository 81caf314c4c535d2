"""What scores mean: which scale one is on, its canonical value, limits for it, and warnings about it.

Pure: knows neither Langfuse, nor the disk, nor the answers.
"""

from lfexp_mcp.scores.declared_scale import resolve_judge_scale
from lfexp_mcp.scores.interpretation import ScoreInterpretation, interpret_human_scores, interpret_scores
from lfexp_mcp.scores.limits import PASS_MARK, Limit, parse_limit
from lfexp_mcp.scores.warnings import score_warnings

__all__ = [
    "PASS_MARK",
    "Limit",
    "ScoreInterpretation",
    "interpret_human_scores",
    "interpret_scores",
    "parse_limit",
    "resolve_judge_scale",
    "score_warnings",
]
