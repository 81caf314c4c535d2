"""The one way to Langfuse: typed reads, and writes that are acknowledged."""
