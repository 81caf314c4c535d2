"""The embedded store: a Langfuse-compatible HTTP server on one SQLite file, for use without a Langfuse account.

`process` finds, starts and stops it; `server` serves it in this process.
"""
