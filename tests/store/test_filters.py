"""Filters of scores, experiments and observations."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lfexp_mcp.store.filters import FilterType
from lfexp_mcp.store.process import ensure_store, stop_store
from lfexp_mcp.store.routes.observations import _COLUMNS
from tests.store.conftest import client_of
from tests.store.spans import SpanSketch, experiment_attributes, send

START = 1_700_000_000_000
SINCE = "2020-01-01T00:00:00Z"
TRACES = {"one": "1" * 32, "two": "2" * 32}

Json = Any


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A store with a few things of each kind."""
    folder = tmp_path_factory.mktemp("filters")
    with client_of(ensure_store(folder)) as client:
        send(client, _spans())
        config = {"name": "configured", "dataType": "NUMERIC"}
        config_id = client.post("/api/public/score-configs", json=config).json()["id"]
        client.post("/api/public/scores", json=_scores(config_id)).raise_for_status()
        client.headers["x-config-id"] = config_id
        yield client
    stop_store(folder)


def _spans() -> list[SpanSketch]:
    rich: dict[str, str | int | float | bool] = {
        "langfuse.trace.name": "checkout",
        "langfuse.trace.tags": '["blue", "green"]',
        "langfuse.environment": "production",
        "langfuse.observation.level": "WARNING",
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "m-1",
        "langfuse.observation.usage_details": '{"input": 10, "output": 5}',
        "langfuse.observation.cost_details": '{"total": 0.5}',
        "langfuse.observation.input": "What is the Capital?",
        "langfuse.observation.metadata.region": '"eu"',
        "langfuse.observation.metadata.rank": "7",
        "langfuse.observation.metadata.cached": "true",
        "langfuse.observation.metadata.path": "[1,2]",
        "user.id": "ada",
        "session.id": "s-1",
        "langfuse.version": "v2",
    }
    item = experiment_attributes("e-1", "run, with comma", "item-1", "00000000000000cc")
    item["langfuse.experiment.dataset.id"] = "d-1"
    return [
        SpanSketch(
            TRACES["one"],
            "00000000000000aa",
            START,
            START + 2000,
            "rich",
            None,
            rich,
            {"resourceAttributes.service.name": "shop"},
        ),
        SpanSketch(TRACES["one"], "00000000000000bb", START + 1, START + 5, "child", "00000000000000aa"),
        SpanSketch(TRACES["two"], "00000000000000cc", START + 10_000, START + 10_001, "item", "00000000000000dd", item),
    ]


def _scores(config_id: str) -> list[Json]:
    one, two = {"traceId": TRACES["one"]}, {"traceId": TRACES["two"]}
    scores: list[Json] = [
        {"id": "num", "name": "acc", "value": 0.5, "environment": "production", **one},
        {"id": "num2", "name": "acc", "value": 0.9, "observationId": "00000000000000cc", **two},
        {"id": "bool", "name": "ok", "value": 1, "dataType": "BOOLEAN", **one},
        {"id": "cat", "name": "verdict", "value": "pass", **one},
        {"id": "text", "name": "note", "value": "long", "dataType": "TEXT", **one},
        {"id": "fix", "name": "x", "value": "better", "dataType": "CORRECTION", **one},
        {"id": "run", "name": "mean", "value": 1, "datasetRunId": "e-1"},
        {"id": "session", "name": "mood", "value": 1, "sessionId": "s-1"},
        {
            "id": "human",
            "name": "n",
            "value": 3,
            "configId": config_id,
            "source": "ANNOTATION",
            "queueId": "q-1",
            **two,
        },
    ]
    return [{**score, "timestamp": f"2026-01-0{day}T00:00:00Z"} for day, score in enumerate(scores, start=1)]


def _ids(client: httpx.Client, path: str, parameters: dict[str, str]) -> list[str]:
    answer = client.get(f"/api/public{path}", params=parameters)
    assert answer.is_success, answer.text
    return [each["id"] for each in answer.json()["data"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "human session run fix text cat bool num2 num"),
        ({"id": "num,cat"}, "cat num"),
        ({"name": "acc,ok"}, "bool num2 num"),
        ({"name": "output"}, "fix"),
        ({"source": "annotation"}, "human"),
        ({"dataType": "numeric,text"}, "human session run text num2 num"),
        ({"environment": "production"}, "num"),
        ({"queueId": "q-1"}, "human"),
        ({"authorUserId": "nobody"}, ""),
        ({"traceId": TRACES["two"]}, "human num2"),
        ({"traceId": f"{TRACES['one']},{TRACES['two']}", "name": "acc"}, "num2 num"),
        ({"traceId": TRACES["two"], "observationId": "00000000000000cc"}, "num2"),
        ({"sessionId": "s-1"}, "session"),
        ({"experimentId": "e-1,e-2"}, "run"),
        ({"dataType": "NUMERIC", "value": "0.5,3"}, "human num"),
        ({"dataType": "BOOLEAN", "value": "true"}, "bool"),
        ({"dataType": "CATEGORICAL", "value": "pass,fail"}, "cat"),
        ({"dataType": "NUMERIC", "valueMin": "0.5", "valueMax": "0.9"}, "num2 num"),
        ({"fromTimestamp": "2026-01-03T00:00:00Z", "toTimestamp": "2026-01-05T00:00:00Z"}, "cat bool"),
        ({"traceId": ""}, ""),
    ],
)
def test_scores_are_filtered(filled: httpx.Client, parameters: dict[str, str], expected: str) -> None:
    assert _ids(filled, "/v3/scores", parameters) == expected.split()


