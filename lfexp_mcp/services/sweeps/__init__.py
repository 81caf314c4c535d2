"""Sweeps: several runs in one call, side by side, ranked against the first."""

from lfexp_mcp.services.sweeps.run_sweep import describe_sweep, run

__all__ = ["describe_sweep", "run"]
