"""Scores as they are posted: what is accepted, merged, dropped, refused."""

import uuid
from typing import Any

import httpx
import pytest

Json = Any


def _post(client: httpx.Client, body: Json) -> httpx.Response:
    return client.post("/api/public/scores", json=body)


def _scores(client: httpx.Client, trace_id: str) -> list[Json]:
    parameters = {"traceId": trace_id, "fields": "details,subject,annotation"}
    data: list[Json] = client.get("/api/public/v3/scores", params=parameters).json()["data"]
    return data


@pytest.fixture
def trace_id() -> str:
    return uuid.uuid4().hex


def test_a_list_is_accepted_as_a_whole(client: httpx.Client, trace_id: str) -> None:
    answer = _post(client, [{"name": "a", "value": 1, "traceId": trace_id}])
    assert (answer.status_code, answer.json()) == (202, {"message": "Accepted"})


def test_a_list_with_wrong_scores_keeps_the_right_ones(client: httpx.Client, trace_id: str) -> None:
    body = [{"name": "a", "value": 1, "traceId": trace_id}, {"name": "b", "traceId": trace_id}, {"value": 1}, 3]
    body += [{"name": "c", "value": 2, "dataType": "BOOLEAN", "traceId": trace_id}]
    answer = _post(client, body)
    result = answer.json()
    assert (answer.status_code, result["accepted"], result["rejected"]) == (207, 1, 4)
    assert result["errors"][0]["message"].startswith("Score 1: value: ")
    assert [score["name"] for score in _scores(client, trace_id)] == ["a"]


@pytest.mark.parametrize(
    ("body", "data_type", "value"),
    [
        ({"value": 0.25}, "NUMERIC", 0.25),
        ({"value": 3.0}, "NUMERIC", 3),
        ({"value": "good"}, "CATEGORICAL", "good"),
        ({"value": 0, "dataType": "BOOLEAN"}, "BOOLEAN", False),
        ({"value": "x" * 500, "dataType": "TEXT"}, "TEXT", "x" * 500),
        ({"value": "better", "dataType": "CORRECTION"}, "CORRECTION", "better"),
    ],
)
def test_a_value_is_read_as_it_was_meant(
    client: httpx.Client, trace_id: str, body: Json, data_type: str, value: Json
) -> None:
    _post(client, {"name": "n", "traceId": trace_id, **body}).raise_for_status()
    [score] = _scores(client, trace_id)
    assert (score["dataType"], score["value"]) == (data_type, value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": True},
        {"value": None},
        {"value": [1]},
        {"value": "1", "dataType": "NUMERIC"},
        {"value": 1, "dataType": "CATEGORICAL"},
        {"value": "", "dataType": "TEXT"},
        {"value": 0.5, "dataType": "BOOLEAN"},
        {"value": 1, "source": "EVAL"},
        {"value": 1, "sessionId": "s"},
        {"value": 1, "timestamp": "soon"},
        {"value": 1, "name": ""},
    ],
)
def test_a_score_that_breaks_a_rule_is_refused_with_its_field(client: httpx.Client, trace_id: str, wrong: Json) -> None:
    answer = _post(client, {"name": "n", "traceId": trace_id, **wrong})
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid request data"
    assert _scores(client, trace_id) == []


def test_a_score_belongs_to_something(client: httpx.Client) -> None:
    assert _post(client, {"name": "n", "value": 1}).status_code == 400
    assert _post(client, {"name": "n", "value": 1, "datasetRunId": "r", "observationId": "o"}).status_code == 400


def test_a_score_posted_again_is_merged(client: httpx.Client, trace_id: str) -> None:
    score_id = uuid.uuid4().hex
    first = {"id": score_id, "name": "old", "value": 1, "traceId": trace_id, "comment": "kept", "metadata": {"a": 1}}
    _post(client, {**first, "timestamp": "2026-01-01T00:00:00Z"}).raise_for_status()
    _post(client, {"id": score_id, "name": "new", "value": "pass", "traceId": trace_id}).raise_for_status()
    [score] = _scores(client, trace_id)
    assert {name: score[name] for name in ("name", "value", "dataType", "comment", "metadata", "timestamp")} == {
        "name": "new",
        "value": "pass",
        "dataType": "CATEGORICAL",
        "comment": "kept",
        "metadata": {"a": 1},
        "timestamp": "2026-01-01T00:00:00.000Z",
    }


def test_a_deleted_score_is_gone(client: httpx.Client, trace_id: str) -> None:
    score_id = _post(client, {"name": "n", "value": 1, "traceId": trace_id}).json()["id"]
    assert client.delete(f"/api/public/scores/{score_id}").status_code == 204
    assert _scores(client, trace_id) == []


