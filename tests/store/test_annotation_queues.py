"""Annotation queues of the store, as those of Langfuse 4.16.0 are."""

import httpx
import pytest

from tests.store.recorded_world import Json

QUEUES = "/api/public/annotation-queues"


@pytest.fixture
def config(client: httpx.Client) -> str:
    return str(client.post("/api/public/score-configs", json={"name": "c", "dataType": "BOOLEAN"}).json()["id"])


def test_a_queue_has_a_name_of_its_own_and_configs_that_there_are(client: httpx.Client, config: str) -> None:
    body: dict[str, Json] = {"name": "own", "scoreConfigIds": [config], "description": "What to do.\n{}"}
    made = client.post(QUEUES, json=body)
    assert (made.status_code, made.json()["description"]) == (200, "What to do.\n{}")
    again = client.post(QUEUES, json=body)
    assert (again.status_code, again.json()["message"]) == (400, "A queue with this name already exists.")
    for configs in ([], ["nobody"], [config, "nobody"]):
        assert client.post(QUEUES, json={"name": "other", "scoreConfigIds": configs}).status_code == 400
    assert client.post(QUEUES, json={"name": "other"}).status_code == 400
    for method in ("PATCH", "DELETE"):
        assert client.request(method, f"{QUEUES}/{made.json()['id']}", json={"name": "x"}).status_code in (404, 405)


def test_what_is_pending_again_keeps_the_time_at_which_it_was_completed(client: httpx.Client, config: str) -> None:
    queue = client.post(QUEUES, json={"name": "again", "scoreConfigIds": [config]}).json()["id"]
    path = f"{QUEUES}/{queue}/items"
    item = client.post(path, json={"objectId": "o", "objectType": "OBSERVATION"}).json()
    assert (item["status"], item["completedAt"]) == ("PENDING", None)
    done = client.patch(f"{path}/{item['id']}", json={"status": "COMPLETED"}).json()
    pending = client.patch(f"{path}/{item['id']}", json={"status": "PENDING"}).json()
    assert (pending["status"], pending["completedAt"]) == ("PENDING", done["completedAt"])
    assert done["completedAt"] is not None


def test_the_same_object_may_be_in_a_queue_twice_and_pages_are_newest_first(client: httpx.Client, config: str) -> None:
    queue = client.post(QUEUES, json={"name": "twice", "scoreConfigIds": [config]}).json()["id"]
    path = f"{QUEUES}/{queue}/items"
    for name in ("a", "b", "a"):
        assert client.post(path, json={"objectId": name, "objectType": "TRACE"}).status_code == 200
    pages = [client.get(path, params={"limit": 2, "page": page}).json() for page in (1, 2)]
    assert [[each["objectId"] for each in page["data"]] for page in pages] == [["a", "b"], ["a"]]
    assert pages[0]["meta"] == {"page": 1, "limit": 2, "totalItems": 3, "totalPages": 2}
    assert client.get(f"{QUEUES}/nobody/items").status_code == 404
