"""The event loop that carries a run out, kept apart from what the user's code does to its process.

It runs in a thread of its own, since handlers of signals, which may raise whatever they like, run in the main thread
only. It is timed by our clock, and has the methods of asyncio's loop as they were before the user's code was loaded.
"""

import asyncio
import contextvars
import sys
from asyncio import Runner
from collections.abc import Coroutine
from contextlib import suppress
from threading import Lock, Thread
from types import FunctionType, SimpleNamespace

# Else imported at anyio's first use, when the user's code has been loaded.
from anyio._backends import _asyncio as anyio_backend

from lfexp_mcp.clock import CLOCK

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as _Base
else:
    from asyncio import SelectorEventLoop as _Base

LOOK_EVERY_S = 1.0
"""How often the main thread looks whether the run is over, should a signal have come between."""


class ControlLoop(_Base):
    """An event loop that patches of asyncio's classes do not reach, such as those of nest_asyncio."""

    def time(self) -> float:
        """Seconds of a clock that nobody freezes."""
        return CLOCK.monotonic()


for _class in reversed(_Base.__mro__[:-1]):
    for _name, _method in vars(_class).items():
        if isinstance(_method, FunctionType) and _name != "time":
            setattr(ControlLoop, _name, _method)

# anyio looks up futures and events in the module each time it makes one.
vars(anyio_backend)["asyncio"] = SimpleNamespace(**vars(asyncio))


def run_apart(main: Coroutine[object, object, None]) -> None:
    """Run a coroutine to its end while the main thread serves signals alone.

    Raises:
        BaseException: What the coroutine raised.
    """
    # What a script has set in the context while it was loaded, its functions find there.
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
        # A handler of a signal, Python's own for Ctrl+C included, ends this wait and nothing else. `Thread.join` would
        # take the thread for ended then.
        with suppress(BaseException):
            running.acquire(timeout=LOOK_EVERY_S)
    if failures:
        raise failures[0]
