"""Counts of observations."""

import json
from typing import Any

import httpx
import pytest

QUERY = {
    "view": "observations",
    "metrics": [{"measure": "count", "aggregation": "count"}],
    "fromTimestamp": "1999-01-01T00:00:00Z",
    "toTimestamp": "2999-01-01T00:00:00Z",
}

Json = Any


def _ask(client: httpx.Client, **changes: Json) -> httpx.Response:
    return client.get("/api/public/v2/metrics", params={"query": json.dumps({**QUERY, **changes})})


def test_without_dimensions_there_is_one_count(client: httpx.Client) -> None:
    [row] = _ask(client, toTimestamp="1999-01-02T00:00:00Z").json()["data"]
    assert row == {"count_count": 0}


@pytest.mark.parametrize(
    "beyond",
    [
        {"view": "scores-numeric"},
        {"metrics": [{"measure": "latency", "aggregation": "p95"}]},
        {"dimensions": [{"field": "userId"}]},
        {"filters": [{"column": "name"}]},
        {"timeDimension": {"granularity": "day"}},
    ],
)
def test_what_the_store_cannot_measure_it_says(client: httpx.Client, beyond: dict[str, Json]) -> None:
    answer = _ask(client, **beyond)
    assert answer.status_code == 501
    assert "Use a Langfuse server" in answer.json()["message"]


def test_a_query_that_makes_no_sense_is_refused(client: httpx.Client) -> None:
    assert _ask(client, view="everything").status_code == 400
    assert client.get("/api/public/v2/metrics", params={"query": "{"}).status_code == 400
    assert client.get("/api/public/v2/metrics").status_code == 400
