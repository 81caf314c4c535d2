"""Whatever a task returns has a place in JSON."""

import json
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from lfexp_mcp.scripts.json_conversion import JsonConverter


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
        ("\ud800", "\ufffd", {"lone surrogates"}),
        ({"\ud800k": 1}, {"\ufffdk": 1}, {"lone surrogates"}),
        (PurePosixPath("\udcff"), "\ufffd", {"lone surrogates"}),
        ("\ud83d\ude00", "\U0001f600", {"lone surrogates"}),
        ({Unspeakable()}, ["<Unspeakable whose text fails with RuntimeError>"], {"set", "Unspeakable"}),
        (Unspeakable(), "<Unspeakable whose text fails with RuntimeError>", {"Unspeakable"}),
    ],
)
def test_a_value_becomes_what_a_reader_would_expect(value: object, expected: object, changed: set[str]) -> None:
    converter = JsonConverter()
    assert converter.convert(value) == expected
    assert converter.replaced == changed


def test_a_circle_is_cut_where_it_closes() -> None:
    root = Point(1, [])
    root.y = [Point(number, root) for number in range(3)]
    converter = JsonConverter()
    again = "<Point left out: it contains itself>"
    assert converter.convert(root) == {"x": 1, "y": [{"x": number, "y": again} for number in range(3)]}
    assert converter.replaced == {"cycles"}


def test_what_is_there_twice_is_no_circle() -> None:
    shared = [1]
    assert JsonConverter().convert({"a": shared, "b": [shared, shared]}) == {"a": [1], "b": [[1], [1]]}


def test_a_web_of_endless_paths_is_cut() -> None:
    web: list[list[object]] = [[] for _ in range(20)]
    for node in web:
        node.extend(web)
    converter = JsonConverter(max_values=1000)
    assert len(json.dumps(converter.convert(web))) < 200_000
    assert "too many values" in converter.replaced


def test_a_long_list_is_kept_whole() -> None:
    converter = JsonConverter(max_values=1000)
    assert converter.convert([0] * 5000) == [0] * 5000
    assert not converter.replaced


@pytest.mark.parametrize("levels", [100, 500, 20_000])
def test_what_lies_deep_is_kept_as_text(levels: int) -> None:
    nested: list[object] = ["bottom"]
    for _ in range(levels):
        nested = [nested]
    converter = JsonConverter()
    text = json.dumps(converter.convert(nested))
    assert ("bottom" in text) == (levels == 100)
    assert converter.replaced == {"deep nesting"}


def test_what_lies_deep_stays_small_where_a_script_has_raised_the_recursion_limit() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        nested: object = "bottom"
        for level in range(1_500):
            nested = {f'"{level}"': nested}
        text = json.dumps(JsonConverter().convert(nested))
    finally:
        sys.setrecursionlimit(before)
    assert len(text) < 10_000


def test_keys_that_become_alike_are_noted() -> None:
    converter = JsonConverter()
    assert converter.convert({1: "a", "1": "b"}) == {"1": "b"}
    assert converter.replaced == {"keys with the same text, of which the last is kept"}


_TEXTS = st.text(st.characters(exclude_categories=()))


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | _TEXTS | st.binary() | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(_TEXTS | st.integers(), inner, max_size=4) | st.tuples(inner)
        ),
        max_leaves=10,
    )
)
def test_anything_can_be_written_as_strict_json(value: object) -> None:
    json.dumps(JsonConverter().convert(value), allow_nan=False).encode()
