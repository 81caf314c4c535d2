"""The server process: found, started once, left running, stopped."""

import base64
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from lfexp_mcp.errors import StoreError
from lfexp_mcp.store.address import ANNOUNCEMENT, PORT_FILE
from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.store.conftest import client_of
from tests.store.thief import thief_at
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.slow

START = """
import pathlib, sys
from lfexp_mcp.store.process import ensure_store
print(ensure_store(pathlib.Path(sys.argv[1])).base_url)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "store"
    stop_store(tmp_path / "store")


def _announced(folder: Path) -> dict[str, str | int]:
    content: dict[str, str | int] = json.loads((folder / ANNOUNCEMENT).read_text(encoding="utf-8"))
    return content


def _is_up(connection: StoreConnection) -> bool:
    try:
        return httpx.get(f"{connection.base_url}/api/public/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


def _make_dataset(connection: StoreConnection, name: str) -> None:
    with client_of(connection) as client:
        client.post("/api/public/v2/datasets", json={"name": name}).raise_for_status()


def _datasets(connection: StoreConnection) -> list[str]:
    with client_of(connection) as client:
        return [each["name"] for each in client.get("/api/public/v2/datasets").json()["data"]]


def test_a_client_that_leaves_in_the_middle_of_a_request_is_nothing_to_log(folder: Path) -> None:
    store = ensure_store(folder)
    keys = base64.b64encode(f"{store.public_key}:{store.secret_key}".encode()).decode()
    head = f"POST /api/public/scores HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {keys}\r\n"
    with socket.create_connection(("127.0.0.1", int(store.base_url.rpartition(":")[2])), PATIENCE_S) as connection:
        connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    with client_of(store) as client:
        assert client.get("/api/public/health").is_success
    assert stop_store(folder)
    assert (folder / "store.log").read_text(encoding="utf-8") == ""


def test_processes_that_start_at_once_get_the_same_server(folder: Path) -> None:
    def start(_: int) -> str:
        command = [sys.executable, "-c", START, str(folder)]
        return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(start, range(4)))
    assert urls == {ensure_store(folder).base_url}


def test_the_server_outlives_the_process_that_started_it(folder: Path) -> None:
    command = [sys.executable, "-c", START, str(folder)]
    url = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout.strip()
    assert httpx.get(f"{url}/api/public/health", trust_env=False).is_success


def test_a_restart_keeps_address_keys_and_data(folder: Path) -> None:
    first = ensure_store(folder)
    _make_dataset(first, "kept")
    assert stop_store(folder)
    assert not _is_up(first)
    second = ensure_store(folder)
    assert second == first
    assert _datasets(second) == ["kept"]


def test_another_address_is_taken_when_the_old_one_is_not_free(
    folder: Path, start_store: Callable[[str], StoreConnection]
) -> None:
    first = ensure_store(folder)
    stop_store(folder)
    other = start_store("other")
    port = int(other.base_url.rpartition(":")[2])
    (folder / PORT_FILE).write_text(str(port), encoding="utf-8")
    second = ensure_store(folder)
    assert second.base_url != other.base_url
    assert (second.public_key, second.secret_key) == (first.public_key, first.secret_key)


def test_a_server_that_was_killed_is_replaced_and_nothing_stored_is_lost(folder: Path) -> None:
    first = ensure_store(folder)
    _make_dataset(first, "kept")
    os.kill(int(_announced(folder)["pid"]), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    wait_until(lambda: not _is_up(first))
    assert _datasets(ensure_store(folder)) == ["kept"]


def test_versions_that_agree_on_the_format_share_the_server_that_was_first(folder: Path) -> None:
    first = ensure_store(folder)
    older = {**_announced(folder), "version": "0.0.0"}
    (folder / ANNOUNCEMENT).write_text(json.dumps(older), encoding="utf-8")
    assert ensure_store(folder) == first
    assert _announced(folder) == older


def test_a_server_of_another_format_is_left_alone(folder: Path, start_store: Callable[[str], StoreConnection]) -> None:
    other = start_store("other")
    folder.mkdir()
    foreign = (folder.parent / "other" / ANNOUNCEMENT).read_text(encoding="utf-8")
    (folder / "server.json").write_text(foreign, encoding="utf-8")
    assert ensure_store(folder).base_url != other.base_url
    assert (folder / "server.json").read_text(encoding="utf-8") == foreign
    assert _is_up(other)


def test_the_announcement_goes_with_the_server(folder: Path) -> None:
    ensure_store(folder)
    stop_store(folder)
    assert not (folder / ANNOUNCEMENT).exists()
    ensure_store(folder, idle_exit=0.5)
    wait_until(lambda: not (folder / ANNOUNCEMENT).exists())


@pytest.mark.skipif(sys.platform == "win32", reason="a killed process of Windows cannot be told from a stopped one")
def test_a_stranger_at_the_port_of_a_killed_server_is_not_taken_for_it(folder: Path) -> None:
    first = ensure_store(folder)
    pid = int(_announced(folder)["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _listens(first))
    with thief_at(int(first.base_url.rpartition(":")[2])) as thief:
        second = ensure_store(folder)
        assert second.base_url != first.base_url
        assert thief.requests > 0
        assert not thief.heard(second.secret_key, second.public_key)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "port": 2}', '{"pid": 1, "port": 1}'])
def test_an_announcement_that_makes_no_sense_is_passed_over(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / ANNOUNCEMENT).write_text(content, encoding="utf-8")
    assert _is_up(ensure_store(folder))


def test_a_server_that_nobody_asks_stops_by_itself(folder: Path) -> None:
    connection = ensure_store(folder, idle_exit=1.0)
    pid = int(_announced(folder)["pid"])
    wait_until(lambda: not _listens(connection))
    assert _is_up(ensure_store(folder))
    assert _announced(folder)["pid"] != pid


def _listens(connection: StoreConnection) -> bool:
    """Look without asking: a request would keep the server up."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(connection.base_url.rpartition(":")[2]))) == 0


