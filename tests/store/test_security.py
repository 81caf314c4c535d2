"""The store against requests that mean no good."""

import base64
import gzip
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx
import pytest

from lfexp_mcp.store.call import MAX_BODY_BYTES
from lfexp_mcp.store.process import StoreConnection
from tests.store.spans import PROTOBUF
from tests.waiting import PATIENCE_S

TRACES = "/api/public/otel/v1/traces"
DATASETS = "/api/public/v2/datasets"
SCORES = "/api/public/scores"
JSON = {"content-type": "application/json"}
NO_COLON = base64.b64encode(b"no colon").decode()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_a_foreign_host_is_refused(client: httpx.Client, host: str) -> None:
    assert client.get(DATASETS, headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1"])
def test_a_host_of_this_machine_is_accepted(client: httpx.Client, host: str) -> None:
    assert client.get(DATASETS, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Bearer abc",
        "Basic " + "A" * 10_000,
    ],
    ids=["none", "no credentials", "no base64", "no colon", "bearer", "long"],
)
def test_credentials_that_make_no_sense_are_refused(store: StoreConnection, header: str) -> None:
    headers = {"authorization": header} if header else {}
    answer = httpx.get(f"{store.base_url}{DATASETS}", headers=headers, trust_env=False)
    assert answer.status_code == 401


def test_only_health_is_told_without_keys(store: StoreConnection) -> None:
    for path, status in (("health", 200), ("ready", 200), ("projects", 401), ("v2/prompts", 401), ("nothing", 401)):
        assert httpx.get(f"{store.base_url}/api/public/{path}", trust_env=False).status_code == status


@pytest.mark.slow
def test_a_zip_bomb_is_refused(client: httpx.Client) -> None:
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1), compresslevel=9)
    assert len(bomb) < MAX_BODY_BYTES / 500
    answer = client.post(TRACES, content=bomb, headers={**PROTOBUF, "content-encoding": "gzip"})
    assert answer.status_code == 413


def test_a_body_that_says_it_is_too_large_is_refused_unread(store: StoreConnection) -> None:
    host, port = store.base_url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
    keys = base64.b64encode(f"{store.public_key}:{store.secret_key}".encode()).decode()
    connection.putrequest("POST", SCORES)
    connection.putheader("authorization", f"Basic {keys}")
    connection.putheader("content-length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_that_turns_out_too_large_is_refused(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 2**20 + 1):
            yield bytes(2**20)

    try:
        assert client.post(SCORES, content=chunks()).status_code == 413
    except httpx.TransportError:
        # The server answers and closes before it has read all; some systems then tell of the closing only.
        assert client.get(DATASETS).status_code == 200


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"\xff\xff\xff", PROTOBUF),
        (b"\x0a\x7f", PROTOBUF),
        (b"not gzip", {**PROTOBUF, "content-encoding": "gzip"}),
        (gzip.compress(b"x" * 1000, mtime=0)[:-10], {**PROTOBUF, "content-encoding": "gzip"}),
        (gzip.compress(b"", mtime=0) + b"more", {**PROTOBUF, "content-encoding": "gzip"}),
        (b'{"resourceSpans": 3}', JSON),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}',
            {"content-type": "application/json"},
        ),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00"}]}]}]}',
            {"content-type": "application/json"},
        ),
    ],
)
def test_broken_traces_are_refused(client: httpx.Client, content: bytes, headers: dict[str, str]) -> None:
    answer = client.post(TRACES, content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequestError")


def test_forms_of_body_that_the_store_does_not_know_are_refused(client: httpx.Client) -> None:
    assert client.post(TRACES, content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post(TRACES, content=b"x", headers={**PROTOBUF, "content-encoding": "br"}).status_code == 415


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": "n", "metadata": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"name": NaN}',
        b'{"name": "n", "metadata": Infinity}',
        b'{"name": "n", "metadata": 1e999}',
        b'{"name": "\\ud800"}',
        b'"text"',
        b"[]",
        b"null",
        b'{"name": ""}',
        b'{"name": 3}',
        b"{}",
    ],
)
def test_broken_json_is_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post(DATASETS, content=content, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["message"]


@pytest.mark.parametrize("name", ["x'; DROP TABLE datasets; --", 'x" OR 1=1', "%", "_", "a\x00b", "../../etc/passwd"])
def test_a_name_is_never_more_than_a_name(client: httpx.Client, name: str) -> None:
    assert client.post(DATASETS, json={"name": name}).json()["name"] == name
    parameters = {"fromStartTime": "2020-01-01T00:00:00Z", "experimentName": name, "datasetId": name}
    assert client.get("/api/public/experiment-items", params=parameters).json()["data"] == []
    assert client.get("/api/public/v3/scores", params={"name": name, "limit": 1}).json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/public/nothing", 404),
        ("GET", "/", 404),
        ("PUT", DATASETS, 405),
        ("POST", "/api/public/v3/scores", 405),
    ],
)
def test_what_no_route_takes_is_answered_in_json(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert ("allow" in answer.headers) == (status == 405)
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v2/datasets", {"page": "0"}),
        ("/v2/datasets", {"page": "9" * 40}),
        ("/v2/datasets", {"limit": "ten"}),
        ("/v2/datasets", {"limit": "101"}),
        ("/v2/prompts/x", {"version": "9" * 40}),
        ("/dataset-items", {"version": "2026-01-01T00:00:00Z"}),
        ("/dataset-items", {"datasetName": "x", "version": "yesterday"}),
        ("/experiments", {"fromStartTime": "9999999-01-01"}),
        ("/experiments", {"fromStartTime": "2020-01-01T00:00:00Z", "filter": "{"}),
        ("/experiments", {"fromStartTime": "2020-01-01T00:00:00Z", "filter": '[{"type": "string"}]'}),
        ("/comments", {"objectId": "x"}),
        ("/v3/scores", {"valueMin": "nan", "dataType": "NUMERIC"}),
        ("/v2/observations", {"isRootObservation": "perhaps"}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(client: httpx.Client, path: str, parameters: dict[str, str]) -> None:
    answer = client.get(f"/api/public{path}", params=parameters)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]


def test_the_store_listens_on_loopback_only(store: StoreConnection) -> None:
    port = int(store.base_url.rpartition(":")[2])
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}
    for address in addresses - {"127.0.0.1"}:
        with socket.socket() as probe:
            probe.settimeout(2.0)
            if not address.startswith("127."):
                assert probe.connect_ex((address, port)) != 0
