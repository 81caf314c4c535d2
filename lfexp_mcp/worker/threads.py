"""Threads that call functions for an event loop, at a fifth of what those of `concurrent.futures` cost."""

# Imported by name, since the user's code may replace attributes of the modules.
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Call:
    function: Callable[[], Any]
    future: "Future[Any]"
    result: object = None


class Threads:
    """Runs each call at once, in a thread that is free or else in a new one.

    To be used by one event loop. Several results that come while it is busy wake it once.
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()
        self._done: deque[_Call] = deque()
        self._is_told = False
        self._started = 0
        self._busy = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function that raises nothing, and return its result; a cancelled call goes on in its thread."""
        loop = get_running_loop()
        call = _Call(function, loop.create_future())
        self._busy += 1
        if self._busy > self._started:
            self._started += 1
            Thread(target=self._serve, args=[loop], name=f"user-code_{self._started}", daemon=True).start()
        self._waiting.put(call)
        result: T = await call.future
        return result

    def close(self) -> None:
        """Let the threads end, each after the call that it is in."""
        for _ in range(self._started):
            self._waiting.put(None)

    def _serve(self, loop: AbstractEventLoop) -> None:
        while (call := self._waiting.get()) is not None:
            call.result = call.function()
            self._done.append(call)
            if not self._is_told:
                self._is_told = True
                # The loop may have ended meanwhile.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        # First, so that a result that comes meanwhile is either collected here or told.
        self._is_told = False
        while self._done:
            call = self._done.popleft()
            self._busy -= 1
            if not call.future.done():
                call.future.set_result(call.result)
