"""The embedded store: a Langfuse-compatible HTTP server on one SQLite file, for those who have no Langfuse."""
