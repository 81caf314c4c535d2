"""Which items a holdout holds, and how it is read from what a dataset's metadata has."""

import pytest
from pydantic import JsonValue

from lfexp_mcp.model import Holdout

SALTED = Holdout(0.3, "5f2c")


def test_the_same_ids_are_held_out_on_every_machine_and_in_every_release() -> None:
    ids = [f"item-{number}" for number in range(20)]
    assert [item_id for item_id in ids if SALTED.holds(item_id)] == ["item-2", "item-11", "item-12"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("Müller-1", "Mu\u0308ller-1"), ("Item-1", "item-1"), ("7", "007"), ("7", " 7"), ("a/b", "a%2Fb"), ("", " ")],
)
def test_ids_that_look_alike_are_held_out_each_by_itself(one: str, other: str) -> None:
    sides = [(Holdout(0.5, str(salt)).holds(one), Holdout(0.5, str(salt)).holds(other)) for salt in range(40)]
    assert len(set(sides)) == 4


def test_salt_and_id_are_not_joined_into_one_text() -> None:
    assert {Holdout(0.5, "ab").holds(f"1{n}") == Holdout(0.5, "a").holds(f"b1{n}") for n in range(40)} == {True, False}


def test_a_larger_share_holds_all_that_a_smaller_one_does() -> None:
    ids = [f"item-{number}" for number in range(2000)]
    small, large = ({item for item in ids if Holdout(share, "x").holds(item)} for share in (0.1, 0.3))
    assert small < large
    # Four standard deviations of a binomial.
    assert abs(len(large) - 600) < 4 * (2000 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize(
    ("recorded", "read"),
    [
        ({"rule": 1, "share": 0.3, "salt": "5f2c"}, SALTED),
        ({"share": "0.3", "salt": "5f2c", "note": "ours"}, SALTED),
        (0.3, Holdout(0.3, "the dataset's id")),
        ("0.3", Holdout(0.3, "the dataset's id")),
        ({"share": 0.3}, Holdout(0.3, "the dataset's id")),
        ({"rule": 1, "metadata": {"split": "test"}}, Holdout(key="split", value="test")),
        ({"metadata": {"fold": 3}}, Holdout(key="fold", value="3")),
        ({"metadata": {"fold": 3.0}}, Holdout(key="fold", value="3")),
    ],
)
def test_a_holdout_is_read_as_it_was_recorded(recorded: JsonValue, read: Holdout) -> None:
    found = Holdout.parse(recorded, "the dataset's id")
    assert found == read
    assert found == Holdout.parse(found.as_json())


@pytest.mark.parametrize(
    "recorded",
    [
        *(0, 1, -0.1, 30, True, False, "nan", "inf", "30%", "see wiki", "", None, [0.3], [], {}, {"share": None}),
        *({"share": 0.3, "salt": 7}, {"share": True}, {"metadata": {}}, {"metadata": {"a": 1, "b": 2}}),
        pytest.param(10**400, id="endless"),
        *({"metadata": "split"}, {"rule": 2, "share": 0.3, "salt": "5f2c"}, {"rule": None, "share": 0.3}),
    ],
    ids=str,
)
def test_what_cannot_be_read_as_a_holdout_holds_out_everything(recorded: JsonValue) -> None:
    found = Holdout.parse(recorded, "the dataset's id")
    assert found.problem
    assert found.holds("item-1", {"split": "train"})


@pytest.mark.parametrize(
    ("value", "is_held"),
    [("test", True), ("train", False), ("Test", False), (None, False), (["test"], False)],
)
def test_a_holdout_by_metadata_holds_items_with_the_value(value: JsonValue, is_held: bool) -> None:
    holdout = Holdout(key="split", value="test")
    assert holdout.holds("item-1", {"split": value}) is is_held
    assert not holdout.holds("item-1", {"other": "test"})
    assert not holdout.holds("item-1")


@pytest.mark.parametrize("value", [3, "3", 3.0])
def test_a_number_and_its_text_are_the_same_value(value: JsonValue) -> None:
    assert Holdout.parse({"metadata": {"fold": 3}}).holds("item-1", {"fold": value})


def test_a_result_without_its_items_metadata_is_held_out_unless_its_item_is_known_to_be_open() -> None:
    holdout = Holdout(key="split", value="test", open_ids=frozenset({"open"}))
    assert holdout.holds("unknown")
    assert not holdout.holds("open")
    assert holdout.holds("open", {"split": "test"})


def test_a_digest_tells_holdouts_apart() -> None:
    others = [Holdout(0.3, "x"), Holdout(0.2, "5f2c"), Holdout(key="split", value="test"), Holdout(key="a", value="b")]
    assert len({holdout.digest for holdout in (SALTED, *others)}) == 5
