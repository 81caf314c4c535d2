"""Themes of comments: words and phrases that several share. Pure; the same comments always give the same themes."""

from lfexp_mcp.themes.finding import Theme, count_named, find_themes

__all__ = ["Theme", "count_named", "find_themes"]
