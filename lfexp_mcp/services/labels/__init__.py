"""Labels that people give to results drawn at random, and judges held against them."""

from lfexp_mcp.services.labels.reading import Labels, Stratum, read_labels

__all__ = ["Labels", "Stratum", "read_labels"]
