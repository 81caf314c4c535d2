"""Judges, prompts of Langfuse that score outputs: resolving them, asking their models, reading the replies."""
