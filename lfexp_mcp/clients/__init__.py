"""MCP clients: where each keeps its servers, adding ours to them, and starting ours as they would."""

from lfexp_mcp.clients.check import check_clients
from lfexp_mcp.clients.setup import Setup, plan_setup

__all__ = ["Setup", "check_clients", "plan_setup"]
