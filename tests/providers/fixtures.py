"""Loopback servers that speak the providers' HTTP, as fixtures."""
