"""Names, times and cursors of every kind."""

import base64
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.spans import SpanSketch, experiment_attributes, send

pytestmark = pytest.mark.slow

SINCE = "2020-01-01T00:00:00Z"
START = 1_700_000_000_000

names = st.text(
    alphabet=st.one_of(st.sampled_from("/,\"'%?#&+ \\.é漢🙂;[]{}"), st.characters(exclude_categories=["Cs", "Cc"])),
    min_size=1,
    max_size=30,
)
times = st.lists(st.integers(min_value=0, max_value=3), min_size=1, max_size=12)
reasonable = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])

Json = Any


@reasonable
@given(name=names)
def test_a_dataset_is_found_by_any_name(client: httpx.Client, name: str) -> None:
    client.post("/api/public/v2/datasets", json={"name": name}).raise_for_status()
    found = client.get(f"/api/public/v2/datasets/{quote(quote(name, safe=''), safe='')}")
    # A client removes the dots of a path before it asks: such a name asks for another path.
    if name not in (".", ".."):
        assert found.json()["name"] == name
    assert client.get("/api/public/dataset-items", params={"datasetName": name}).json()["data"] == []


prompt_names = names.filter(lambda name: not re.search(r"[|<]|^/|//|/$|^\s|\s$", name))
labels = st.text(alphabet="abz09_.-", min_size=1, max_size=36).filter(lambda label: label != "latest")


@reasonable
@given(name=prompt_names, label=labels)
def test_a_prompt_is_found_by_any_name_and_label(client: httpx.Client, name: str, label: str) -> None:
    full_name = f"{uuid.uuid4().hex}/{name}"
    body = {"name": full_name, "prompt": name, "labels": [label]}
    made = client.post("/api/public/v2/prompts", json=body).json()
    path = f"/api/public/v2/prompts/{quote(full_name, safe='')}"
    if not {".", ".."} & set(name.split("/")):
        assert client.get(path, params={"label": label}).json() == made
        moved = client.patch(f"{path}/versions/1", json={"newLabels": ["other"]})
        assert set(moved.json()["labels"]) == {label, "latest", "other"}


@reasonable
@given(name=names)
def test_a_run_is_found_by_any_name(client: httpx.Client, name: str) -> None:
    experiment, trace_id = uuid.uuid4().hex[:16], uuid.uuid4().hex
    attributes = experiment_attributes(experiment, name, "item", "00000000000000aa")
    send(client, [SpanSketch(trace_id, "00000000000000aa", START, START, attributes=attributes)])
    condition = json.dumps([{"type": "string", "column": "name", "operator": "=", "value": name}])
    for parameters in ({"id": experiment}, {"filter": condition, "id": experiment}):
        [found] = client.get("/api/public/experiments", params={"fromStartTime": SINCE, **parameters}).json()["data"]
        assert found["name"] == name
    by_name = client.get("/api/public/experiments", params={"fromStartTime": SINCE, "name": name, "id": experiment})
    assert bool(by_name.json()["data"]) == ("," not in name)


def _pages(client: httpx.Client, path: str, parameters: dict[str, str], limit: int) -> Iterator[list[Json]]:
    cursor: dict[str, str] = {}
    while True:
        page = client.get(f"/api/public{path}", params={**parameters, **cursor, "limit": limit}).json()
        yield page["data"]
        if "cursor" not in page["meta"]:
            return
        cursor = {"cursor": page["meta"]["cursor"]}


@reasonable
@given(starts=times, limit=st.integers(min_value=1, max_value=5))
def test_pages_hold_everything_once_however_many_share_a_moment(
    client: httpx.Client, starts: list[int], limit: int
) -> None:
    run, trace_id = uuid.uuid4().hex[:16], uuid.uuid4().hex
    spans, scores = [], []
    for number, start in enumerate(starts):
        span_id = f"{number + 1:016x}"
        attributes = experiment_attributes(f"{run}-{number}", run, f"item-{number}", span_id)
        spans.append(SpanSketch(trace_id, span_id, START + start, START + start, attributes=attributes))
        at = f"2026-01-01T00:00:00.00{start}Z"
        scores.append({"id": f"{trace_id}-{number}", "name": run, "value": 1, "traceId": trace_id, "timestamp": at})
    send(client, spans)
    client.post("/api/public/scores", json=scores).raise_for_status()
    for path, parameters in (
        ("/experiment-items", {"fromStartTime": SINCE, "experimentName": run}),
        ("/experiments", {"fromStartTime": SINCE, "name": run}),
        ("/v2/observations", {"traceId": trace_id}),
        ("/v3/scores", {"traceId": trace_id}),
        ("/v3/scores", {"name": run}),
    ):
        pages = list(_pages(client, path, parameters, limit))
        found = [each["id"] for page in pages for each in page]
        assert len(found) == len(set(found)) == len(starts), path
        assert all(len(page) == limit for page in pages[:-1]), path
        moments = [each.get("endTime") or each["timestamp"] for page in pages for each in page]
        assert moments == sorted(moments, reverse=True), path


def _as_cursor(value: Json) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _inside(members: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.lists(members) | st.dictionaries(st.text(), members)


CURSOR_FIELDS = ("lastTimestamp", "lastTime", "lastStartTimeTo", "lastId", "lastTraceId", "lastExperimentId")
json_values = st.recursive(st.none() | st.integers() | st.text(), _inside)
almost_cursors = st.fixed_dictionaries({"v": st.sampled_from([1, 2]), **dict.fromkeys(CURSOR_FIELDS, st.text())})


@reasonable
@given(cursor=st.text(max_size=40) | json_values.map(_as_cursor) | almost_cursors.map(_as_cursor))
def test_a_cursor_that_is_none_is_refused(client: httpx.Client, cursor: str) -> None:
    for path in ("/v3/scores", "/experiments", "/experiment-items", "/v2/observations"):
        answer = client.get(f"/api/public{path}", params={"fromStartTime": SINCE, "cursor": cursor})
        assert answer.status_code == 400, (path, answer.text)


@reasonable
@given(text=st.text(max_size=60))
@pytest.mark.parametrize(
    "parameter", ["filter", "fields", "limit", "fromStartTime", "isRootObservation", "environment"]
)
def test_no_parameter_breaks_the_server(client: httpx.Client, parameter: str, text: str) -> None:
    answer = client.get("/api/public/v2/observations", params={parameter: text})
    assert answer.status_code in (200, 400)
    assert answer.json()
