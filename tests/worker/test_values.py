"""Whatever a task returns has a place in JSON."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from lfexp_mcp.worker.values import JsonReading


class Color(Enum):
    RED = "red"


class Model(BaseModel):
    name: str
    color: Color


@dataclass
class Point:
    x: int
    y: object


class Pair(NamedTuple):
    left: int
    right: int


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "expected", "changed"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}, set()),
        (Model(name="m", color=Color.RED), {"name": "m", "color": "red"}, set()),
        (Point(1, (2, 3)), {"x": 1, "y": [2, 3]}, set()),
        (Pair(1, 2), {"left": 1, "right": 2}, set()),
        ({3, 1}, [1, 3], {"set"}),
        (b"\xff", "\\xff", {"bytes"}),
        (math.inf, "inf", {"inf"}),
        (2**60, str(2**60), {"large integer"}),
        ({1: "a"}, {"1": "a"}, set()),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00", set()),
        (PurePosixPath("/a"), "/a", set()),
        ("\ud800", "?", {"lone surrogates"}),
        (Unspeakable(), "<Unspeakable whose text fails with RuntimeError>", {"Unspeakable"}),
    ],
)
def test_a_value_becomes_what_a_reader_would_expect(value: object, expected: object, changed: set[str]) -> None:
    reading = JsonReading()
    assert reading.read(value) == expected
    assert reading.changed == changed


def test_what_goes_in_circles_ends_as_text() -> None:
    circle: list[object] = []
    circle.append(circle)
    reading = JsonReading()
    json.dumps(reading.read(circle))
    assert "deep nesting" in reading.changed


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.dates(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner),
        max_leaves=10,
    )
)
def test_anything_can_be_written_as_strict_json(value: object) -> None:
    json.dumps(JsonReading().read(value), allow_nan=False).encode()
