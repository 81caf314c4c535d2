"""What a caller gives of a chat prompt: the gateway's own record, which is light to import."""

from lfexp_mcp.gateway.records import PromptMessage

__all__ = ["PromptMessage"]
