"""Confirming a run on held-out items: its very code and its baseline's run over them, and one verdict is given."""

from lfexp_mcp.services.confirmation.confirm_run import confirm_run, read_confirmation

__all__ = ["confirm_run", "read_confirmation"]
