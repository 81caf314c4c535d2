"""What is counted of the metadata of a dataset's items; the cases lie beside this file."""

import json
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.model import DatasetItem
from lfexp_mcp.services.catalog.metadata import FREQUENT_VALUES, MAX_VALUE_CHARS, MAX_VALUES, count_metadata
from lfexp_mcp.services.metadata_conditions import select

CASES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "metadata_cases.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_metadata_are_counted_as_a_careful_person_would(case: dict[str, Any]) -> None:
    counted = {key.key: [key.items, key.values] for key in count_metadata(case["metadata"])}
    assert counted == case["keys"]
    assert {key.key: key.distinct for key in count_metadata(case["metadata"])} == {
        key: len(values) for key, (_, values) in case["keys"].items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_a_value_pasted_into_a_condition_selects_the_items_that_were_counted(case: dict[str, Any]) -> None:
    items = [DatasetItem(str(number), metadata=each) for number, each in enumerate(case["metadata"])]
    for key, (_, values) in case["keys"].items():
        for value, count in values.items():
            if value in ("{}", "[]"):
                # That nothing is in it is no condition.
                continue
            selected, notes = select(items, f"{key}={value}")
            # A bare `10` is also the text "10", which is counted apart.
            assert len(selected) == count + (values.get(f'"{value}"', 0)), (key, value)
            assert notes == []


def test_a_key_with_many_values_says_how_many_and_shows_only_those_that_repeat() -> None:
    metadata = [{"id": f"id-{number}", "group": f"g{number % 30}" if number else "common"} for number in range(400)]
    metadata += [{"group": "common"}] * 50
    keys = {key.key: key for key in count_metadata(metadata)}
    assert (keys["id"].items, keys["id"].distinct, keys["id"].values) == (400, 400, {})
    assert keys["group"].distinct == 31 > MAX_VALUES
    assert len(keys["group"].values) == FREQUENT_VALUES
    assert keys["group"].values["common"] == 51


def test_a_long_value_is_counted_as_different_and_not_shown() -> None:
    (key,) = count_metadata([{"text": "x" * 10_000}, {"text": "y" * (MAX_VALUE_CHARS + 1)}, {"text": "short"}])
    assert (key.items, key.distinct, key.values) == (3, 3, {"short": 1})


def test_the_keys_that_most_items_have_come_first() -> None:
    keys = [key.key for key in count_metadata([{"b": 1, "a": 1}, {"b": 1, "c": 1}])]
    assert keys == ["b", "a", "c"]
