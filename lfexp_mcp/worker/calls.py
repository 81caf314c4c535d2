"""Calling the user's code: sync functions in threads, async ones in an event loop of their own.

Neither can hold up the loop that runs the experiment, so that time-outs, the journal and deliveries go on whatever the
user's code does. A call that takes too long is given up: a thread cannot be stopped, so it is left behind.
"""

import asyncio
import contextvars
import inspect
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

ANSWER_TIME = 1.0
"""Seconds in which the user's event loop must react to a trifle, else it counts as blocked."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A call that returned."""

    value: object


@dataclass(frozen=True, slots=True)
class Raised:
    """A call that raised, or was given up."""

    error: str
    cause: BaseException | None = None


Outcome = Returned | Raised


class UserCode:
    """Calls functions of the user's scripts."""

    def __init__(self, threads: int) -> None:
        """Prepare calls.

        Args:
            threads: How many sync calls may be under way at once.
        """
        self._most_threads = threads
        self._threads = self._open_threads()
        self._loop = _UserLoop()

    async def call(self, function: Callable[[], object], *, is_async: bool, timeout: float | None = None) -> Outcome:
        """Call a function and wait for it, or until its time is over.

        Args:
            function: Takes no arguments; what it returns is awaited where it can be.
            is_async: Whether it is a coroutine function, and belongs into the event loop from the start.
            timeout: Seconds, None for no limit.

        Returns:
            What it returned or raised; nothing that it does is raised here, `sys.exit` included.
        """
        if timeout is None:
            return await self._outcome(function, is_async=is_async)
        with anyio.move_on_after(timeout):
            return await self._outcome(function, is_async=is_async)
        await self._replace_stuck(is_async=is_async)
        return Raised(f"TimeoutError: no result within {timeout:g} s")

    async def _outcome(self, function: Callable[[], object], *, is_async: bool) -> Outcome:
        if is_async:
            return await self._loop.run(function)
        # `anyio.to_thread` lets the event loop turn before the call begins, so that an item which takes the place of
        # another would wait for all that have just ended.
        run = contextvars.copy_context().run
        outcome = await asyncio.get_running_loop().run_in_executor(self._threads, run, _invoke, function)
        if isinstance(outcome, Returned) and inspect.isawaitable(outcome.value):
            awaitable = outcome.value
            return await self._loop.run(lambda: awaitable)
        return outcome

    async def _replace_stuck(self, *, is_async: bool) -> None:
        """Make sure that a call given up, which may never end, takes no place of the next ones."""
        if not is_async:
            self._threads.shutdown(wait=False)
            self._threads = self._open_threads()
        if self._loop.is_used and not await self._loop.answers():
            self._loop = _UserLoop()

    def _open_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._most_threads, thread_name_prefix="user-code")


class _UserLoop:
    """An event loop in a thread of its own, for the user's coroutines."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_used(self) -> bool:
        return self._loop is not None

    async def run(self, function: Callable[[], object]) -> Outcome:
        return await asyncio.wrap_future(self._submit(_invoke_async(function)))

    async def answers(self) -> bool:
        """Tell whether the loop reacts."""
        with anyio.move_on_after(ANSWER_TIME):
            await asyncio.wrap_future(self._submit(asyncio.sleep(0)))
            return True
        return False

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            Thread(target=self._loop.run_forever, name="user-code", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def _invoke(function: Callable[[], object]) -> Outcome:
    try:
        return Returned(function())
    except BaseException as error:  # noqa: BLE001 - whatever the user's code does concerns this one call only
        return Raised(describe_error(error), error)


async def _invoke_async(function: Callable[[], object]) -> Outcome:
    try:
        result = function()
        return Returned(await result if inspect.isawaitable(result) else result)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Raised(describe_error(error), error)
    except BaseException as error:  # noqa: BLE001 - see `_invoke`
        return Raised(describe_error(error), error)


def describe_error(error: BaseException) -> str:
    """Say what an error was and where it was raised, in one line or a few."""
    if isinstance(error, SystemExit):
        text = f"SystemExit: the code called sys.exit({error.code!r})"
    else:
        text = "".join(traceback.format_exception_only(error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename != __file__]
    if not theirs:
        return text
    return f"{text} ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})"
