"""Starting, finding and stopping the process of the embedded store. Light to import, for a fast start of the server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from lfexp_mcp.errors import StoreError
from lfexp_mcp.loopback import LOOPBACK
from lfexp_mcp.store.address import (
    ANNOUNCEMENT,
    CHALLENGE_HEADER,
    HEALTH,
    PORT_FILE,
    PROOF_HEADER,
    is_proven,
    new_challenge,
)

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
IDLE_EXIT_S = 900.0
_POLL_S = 0.02
PROBE_TIMEOUT_S = 15.0
_LOG = "store.log"


@dataclass(frozen=True, slots=True)
class StoreConnection:
    """How to reach an embedded store."""

    base_url: str
    public_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Announcement:
    pid: int
    port: int

    @property
    def base_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


def ensure_store(folder: Path, *, idle_exit: float = IDLE_EXIT_S) -> StoreConnection:
    """Find the running server of a store folder, or start one.

    Processes that call this at the same time get the same server, also those of other versions of lfexp-mcp if the
    format is the same. The server outlives its caller and stops by itself when it gets no requests any more. A process
    that listens at its address must prove that it is the store before anything secret is sent (see `store.address`).

    Args:
        folder: The store folder; made if it does not exist.
        idle_exit: Seconds without a request after which a server started here stops.

    Raises:
        StoreError: The folder cannot be used, or the server did not start.
    """
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = _running(folder)
        if found is None:
            with FileLock(folder / "start.lock"):
                found = _running(folder) or _start(folder, idle_exit)
    except OSError as error:
        raise StoreError(
            f"The store folder {folder} cannot be used: {error}. Make it writable, or choose another store folder."
        ) from error
    return _connection(folder, found)


def announced_store(folder: Path) -> StoreConnection | None:
    """Return the store that was started last in a folder, which may have ended since; None if there was none.

    Raises:
        StoreError: The folder cannot be read.
    """
    found = _announced(folder)
    try:
        return _connection(folder, found) if found is not None else None
    except OSError as error:
        raise StoreError(f"The store folder {folder} cannot be used: {error}.") from error


def stop_store(folder: Path) -> bool:
    """Stop the server of a store folder, and wait until it is gone; what it stored stays.

    Returns:
        Whether one was running.

    Raises:
        StoreError: It did not stop.
    """
    found = _running(folder)
    if found is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _announced(folder) == found and _answers(folder, found):
        if time.monotonic() > deadline:
            raise StoreError(f"The embedded store (process {found.pid}) does not stop. End that process manually.")
        time.sleep(_POLL_S)
    if _announced(folder) == found:
        # On Windows the process is ended before it can do so itself.
        (folder / ANNOUNCEMENT).unlink(missing_ok=True)
    return True


def _connection(folder: Path, found: _Announcement) -> StoreConnection:
    from lfexp_mcp.store.keys import folder_keys

    keys = folder_keys(folder)
    return StoreConnection(found.base_url, keys.public_key, keys.secret_key)


def _running(folder: Path) -> _Announcement | None:
    found = _announced(folder)
    return found if found is not None and _answers(folder, found) else None


def _announced(folder: Path) -> _Announcement | None:
    try:
        content = json.loads((folder / ANNOUNCEMENT).read_text(encoding="utf-8"))
        return _Announcement(int(content["pid"]), int(content["port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _answers(folder: Path, found: _Announcement) -> bool:
    """Whether the store of the folder, and no other process, answers where it was announced."""
    # A client that must be imported, and loads certificates, would take longer than all else that a call waits for.
    from http.client import HTTPConnection, HTTPException

    from lfexp_mcp.store.keys import folder_keys

    challenge = new_challenge()
    with closing(HTTPConnection(LOOPBACK, found.port, timeout=PROBE_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", HEALTH, headers={CHALLENGE_HEADER: challenge})
            answer = connection.getresponse()
        except (OSError, HTTPException):
            return False
        proof = answer.getheader(PROOF_HEADER)
        return answer.status == 200 and is_proven(folder_keys(folder).secret_key, challenge, found.port, proof)


def _start(folder: Path, idle_exit: float) -> _Announcement:
    announcement = folder / ANNOUNCEMENT
    announcement.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "lfexp_mcp.store", "--folder", str(folder), "--idle-exit", str(idle_exit)]
    command += ["--announce", str(announcement), "--port", str(_last_port(folder))]
    log = folder / _LOG
    with log.open("wb") as stream:
        process = _spawn_detached(command, folder, stream.fileno())
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        found = _announced(folder)
        if found is not None and _answers(folder, found):
            (folder / PORT_FILE).write_text(str(found.port), encoding="utf-8")
            # The server is meant to outlive us; if it ends first, its exit status must be collected.
            threading.Thread(target=process.wait, name="store-process", daemon=True).start()
            return found
        if process.poll() is not None:
            raise StoreError(f"The embedded store did not start: {_last_line(log)}")
        time.sleep(_POLL_S)
    process.kill()
    process.wait()
    raise StoreError(f"The embedded store did not start within {START_TIMEOUT_S:.0f} s. Look into {log}.")


def _last_port(folder: Path) -> int:
    """The port of the previous process, so that clients with a fixed address find the next one; 0 if unknown."""
    try:
        port = int((folder / PORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 2**16 else 0


def _spawn_detached(command: list[str], folder: Path, log: int) -> subprocess.Popen[bytes]:
    """Start a process that continues when this one, or its terminal, ends."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
    return subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        creationflags=flags,
        start_new_session=sys.platform != "win32",
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it wrote nothing to its log {log}."
