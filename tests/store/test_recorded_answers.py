"""The store answers what a real server was recorded to answer."""

import csv
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lfexp_mcp.store.process import ensure_store, stop_store
from tests.store.conftest import client_of
from tests.store.recorded_world import RECORDED, Json, RecordedWorld, recorded


class Row(NamedTuple):
    file: str
    status: int
    request: str


def _index() -> list[Row]:
    with (RECORDED / "INDEX.tsv").open(encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Row(file, int(status), request) for file, status, request, _ in rows]


INDEX = _index()
READS = [row for row in INDEX if row.request.startswith("GET") and "(" not in row.request]

MADE_BY_THE_SERVER = ("createdAt", "updatedAt", "lastUpdatedAt", "projectId")
"""Values that only have to be of the same type."""
SHAPE_ONLY = ("health.json", "ready.json", "projects.json", "metrics_v2.json", "models.json")
"""Answers on what the embedded store has by itself, such as its own version."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedWorld]:
    folder = tmp_path_factory.mktemp("recorded")
    with client_of(ensure_store(folder)) as client:
        made = RecordedWorld(client)
        made.fill()
        yield made
    stop_store(folder)


def test_every_recorded_file_is_in_the_index() -> None:
    assert {row.file for row in INDEX} == {path.name for path in RECORDED.glob("*.json")}


@pytest.mark.parametrize("row", READS, ids=lambda row: row.file)
def test_a_recorded_request_gets_the_recorded_answer(world: RecordedWorld, row: Row) -> None:
    answer = world.client.get(world.translate(row.request.removeprefix("GET ")))
    expected = json.loads(world.translate((RECORDED / row.file).read_text(encoding="utf-8")))
    assert answer.status_code == row.status
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    if row.file in SHAPE_ONLY:
        assert _json(answer.json()) == _json(expected)
    else:
        assert _comparable(answer.json()) == _comparable(expected)


def test_wrong_keys_get_the_recorded_answer(world: RecordedWorld) -> None:
    for keys in (("pk-lf-wrong", "sk-lf-wrong"), ("", "")):
        answer = world.client.get("/api/public/v2/datasets", auth=keys)
        assert (answer.status_code, answer.json()) == (401, recorded("bad_auth"))


def test_an_annotation_without_a_config_gets_the_recorded_answer(world: RecordedWorld) -> None:
    body = {"name": "s", "value": 1, "traceId": "t", "source": "ANNOTATION"}
    answer = world.client.post("/api/public/scores", json=body)
    assert (answer.status_code, answer.json()) == (400, recorded("post_scores_annotation_no_config"))


def _comparable(value: Json, key: str = "") -> Json:
    """Leave out what no two servers share: the moments they made things at, and the order of embedded scores."""
    if isinstance(value, dict):
        return {name: _comparable(member, name) for name, member in value.items()}
    if isinstance(value, list):
        members = [_comparable(member) for member in value]
        return sorted(members, key=lambda score: str(score["id"])) if key == "scores" else members
    if key in MADE_BY_THE_SERVER:
        return _kind(value)
    if key == "latency":
        # The same duration of 0 was recorded as 0 in one answer and as null in another.
        return value or 0
    return value


def _kind(value: Json) -> str:
    if isinstance(value, str):
        return "time" if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value) else "string"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _json(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _json(member) for name, member in value.items()}
    if isinstance(value, list):
        shapes = [_json(member) for member in value]
        return [as_json for position, as_json in enumerate(shapes) if as_json not in shapes[:position]]
    return _kind(value)
