"""Confirming a run: its code and its baseline's run over held-out items, for a single verdict."""

from lfexp_mcp.services.confirmation.confirm_run import confirm_run, read_confirmation

__all__ = ["confirm_run", "read_confirmation"]
