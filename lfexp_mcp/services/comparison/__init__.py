"""Comparing runs, item by item."""
