"""Workers that are forked from a process which has done their imports, so that a test's run starts in no time.

Imports are most of what a worker's start costs, and all tests together start hundreds. A forked worker is a process,
with a session, pipes, an environment and a folder of its own, and runs the very same entry. Shared is what is the same
in all of them: imports, the schemas of events, certificates. It ends as an interpreter does, but leaves it to the
system to free its memory. Workers are spawned as in production where a test wants another interpreter or environment,
in processes that tests start (the server over stdio, the shell), on systems other than Linux, and with
`LFEXP_TEST_SPAWN=1`.
"""

import atexit
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

WORKER = [sys.executable, "-P", "-m", "lfexp_mcp.worker"]
PER_WORKER = {
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "LANGFUSE_BASE_URL",
    "LANGFUSE_HOST",
    "LANGFUSE_PUBLIC_KEY",
    "LANGFUSE_SECRET_KEY",
    "LFEXP_EMBEDDED_STORE",
    "LFEXP_HOME",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "PYTEST_CURRENT_TEST",
}
"""Variables that nothing reads on import; of all others a forked worker has the values of the process it is from."""

MAX_MESSAGE_BYTES = 100_000
READY = b"ready"
CAN_FORK = sys.platform == "linux" and not os.environ.get("LFEXP_TEST_SPAWN")


class ForkedWorker:
    """A forked worker, with what `subprocess.Popen` has of a spawned one."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], ended: socket.socket) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._ended = ended
        self._lock = Lock()

    def poll(self) -> int | None:
        # A thread that waits holds the lock, and nobody else is to hear of the end.
        if self._lock.acquire(blocking=False):
            try:
                self._hear(socket.MSG_DONTWAIT)
            finally:
                self._lock.release()
        return self.returncode

    def wait(self) -> int:
        with self._lock:
            return self._hear(0) or 0

    def _hear(self, flags: int) -> int | None:
        if self.returncode is None:
            try:
                said = self._ended.recv(32, flags)
            except BlockingIOError:
                return None
            self.returncode = int(said) if said else -signal.SIGKILL
            self._ended.close()
        return self.returncode


class PreparedWorkers:
    """Starts workers for one test process, from another one that it starts on `prepare` or with the first of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._control: socket.socket | None = None
        self._environment: dict[str, str] = {}

    def prepare(self) -> None:
        """Have all imports done, so that no time limit of a test has to cover them."""
        self._connection()

    def start(self, command: list[str], **options: Any) -> "ForkedWorker | subprocess.Popen[bytes]":  # noqa: ANN401
        """Start a process as `subprocess.Popen` does, and fork it where it is a worker as all others are."""
        environment = options.get("env")
        if command != WORKER or environment is None or not self._is_like_ours(environment):
            return subprocess.Popen(command, **options)
        stdin, our_stdin = os.pipe()
        our_stdout, stdout = os.pipe()
        ended, their_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [stdin, stdout, options["stderr"].fileno(), their_end.fileno()]
        message = json.dumps([environment, str(options["cwd"])]).encode()
        socket.send_fds(self._connection(), [message], fds)
        for fd in (stdin, stdout):
            os.close(fd)
        their_end.close()
        pid = int(ended.recv(32))
        return ForkedWorker(pid, os.fdopen(our_stdin, "wb", buffering=0), os.fdopen(our_stdout, "rb"), ended)

    def close(self) -> None:
        """End the process that workers are forked from; workers go on."""
        if self._control is not None:
            self._control.close()
            self._process.wait()

    def _is_like_ours(self, environment: Mapping[str, str]) -> bool:
        self._connection()
        return _shared(environment) == self._environment

    def _connection(self) -> socket.socket:
        with self._lock:
            if self._control is None:
                self._environment = _shared(os.environ)
                self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._process = subprocess.Popen(
                    [sys.executable, "-P", __file__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    env=self._environment,
                )
                theirs.close()
                self._control.recv(len(READY))
            return self._control


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in PER_WORKER}


@dataclass(frozen=True)
class Order:
    """What a worker is to be."""

    environment: dict[str, str]
    folder: Path
    fds: list[int]


def serve(control: socket.socket) -> Order:
    """Fork a worker for each order that comes, and tell how each ends; return in the worker alone."""
    control.send(READY)
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tells.fileno())
    listeners: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, told], [], [])
        if told in ready:
            told.recv(4096)
            _tell_ends(listeners)
        if control not in ready:
            continue
        message, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 4)
        if not message:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for open_one in (control, told, tells, *listeners.values()):
                open_one.close()
            environment, folder = json.loads(message)
            return Order(environment, Path(folder), fds)
        listeners[pid] = socket.socket(fileno=fds.pop())
        for fd in fds:
            os.close(fd)


def _tell_ends(listeners: dict[int, socket.socket]) -> None:
    while listeners:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with listeners.pop(pid) as listener:
            try:
                listener.send(str(os.waitstatus_to_exitcode(status)).encode())
            except BrokenPipeError:
                continue


def become_worker(order: Order) -> None:
    """Be what `python -P -m lfexp_mcp.worker` is in the order's environment and folder."""
    os.setsid()
    *standard, listener = order.fds
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    # Only now, since whoever knows the id may kill the session.
    os.write(listener, str(os.getpid()).encode())
    os.close(listener)
    sys.argv = [""]
    runpy.run_module("lfexp_mcp.worker", run_name="__main__", alter_sys=True)
    # What the interpreter does at its end. To free what it imported would copy that first, and take as long as a run.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Import what a worker imports, and be forked."""
    import httpx

    import lfexp_mcp.judges.providers.anthropic
    import lfexp_mcp.judges.providers.openai
    import lfexp_mcp.worker.sdk  # noqa: F401 - workers find them imported
    from lfexp_mcp.worker.session import prepare

    prepare()
    # Each HTTP client loads all certificates, which takes as long as a short run.
    vars(httpx._transports.default)["create_ssl_context"] = functools.cache(httpx.create_ssl_context)
    httpx.Client().close()
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        order = serve(control)
    become_worker(order)


if __name__ == "__main__":
    main()
