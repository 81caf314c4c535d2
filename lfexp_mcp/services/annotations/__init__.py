"""Human comments and scores: comments by item, recurring themes, and agreement with the judges."""

from lfexp_mcp.services.annotations.fetch import fetch_annotation_comments

__all__ = ["fetch_annotation_comments"]