@pytest.mark.parametrize(
    ("config", "kept", "dropped"),
    [
        ({"dataType": "NUMERIC", "minValue": 0, "maxValue": 1}, [0, 0.5, 1], [-0.1, 1.1, "0.5"]),
        ({"dataType": "NUMERIC"}, [-5, 1e9], ["x"]),
        ({"dataType": "BOOLEAN"}, [0, 1], [2, "true"]),
        ({"dataType": "CATEGORICAL", "categories": [{"label": "good", "value": 1}]}, ["good"], ["bad", 1]),
        ({"dataType": "TEXT"}, ["words"], [1, "x" * 501]),
    ],
)
def test_a_config_takes_what_suits_it_and_drops_the_rest(
    client: httpx.Client, trace_id: str, config: Json, kept: list[Json], dropped: list[Json]
) -> None:
    config_id = client.post("/api/public/score-configs", json={"name": "configured", **config}).json()["id"]
    for value in [*kept, *dropped]:
        answer = _post(client, {"name": "another", "value": value, "traceId": trace_id, "configId": config_id})
        assert answer.status_code == 200
    scores = _scores(client, trace_id)
    assert {(score["name"], score["dataType"]) for score in scores} == {("configured", config["dataType"])}
    assert sorted(score["value"] for score in scores) == kept


@pytest.mark.parametrize("name", ["a" * 36, "tone/v2", "tone:2", "", "tone\n", 7])
def test_a_config_is_refused_under_a_name_that_langfuse_does_not_take(client: httpx.Client, name: Json) -> None:
    answer = client.post("/api/public/score-configs", json={"name": name, "dataType": "BOOLEAN"})
    assert (answer.status_code, answer.json()["error"][0]["path"]) == (400, ["name"])
    good = {"name": "Größe_1 (a.b-c)", "dataType": "BOOLEAN"}
    assert client.post("/api/public/score-configs", json=good).status_code == 200


@pytest.mark.parametrize("second", [{"label": "good", "value": 2}, {"label": "fair", "value": 1}])
def test_categories_have_labels_and_values_of_their_own(client: httpx.Client, second: Json) -> None:
    body = {"name": "c", "dataType": "CATEGORICAL", "categories": [{"label": "good", "value": 1}, second]}
    assert client.post("/api/public/score-configs", json=body).status_code == 400


def test_a_score_of_an_unknown_config_is_dropped(client: httpx.Client, trace_id: str) -> None:
    assert _post(client, {"name": "n", "value": 1, "traceId": trace_id, "configId": "nobody"}).status_code == 200
    assert _scores(client, trace_id) == []


def test_a_config_is_changed_in_part(client: httpx.Client) -> None:
    body = {"name": "c", "dataType": "NUMERIC", "minValue": 0, "maxValue": 1, "description": "d"}
    config_id = client.post("/api/public/score-configs", json=body).json()["id"]
    changed = client.patch(f"/api/public/score-configs/{config_id}", json={"maxValue": 10, "isArchived": True}).json()
    assert (changed["maxValue"], changed["minValue"], changed["isArchived"], changed["description"]) == (
        10,
        0,
        True,
        "d",
    )
    assert client.get(f"/api/public/score-configs/{config_id}").json() == changed
    assert client.patch("/api/public/score-configs/nobody", json={"maxValue": 1}).status_code == 404


def test_a_change_that_contradicts_the_rest_of_a_config_is_refused(client: httpx.Client) -> None:
    numeric = {"name": "c", "dataType": "NUMERIC", "minValue": 0, "maxValue": 1}
    text: Json = {"name": "c", "dataType": "TEXT"}
    for body, patch in ((numeric, {"minValue": 1}), (numeric, {"maxValue": -1}), (text, {"minValue": 0}), (text, {})):
        made = client.post("/api/public/score-configs", json=body).json()
        path = f"/api/public/score-configs/{made['id']}"
        assert client.patch(path, json=patch).status_code == 400
        assert client.get(path).json() == made


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataType": "NUMERIC", "minValue": 1, "maxValue": 0},
        {"dataType": "NUMERIC", "categories": [{"label": "a", "value": 1}]},
        {"dataType": "CATEGORICAL"},
        {"dataType": "CATEGORICAL", "categories": [{"label": "a", "value": 1}, {"label": "a", "value": 2}]},
        {"dataType": "CATEGORICAL", "categories": [{"label": "a", "value": 1}], "maxValue": 1},
        {"dataType": "TEXT", "minValue": 0},
        {"dataType": "MAGIC"},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(client: httpx.Client, wrong: Json) -> None:
    assert client.post("/api/public/score-configs", json={"name": "c", **wrong}).status_code == 400
