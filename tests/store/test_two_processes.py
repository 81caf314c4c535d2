"""Two server processes on one store file."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lfexp_mcp.store.keys import folder_keys
from tests.store.spans import SpanSketch, experiment_attributes, send
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

WRITES = 60
SINCE = "2020-01-01T00:00:00Z"


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[list[httpx.Client]]:
    folder = tmp_path / "store"
    processes, opened = [], []
    for number in range(2):
        announce = tmp_path / f"server-{number}.json"
        command = [sys.executable, "-m", "lfexp_mcp.store", "--folder", str(folder), "--announce", str(announce)]
        processes.append(subprocess.Popen(command))
    for number in range(2):
        address = f"http://127.0.0.1:{_port(tmp_path / f'server-{number}.json')}"
        keys = folder_keys(folder)
        auth = (keys.public_key, keys.secret_key)
        opened.append(httpx.Client(base_url=address, auth=auth, timeout=PATIENCE_S, trust_env=False))
    yield opened
    for client in opened:
        client.close()
    for process in processes:
        process.terminate()
        process.wait()


def _port(announce: Path) -> int:
    wait_until(announce.exists)
    return int(json.loads(announce.read_text(encoding="utf-8"))["port"])


def _write(client: httpx.Client, name: str, number: int) -> None:
    span_id, trace_id = f"{number + 1:016x}", f"{name.encode().hex():0>16}{number + 1:016x}"
    item = {"datasetName": "shared", "id": f"{name}-{number}", "input": number}
    client.post("/api/public/dataset-items", json=item).raise_for_status()
    attributes = experiment_attributes("both", "both", f"{name}-{number}", span_id)
    send(client, [SpanSketch(trace_id, span_id, 1_700_000_000_000 + number, 1_700_000_000_500, attributes=attributes)])
    scores = [{"name": f"s{k}", "value": k, "traceId": trace_id, "observationId": span_id} for k in range(3)]
    client.post("/api/public/scores", json=scores).raise_for_status()


def test_what_both_write_at_once_is_all_there_for_both(clients: list[httpx.Client]) -> None:
    for client in clients:
        client.post("/api/public/v2/datasets", json={"name": "shared"}).raise_for_status()
    jobs = [(client, name, number) for number in range(WRITES) for client, name in zip(clients, "ab", strict=True)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: _write(*job), jobs))
    for client in clients:
        items = client.get("/api/public/dataset-items", params={"datasetName": "shared", "limit": 1}).json()
        assert items["meta"]["totalItems"] == 2 * WRITES
        [experiment] = client.get("/api/public/experiments", params={"fromStartTime": SINCE}).json()["data"]
        assert experiment["itemCount"] == 2 * WRITES
        parameters: dict[str, str | int] = {"fromStartTime": SINCE, "fields": "core,scores", "limit": 100}
        page = client.get("/api/public/experiment-items", params=parameters).json()
        assert {len(item["scores"]) for item in page["data"]} == {3}


def test_what_one_wrote_the_other_reads_at_once(clients: list[httpx.Client]) -> None:
    writer, reader = clients
    for number in range(10):
        writer.post("/api/public/v2/datasets", json={"name": f"d{number}"}).raise_for_status()
        assert reader.get(f"/api/public/v2/datasets/d{number}").status_code == 200


def test_a_listing_counts_what_either_has_written_since_the_last_one(clients: list[httpx.Client]) -> None:
    def totals(dataset: str) -> list[int]:
        # Twice each: the second time nothing was written in between.
        pages = [
            each.get("/api/public/dataset-items", params={"datasetName": dataset}) for each in [*clients, *clients]
        ]
        return [page.json()["meta"]["totalItems"] for page in pages]

    clients[0].post("/api/public/v2/datasets", json={"name": "counted"}).raise_for_status()
    clients[0].post("/api/public/v2/datasets", json={"name": "empty"}).raise_for_status()
    for number in range(1, 5):
        item = {"datasetName": "counted", "id": f"counted-{number}", "input": number}
        clients[number % 2].post("/api/public/dataset-items", json=item).raise_for_status()
        assert (totals("counted"), totals("empty")) == ([number] * 4, [0] * 4)
    clients[0].delete("/api/public/dataset-items/counted-1").raise_for_status()
    assert totals("counted") == [3] * 4
