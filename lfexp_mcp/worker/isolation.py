"""Keep the worker apart from what the user's code does to its process: its streams, signals, clock and event loop.

The run's event loop runs in a thread of its own, since signal handlers, which may raise anything, run in the main
thread only. It is timed by our clock and has the methods that asyncio's loop had before the user's code was loaded.
"""

import asyncio
import contextvars
import os
import sys
from asyncio import Runner
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from types import FunctionType, SimpleNamespace

# Otherwise anyio imports it on first use, after the user's code was loaded.
from anyio._backends import _asyncio as anyio_backend

from lfexp_mcp.clock import CLOCK

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as _Base
else:
    from asyncio import SelectorEventLoop as _Base

MAX_LOG_BYTES = 5_000_000
LOG_CUT = b"\n[lfexp-mcp: what was printed after this point is left out]\n"
CHECK_INTERVAL_S = 1.0
"""How often the main thread checks whether the run has ended, in case a signal interrupted its wait."""


class ControlLoop(_Base):
    """An event loop that patches of asyncio's classes, such as those of nest_asyncio, do not affect."""

    def time(self) -> float:
        """Return the seconds of a clock that nobody freezes."""
        return CLOCK.monotonic()


for _class in reversed(_Base.__mro__[:-1]):
    for _name, _method in vars(_class).items():
        if isinstance(_method, FunctionType) and _name != "time":
            setattr(ControlLoop, _name, _method)

# anyio looks up futures and events in the module whenever it makes one.
vars(anyio_backend)["asyncio"] = SimpleNamespace(**vars(asyncio))


def run_in_thread(main: Coroutine[object, object, None]) -> None:
    """Run a coroutine in a thread while the main thread only serves signals.

    Raises:
        BaseException: Whatever the coroutine raised.
    """
    # A script's functions see the context variables that it set while it was loaded.
    context = contextvars.copy_context()
    failures: list[BaseException] = []
    ended: list[bool] = []
    running = Lock()
    running.acquire()

    def run() -> None:
        try:
            with Runner(loop_factory=ControlLoop) as runner:
                runner.run(main, context=context)
        except BaseException as failure:  # noqa: BLE001 - the main thread raises it
            failures.append(failure)
        finally:
            ended.append(True)
            running.release()

    Thread(target=run, name="lfexp-control").start()
    while not ended:
        # A signal handler that raises, such as Python's own for Ctrl+C, only ends this wait. `Thread.join` would then
        # take the thread for ended.
        with suppress(BaseException):
            running.acquire(timeout=CHECK_INTERVAL_S)
    if failures:
        raise failures[0]


def close_input() -> None:
    """Let user code that reads standard input get its end, rather than a worker command."""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)


class RunLog:
    """A file in place of standard output and error, for C code and child processes too.

    Output goes to the file directly, so that a crash loses none and nothing waits for a reader. `trim` keeps the
    beginning of a file that has grown too large.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o600)
        os.set_inheritable(self._descriptor, False)
        for standard in (1, 2):
            os.dup2(self._descriptor, standard, inheritable=True)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]

    def trim(self) -> None:
        """Cut the log to `MAX_LOG_BYTES`."""
        if os.fstat(self._descriptor).st_size > MAX_LOG_BYTES + len(LOG_CUT):
            os.ftruncate(self._descriptor, MAX_LOG_BYTES)
            os.write(self._descriptor, LOG_CUT)