def test_scores_are_filtered_by_config(filled: httpx.Client) -> None:
    assert _ids(filled, "/v3/scores", {"configId": filled.headers["x-config-id"]}) == ["human"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"traceId": "a", "sessionId": "b"},
        {"sessionId": "a", "experimentId": "b"},
        {"observationId": "a"},
        {"value": "1"},
        {"value": "1", "dataType": "NUMERIC,BOOLEAN"},
        {"value": "x", "dataType": "NUMERIC"},
        {"value": "inf", "dataType": "NUMERIC"},
        {"value": "1", "dataType": "BOOLEAN"},
        {"value": "x", "dataType": "TEXT"},
        {"valueMin": "0"},
        {"valueMin": "0", "dataType": "BOOLEAN"},
        {"fields": "everything"},
        {"cursor": "no cursor"},
    ],
)
def test_filters_of_scores_that_contradict_are_refused(filled: httpx.Client, parameters: dict[str, str]) -> None:
    assert filled.get("/api/public/v3/scores", params=parameters).status_code == 400


def _condition(kind: str, column: str, operator: str, value: Json = None, key: str | None = None) -> dict[str, str]:
    condition = {"type": kind, "column": column, "operator": operator, "value": value, "key": key}
    return {"filter": json.dumps([{name: each for name, each in condition.items() if each is not None}])}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "cc bb aa"),
        ({"name": "rich"}, "aa"),
        ({"userId": "ada"}, "aa"),
        ({"sessionId": "s-1"}, "aa"),
        ({"type": "GENERATION"}, "aa"),
        ({"level": "WARNING"}, "aa"),
        ({"version": "v2"}, "aa"),
        ({"traceId": TRACES["one"]}, "bb aa"),
        ({"parentObservationId": "00000000000000aa"}, "bb"),
        ({"parentObservationId": ""}, "aa"),
        ({"isRootObservation": "true"}, "aa"),
        ({"isRootObservation": "false"}, "cc bb"),
        ({"environment": "production,default"}, "bb aa"),
        ({"fromStartTime": "2023-11-14T22:13:20.001Z", "toStartTime": "2023-11-14T22:13:21Z"}, "bb"),
        (_condition("string", "name", "=", "rich"), "aa"),
        (_condition("string", "name", "contains", "h"), "bb aa"),
        (_condition("string", "name", "does not contain", "h"), "cc"),
        (_condition("string", "name", "starts with", "ch"), "bb"),
        (_condition("string", "name", "ends with", "ich"), "aa"),
        (_condition("string", "name", "ends with", "longer than any name"), ""),
        (_condition("string", "name", "contains", "%"), ""),
        (_condition("string", "input", "matches", "the CAPITAL"), "aa"),
        (_condition("stringOptions", "environment", "any of", ["production", "x"]), "aa"),
        (_condition("stringOptions", "environment", "none of", ["production", "x"]), "cc bb"),
        (_condition("arrayOptions", "tags", "any of", ["red", "blue"]), "aa"),
        (_condition("arrayOptions", "tags", "all of", ["green", "blue"]), "aa"),
        (_condition("arrayOptions", "tags", "all of", ["red", "blue"]), ""),
        (_condition("arrayOptions", "traceTags", "none of", ["blue"]), "cc bb"),
        (_condition("arrayOptions", "tags", "any of", [*map(str, range(1500)), "blue"]), "aa"),
        (_condition("number", "latency", ">=", 2), "aa"),
        (_condition("number", "totalTokens", ">", 14), "aa"),
        (_condition("number", "totalCost", "=", 0.5), "aa"),
        (_condition("number", "tokensPerSecond", "<", 3), "aa"),
        (_condition("string", "model", "=", "m-1"), "aa"),
        (_condition("datetime", "startTime", ">", "2023-11-14T22:13:21Z"), "cc"),
        (_condition("boolean", "isRootObservation", "=", value=True), "aa"),
        (_condition("boolean", "isRootObservation", "<>", value=True), "cc bb"),
        (_condition("null", "parentObservationId", "is null"), "aa"),
        (_condition("null", "userId", "is not null"), "aa"),
        (_condition("stringObject", "metadata", "=", "eu", "region"), "aa"),
        (_condition("stringObject", "metadata", "starts with", "e", "region"), "aa"),
        (_condition("numberObject", "metadata", ">", 6, "rank"), "aa"),
        (_condition("categoryOptions", "metadata", "any of", ["eu", "us"], "region"), "aa"),
        (_condition("stringObject", "metadata", "=", "7", "rank"), "aa"),
        (_condition("stringObject", "metadata", "=", "true", "cached"), "aa"),
        (_condition("stringObject", "metadata", "contains", "1,2", "path"), "aa"),
        (_condition("stringObject", "metadata", "=", "shop", "resourceAttributes.service.name"), "aa"),
        (_condition("stringObject", "metadata", "does not contain", "us", "region"), "aa"),
        (_condition("stringObject", "metadata", "does not contain", "e", "region"), ""),
        (_condition("numberObject", "metadata", ">", 6, "region"), ""),
        (_condition("numberObject", "metadata", "<", 6, "cached"), ""),
        ({**_condition("string", "parentObservationId", "=", "00000000000000aa"), "parentObservationId": ""}, "bb"),
        ({**_condition("string", "name", "=", "child"), "name": "rich"}, "bb"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_observations_are_filtered(filled: httpx.Client, parameters: dict[str, str], expected: str) -> None:
    ends = [each.removeprefix("00000000000000") for each in _ids(filled, "/v2/observations", parameters)]
    assert ends == expected.split()


@pytest.mark.parametrize(
    "parameters",
    [
        _condition("string", "password", "=", "x"),
        _condition("string", "name", "LIKE", "x"),
        _condition("string", "name", "=", 3),
        _condition("number", "latency", "=", "x"),
        _condition("number", "latency", "<>", 1),
        _condition("datetime", "startTime", ">", "yesterday"),
        _condition("boolean", "isRootObservation", "=", "true"),
        _condition("null", "name", "="),
        _condition("arrayOptions", "tags", "some of", ["x"]),
        _condition("stringOptions", "name", "any of", "x"),
        _condition("stringObject", "metadata", "=", "x"),
        _condition("stringObject", "name", "=", "x", "key"),
        _condition("number", "name", ">", 3),
        _condition("datetime", "name", ">", "2020-01-01T00:00:00Z"),
        _condition("string", "startTime", "contains", "1"),
        _condition("string", "totalTokens", "contains", "1"),
        _condition("string", "metadata", "contains", "eu"),
        _condition("magic", "name", "=", "x"),
        {"filter": json.dumps([{"type": "string", "column": "name", "operator": "=", "value": "x"}] * 101)},
    ],
    ids=lambda value: value["filter"][:70],
)
def test_a_filter_that_makes_no_sense_is_refused(filled: httpx.Client, parameters: dict[str, str]) -> None:
    assert filled.get("/api/public/v2/observations", params=parameters).status_code == 400


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"experimentId": "e-0,e-1"}, True),
        ({"experimentItemId": "item-1"}, True),
        ({"datasetId": "d-1"}, True),
        ({"datasetId": "d-2"}, False),
        ({"experimentName": "run, with comma"}, False),
        (_condition("string", "experimentName", "=", "run, with comma"), True),
        (_condition("stringOptions", "experimentId", "none of", ["e-1"]), False),
        ({"toStartTime": "2023-11-14T22:13:30Z"}, False),
        ({"toStartTime": "2023-11-14T22:13:30.001Z"}, True),
        ({"fromStartTime": "2023-11-14T22:13:30.001Z"}, False),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_experiment_items_are_filtered(filled: httpx.Client, parameters: dict[str, str], found: bool) -> None:
    assert bool(_ids(filled, "/experiment-items", {"fromStartTime": SINCE, **parameters})) == found


SENSIBLE: dict[FilterType, tuple[str, Any]] = {
    "datetime": (">", "2026-01-01T00:00:00Z"),
    "string": ("contains", "x"),
    "number": (">", 3),
    "stringOptions": ("any of", ["x"]),
    "categoryOptions": ("any of", ["x"]),
    "arrayOptions": ("all of", ["x"]),
    "stringObject": ("=", "x"),
    "numberObject": (">", 3),
    "boolean": ("=", True),
    "null": ("is null", None),
}


@pytest.mark.parametrize("kind", SENSIBLE)
def test_no_pair_of_column_and_type_breaks_the_server(filled: httpx.Client, kind: FilterType) -> None:
    for column in _COLUMNS:
        parameters = _condition(kind, column, *SENSIBLE[kind], "key")
        answer = filled.get("/api/public/v2/observations", params=parameters)
        assert answer.status_code in (200, 400), (column, answer.text)
