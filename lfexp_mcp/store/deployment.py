"""Which Langfuse server the embedded store answers as."""

from dataclasses import dataclass

PROJECT_ID = "lfexp-embedded"
PROJECT_NAME = "Embedded store"
ORGANIZATION_ID = "lfexp-local"
ORGANIZATION_NAME = "Local"

SERVER_VERSION = "4.59.0"
"""The version that `health` reports: the oldest server that the Langfuse SDK 5 accepts."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Behaviour that differs between versions of Langfuse servers."""

    version: str = SERVER_VERSION
    """The version that `health` reports."""
    takes_score_lists: bool = True
    """Whether `POST /api/public/scores` takes a list; servers before 4.59 answer 400."""


CURRENT = Deployment()
BEFORE_SCORE_LISTS = Deployment(version="4.16.0", takes_score_lists=False)
"""The server that the recorded answers of the tests come from; only the tests use it."""
