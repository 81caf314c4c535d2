"""lfexp-mcp: experiments on Langfuse for agents."""

__version__ = "0.1.0"
