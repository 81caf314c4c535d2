"""Datasets by any name, and items whose texts come back as they were given."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.gateway import Dataset, Gateway
from lfexp_mcp.services.workspace import Workspace
from tests.gateway.scripted_server import Reply, ScriptedServer

pytestmark = pytest.mark.anyio

LIKE_JSON = ["7500", "0.10", "1e5", "-0", "1e999", "9" * 5000, "true", "null", "", '""', '"hi"', '{"a": 1}', "[]",
             " 1\n", "NaN", "-Infinity", "[" * 5000 + "]" * 5000, '"\\ud800"', '{"a": "7500"}', '"a', "\ufeff1", "01",
             "\u2028", "'1'", "1 2"]  # fmt: skip
REMOVED = "".join(chr(code) for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n\f\r")
"""Control characters, which Langfuse removes from texts."""
texts = st.sampled_from(LIKE_JSON) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters=REMOVED))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(values.filter(lambda value: value is not None), values), min_size=1, max_size=8))
async def test_any_json_comes_back_equal_and_of_the_same_type(
    workspace: Workspace, pairs: list[tuple[JsonValue, JsonValue]]
) -> None:
    name = f"any json {uuid4().hex}"
    await workspace.gateway.datasets.upsert(name)
    for number, (asked, answer) in enumerate(pairs):
        item_id = f"{name}-{number}"
        stored = await workspace.gateway.dataset_items.upsert(name, id=item_id, input=asked, expected_output=answer)
        assert repr((stored.input, stored.expected_output)) == repr((asked, answer))
    items = await workspace.gateway.datasets.items(name)
    assert repr([(item.input, item.expected_output) for item in items]) == repr(pairs)


@pytest.mark.parametrize("text", LIKE_JSON)
async def test_a_text_that_looks_like_json_stays_a_text(workspace: Workspace, text: str) -> None:
    name = f"text {uuid4().hex}"
    await workspace.gateway.datasets.upsert(name)
    await workspace.gateway.dataset_items.upsert(name, id=name, input=text, expected_output=text, metadata={"a": text})
    [item] = await workspace.gateway.datasets.items(name)
    assert (item.input, item.expected_output, item.metadata) == (text, text, {"a": text})


async def test_a_server_that_keeps_texts_as_they_are_gets_them_unencoded(
    server: ScriptedServer, gateway: Gateway
) -> None:
    def stored(text: str) -> Reply:
        moment = "2026-01-01T00:00:00Z"
        row: dict[str, JsonValue] = {"id": "i", "datasetId": "d", "createdAt": moment, "updatedAt": moment}
        return Reply(body={**row, "input": text, "expectedOutput": "free text"})

    server.replies = [stored('"7500"'), stored("7500"), stored("12")]
    for text in ("7500", "12"):
        item = await gateway.dataset_items.upsert("d", id="i", input=text, expected_output="free text")
        assert item.input == text
    sent = [body["input"] for _, body in server.requests if isinstance(body, dict)]
    assert sent == ['"7500"', "7500", "12"]


def _page(pages: int, total: int, *ids: str) -> Reply:
    moment = "2026-01-01T00:00:00Z"
    common: dict[str, JsonValue] = {"datasetId": "d", "createdAt": moment, "updatedAt": moment}
    return Reply(
        body={"data": [{**common, "id": each} for each in ids], "meta": {"totalPages": pages, "totalItems": total}}
    )


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        # `new` is added after the first page was read.
        ([_page(2, 4, "d", "c"), _page(3, 5, "c", "b"), _page(3, 5, "a")], "abcd"),
        # `c` is deleted then, which moves `b` to the first page.
        ([_page(2, 4, "d", "c"), _page(2, 3, "a"), _page(2, 3, "d", "b"), _page(2, 3, "a")], "abd"),
        ([_page(2, 3, "c", "b"), _page(1, 2), _page(1, 2, "b", "a")], "ab"),
    ],
    ids=["added", "deleted", "fewer pages"],
)
async def test_no_item_is_left_out_of_a_dataset_that_is_changed_while_it_is_read(
    server: ScriptedServer, gateway: Gateway, pages: list[Reply], expected: str
) -> None:
    dataset = Dataset(id="d", name="d", created=datetime(2026, 1, 1, tzinfo=UTC))
    server.replies = [*pages]
    items = await gateway.datasets.items(dataset)
    assert [item.id for item in items] == [*expected]
    assert len(server.requests) == len(pages)


@pytest.mark.parametrize("name", ["100% sure", "a%2Fb", "%", "%%25", "a/b", " é漢🙂 ?#&+", "a" * 1000])
async def test_a_dataset_is_read_by_any_name_it_can_be_made_with(workspace: Workspace, name: str) -> None:
    full_name = f"{name} {uuid4().hex}"
    made = await workspace.gateway.datasets.upsert(full_name)
    assert await workspace.gateway.datasets.get(full_name) == made
    assert await workspace.gateway.datasets.items(full_name) == []


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", "two\nlines", "two\r", "a\tb", "a\0b", "a\x85b", "a\u2028b", "\ud800", "漢" * 1000],
    ids=ascii,
)
async def test_a_name_by_which_no_dataset_can_be_read_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        await workspace.gateway.datasets.upsert(name)
    with pytest.raises(UsageError, match="name"):
        await workspace.gateway.datasets.get(name)


@pytest.mark.slow
async def test_all_pages_of_a_dataset_come_in_the_order_of_its_items(workspace: Workspace) -> None:
    name = f"pages {uuid4().hex}"
    await workspace.gateway.datasets.upsert(name)
    for number in range(230):
        await workspace.gateway.dataset_items.upsert(name, id=f"{name}-{number}", input=number)
    assert [item.input for item in await workspace.gateway.datasets.items(name)] == list(range(230))
    assert await workspace.gateway.datasets.count_items(name) == 230
    for start, count in ((0, 230), (0, 1), (29, 2), (30, 100), (99, 102), (229, 10), (0, 1000)):
        page, total = await workspace.gateway.datasets.items_page(name, start, count)
        assert [item.input for item in page] == list(range(230))[start : start + count]
        assert total == 230
    assert await workspace.gateway.datasets.items_page(name, 230, 5) == ([], 230)


@pytest.mark.slow
async def test_items_are_known_by_the_dataset_they_belong_to(workspace: Workspace) -> None:
    name = f"owners {uuid4().hex}"
    dataset = await workspace.gateway.datasets.upsert(name)
    for number in range(2):
        await workspace.gateway.dataset_items.upsert(name, id=f"{name}-{number}", input=number)
    few = [f"{name}-0", f"{name}-none", f"{name}-%", ".", ".."]
    many = {f"{name}-{number}" for number in range(2000)}
    for asked, numbers in ((few, [0]), (many, [0, 1])):
        found = await workspace.gateway.datasets.find_items(asked, lambda item: item)
        assert {item_id: (item.dataset_id, item.input) for item_id, item in found.items()} == {
            f"{name}-{number}": (dataset.id, number) for number in numbers
        }
