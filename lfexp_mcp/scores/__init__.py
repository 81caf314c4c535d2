"""Scores as pure logic: scales, normalisation, summaries. Knows neither Langfuse nor the disk."""
