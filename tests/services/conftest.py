"""Fixtures of the reading side."""

from collections.abc import Iterator

import pytest

from lfexp_mcp.settings import Settings
from tests.services.humans import Humans


@pytest.fixture
def humans(settings: Settings) -> Iterator[Humans]:
    """People who annotate on the store."""
    people = Humans(settings)
    yield people
    people.close()
