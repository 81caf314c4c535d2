"""Which Langfuse server the embedded store answers as."""

PROJECT_ID = "lfexp-embedded"
PROJECT_NAME = "Embedded store"
ORGANIZATION_ID = "lfexp-local"
ORGANIZATION_NAME = "Local"

SERVER_VERSION = "4.59.0"
"""The version that `health` reports: the oldest server that the Langfuse SDK 5 accepts."""
