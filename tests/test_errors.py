"""What errors propose in place of a name that does not exist."""

import pytest

from lfexp_mcp.errors import NotFoundError

ITEMS = [f"t{number:03}" for number in range(80)]


@pytest.mark.parametrize(
    ("name", "known", "proposed"),
    [
        ("t999", ITEMS, False),
        ("question-0999", [f"question-{number:04}" for number in range(80)], False),
        ("qestion-0079", [f"question-{number:04}" for number in range(80)], True),
        ("night 9", ["night 1", "night 2", "nightly"], True),
        ("accurcy", ["accuracy", "tone"], True),
        ("baseline-v2", ["baseline-v1"], True),
        ("Accuracy", ["accuracy"], True),
        ("candidate", ["baseline"], False),
        ("x", [], False),
    ],
)
def test_only_a_name_that_is_nearly_the_same_is_proposed(name: str, known: list[str], proposed: bool) -> None:
    assert bool(NotFoundError.of("thing", name, known, "Look.").near) is proposed