def test_a_request_under_way_keeps_the_server(folder: Path) -> None:
    connection = ensure_store(folder, idle_exit=2.0)
    host, port = connection.base_url.removeprefix("http://").split(":")
    keys = base64.b64encode(f"{connection.public_key}:{connection.secret_key}".encode()).decode()
    asking = HTTPConnection(host, int(port), timeout=PATIENCE_S)
    asking.putrequest("POST", "/api/public/v2/datasets")
    asking.putheader("authorization", f"Basic {keys}")
    asking.putheader("content-length", "16")
    asking.endheaders()
    asking.send(b'{"name": ')
    much_later = time.monotonic() + 4.0
    wait_until(lambda: time.monotonic() > much_later)
    asking.send(b'"late"}')
    assert asking.getresponse().status == 200
    asking.close()


def test_stopping_what_does_not_run_is_no_error(tmp_path: Path) -> None:
    assert not stop_store(tmp_path / "nothing")


def test_a_folder_that_cannot_be_used_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="store"):
        ensure_store(tmp_path / "file" / "store")


def test_broken_keys_are_an_error_that_says_what_to_do(folder: Path) -> None:
    folder.mkdir()
    (folder / "keys.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"keys\.json"):
        ensure_store(folder)


def test_the_secret_key_is_kept_out_of_sight(folder: Path) -> None:
    connection = ensure_store(folder)
    with client_of(connection) as client:
        client.get("/api/public/projects", auth=("wrong", "wrong"))
    assert connection.secret_key not in repr(connection)
    for name in ("store.log", ANNOUNCEMENT):
        assert connection.secret_key not in (folder / name).read_text(encoding="utf-8")
    if os.name == "posix":
        assert stat.S_IMODE((folder / "keys.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_stores_of_two_folders_have_keys_of_their_own(start_store: Callable[[str], StoreConnection]) -> None:
    one, other = start_store("one"), start_store("other")
    with client_of(one) as client:
        url = f"{other.base_url}/api/public/projects"
        assert client.get(url).status_code == 401


def test_a_stopped_server_ends_without_error_and_without_words(tmp_path: Path) -> None:
    announce = tmp_path / "announced.json"
    command = [sys.executable, "-m", "lfexp_mcp.store", "--folder", str(tmp_path / "s"), "--announce", str(announce)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(announce.exists)
    url = f"http://127.0.0.1:{json.loads(announce.read_text(encoding='utf-8'))['port']}/api/public/health"
    assert httpx.get(url, trust_env=False).is_success
    process.terminate()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert output == b""
    assert process.returncode == (1 if sys.platform == "win32" else 0)


def test_finding_the_store_loads_nothing_heavy() -> None:
    heavy = ("httpx", "langfuse", "starlette", "uvicorn", "pydantic", "opentelemetry")
    script = f"import sys, lfexp_mcp.store.process; print([name for name in {heavy!r} if name in sys.modules])"
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout.strip() == "[]"
