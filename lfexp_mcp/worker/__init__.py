"""The process of one run: it runs the user's code, journals the results and sends them to Langfuse.

A worker is started as `python -m lfexp_mcp.worker` by `lfexp_mcp.runs.process`, and exports nothing.
"""
