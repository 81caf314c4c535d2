"""Asking models: one way to each provider, through its SDK, which is imported on use."""
