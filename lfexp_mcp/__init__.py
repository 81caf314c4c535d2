"""lfexp-mcp: experiments on Langfuse for agents."""

from lfexp_mcp.declarations import evaluator

__all__ = ["evaluator"]

__version__ = "0.1.0"
