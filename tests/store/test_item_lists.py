"""The route of the embedded store alone, which takes many dataset items at once."""

import uuid
from typing import Any

import httpx
import pytest

from lfexp_mcp.store.address import API, ITEM_LISTS

Json = Any


def post(client: httpx.Client, dataset: str, items: Json) -> httpx.Response:
    return client.post(f"{API}{ITEM_LISTS}", json={"datasetName": dataset, "items": items})


def inputs(client: httpx.Client, dataset: str) -> list[Json]:
    page = client.get(f"{API}/dataset-items", params={"datasetName": dataset}).json()
    return [item["input"] for item in reversed(page["data"])]


@pytest.fixture
def dataset(client: httpx.Client) -> str:
    name = f"list {uuid.uuid4().hex}"
    client.post(f"{API}/v2/datasets", json={"name": name}).raise_for_status()
    return name


def test_a_list_is_answered_as_its_items_would_be_one_by_one(client: httpx.Client, dataset: str) -> None:
    ids = [f"{dataset} {number}" for number in range(3)]
    items = [{"id": item_id, "input": "7500", "expectedOutput": {"a": 1}, "metadata": {"n": "1"}} for item_id in ids]
    answered = post(client, dataset, items).json()["data"]
    assert answered == [client.get(f"{API}/dataset-items/{item_id}").json() for item_id in ids]
    assert [item["input"] for item in answered] == [7500] * 3


@pytest.mark.parametrize("item_id", ["", "i" * 256])
def test_an_id_that_is_empty_or_too_long_is_refused(client: httpx.Client, dataset: str, item_id: str) -> None:
    assert post(client, dataset, [{"id": item_id, "input": 1}]).status_code == 400
    body = {"datasetName": dataset, "id": item_id, "input": 1}
    assert client.post(f"{API}/dataset-items", json=body).status_code == 400
    assert inputs(client, dataset) == []


def test_of_two_items_of_a_list_with_one_id_the_last_stays(client: httpx.Client, dataset: str) -> None:
    items = [{"id": f"{dataset} {number % 2}", "input": number} for number in range(4)]
    assert [item["input"] for item in post(client, dataset, items).json()["data"]] == [0, 1, 2, 3]
    assert inputs(client, dataset) == [2, 3]


def test_a_list_with_an_item_of_another_dataset_stores_nothing(client: httpx.Client, dataset: str) -> None:
    other = f"{dataset} other"
    client.post(f"{API}/v2/datasets", json={"name": other}).raise_for_status()
    assert post(client, other, [{"id": f"{dataset} x", "input": "kept"}]).status_code == 200
    items = [{"id": f"{dataset} {end}", "input": end} for end in ("y", "x", "z")]
    assert post(client, dataset, items).status_code == 409
    assert (inputs(client, dataset), inputs(client, other)) == ([], ["kept"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"datasetName": "no such dataset", "items": []}', 404),
        (b'{"datasetName": "%s", "items": [{"input": NaN}]}', 400),
        (b'{"datasetName": "%s", "items": [{"input": 1}, {"input": "\\ud800"}]}', 400),
        (b'{"datasetName": "%s", "items": [{"input": 1}, {"input": 1, "id": 7}]}', 400),
        (b'{"datasetName": "%s", "items": [{"input": 1}, 7]}', 400),
        (b'{"datasetName": "%s", "items": {}}', 400),
        (b'{"datasetName": "%s"}', 400),
        (b'{"items": []}', 400),
        (b'[{"input": 1}]', 400),
    ],
)
def test_a_list_that_is_none_is_refused_whole(client: httpx.Client, dataset: str, body: bytes, status: int) -> None:
    sent = body.replace(b"%s", dataset.encode())
    assert client.post(f"{API}{ITEM_LISTS}", content=sent).status_code == status
    assert inputs(client, dataset) == []


def test_a_list_needs_the_stores_keys(client: httpx.Client, dataset: str) -> None:
    answer = httpx.post(
        f"{client.base_url}{API}{ITEM_LISTS}", json={"datasetName": dataset, "items": [{"input": 1}]}, trust_env=False
    )
    assert answer.status_code == 401
    assert inputs(client, dataset) == []
