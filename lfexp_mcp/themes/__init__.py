"""Themes of comments: words and phrases that several comments share. Deterministic, without a model."""

from lfexp_mcp.themes.finding import Theme, count_named, find_themes

__all__ = ["Theme", "count_named", "find_themes"]
