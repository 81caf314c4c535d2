"""Calling the user's code: sync functions in threads, async ones in an event loop of their own.

Neither can hold up the loop that runs the experiment, so that time-outs, the journal and deliveries go on whatever the
user's code does. What it returns is read where it ran, since its objects run code of the user's, too. A call that takes
too long is given up: a thread cannot be stopped, so it is left behind.
"""

import contextvars
import inspect

# By name, since the user's code may replace what the module holds.
from asyncio import (
    AbstractEventLoop,
    Event,
    Semaphore,
    get_running_loop,
    new_event_loop,
    run_coroutine_threadsafe,
    wait,
    wrap_future,
)
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

import anyio

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.worker.failures import describe_error, error_text, exception_attributes

T = TypeVar("T")

ANSWER_TIME = 1.0
"""Seconds in which the user's event loop must react to a trifle, else it counts as blocked."""
CANCELLED = "CancelledError: the code was cancelled by its own doing, or that of others in its event loop"
BLOCKED = "an async function, this one or another, blocks the event loop that all of them share"


@dataclass(frozen=True, slots=True)
class Timing:
    """When the code itself ran, by `CLOCK.time_ns`."""

    started_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        """How long the code took."""
        return (self.ended_ns - self.started_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Returned(Generic[T]):
    """A call that returned, and what was read."""

    value: T
    timing: Timing | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Raised:
    """A call that raised, or was given up."""

    error: str
    cause: Mapping[str, str] | None = None
    """The exception as attributes of a span's event."""
    timing: Timing | None = field(default=None, compare=False)
    """None for a call that was given up, or not made."""


@dataclass(frozen=True, slots=True)
class _Awaitable:
    """What a sync function returned to be awaited."""

    value: Awaitable[object]
    started_ns: int


CallResult: TypeAlias = Returned[T] | Raised


class UserCode:
    """Calls functions of the user's scripts."""

    def __init__(self, threads: int, loop: "UserLoop") -> None:
        """Prepare calls.

        Args:
            threads: How many sync calls may be under way at once.
            loop: Where async ones run.
        """
        self._most_threads = threads
        self._threads = self._open_threads()
        self._free_thread = Semaphore(threads)
        self._loop = loop

    async def call(
        self,
        function: Callable[[], object],
        read: Callable[[object], T],
        *,
        is_async: bool,
        timeout: float | None = None,
    ) -> CallResult[T]:
        """Call a function and wait for it, or until its time is over.

        Args:
            function: Takes no arguments; what it returns is awaited where it can be.
            read: Reads what the function returned; runs where the function did, and within its time.
            is_async: Whether it is a coroutine function, and belongs into the event loop from the start.
            timeout: Seconds from the beginning of the call, None for no limit.

        Returns:
            What was read, or what was raised; nothing that the code does is raised here, `sys.exit` included.
        """
        if is_async:
            return await self._call(function, read, is_async=True, timeout=timeout)
        async with self._free_thread:
            return await self._call(function, read, is_async=False, timeout=timeout)

    async def _call(
        self, function: Callable[[], object], read: Callable[[object], T], *, is_async: bool, timeout: float | None
    ) -> CallResult[T]:
        loop = self._loop.current()
        if timeout is None:
            return await self._outcome(function, read, loop, is_async=is_async)
        with anyio.move_on_after(timeout):
            return await self._outcome(function, read, loop, is_async=is_async)
        # Whatever is given up may never end, and must take no place of the next calls.
        if not is_async:
            self._threads.shutdown(wait=False)
            self._threads = self._open_threads()
        is_blocked = await self._loop.replace_if_blocked(loop)
        late = f"TimeoutError: no result within {timeout:g} s"
        return Raised(f"{late}: {BLOCKED}" if is_blocked and is_async else late)

    async def _outcome(
        self, function: Callable[[], object], read: Callable[[object], T], loop: "LoopThread", *, is_async: bool
    ) -> CallResult[T]:
        if is_async:
            return await loop.run(_invoke_async(function, read))
        # `anyio.to_thread` lets the event loop turn before the call begins, so that an item which takes the place of
        # another would wait for all that have just ended.
        run = contextvars.copy_context().run
        ours = get_running_loop()
        outcome = await ours.run_in_executor(self._threads, run, _invoke, function, read)
        if not isinstance(outcome, _Awaitable):
            return outcome
        promised = outcome.value
        return await loop.run(_invoke_async(lambda: promised, read, outcome.started_ns))

    def _open_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._most_threads, thread_name_prefix="user-code")


class UserLoop:
    """The one event loop of the user's coroutines, so that those of the task and of evaluators can share a client."""

    def __init__(self) -> None:
        self._current = LoopThread()

    def current(self) -> "LoopThread":
        """Return the event loop of now."""
        if self._current.has_ended:
            self._current = LoopThread()
        return self._current

    async def replace_if_blocked(self, loop: "LoopThread") -> bool:
        """Take another event loop from now on where this one is blocked; tell whether it is."""
        if await loop.answers():
            return False
        if loop is self._current:
            self._current = LoopThread()
        return True


class LoopThread:
    """An event loop in a thread of its own, begun at its first use."""

    def __init__(self) -> None:
        self.has_ended = False
        self._loop: AbstractEventLoop | None = None
        self._pending: set[Future[Any]] = set()

    async def run(self, coroutine: Coroutine[Any, Any, CallResult[T]]) -> CallResult[T]:
        """Run a coroutine, and cancel it when the caller is cancelled."""
        future = run_coroutine_threadsafe(coroutine, self._begun())
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        waiting = wrap_future(future)
        try:
            # Raises no cancellation but the caller's own: one that the user's code asks for only ends `waiting`.
            await wait([waiting])
        finally:
            waiting.cancel()
        return Raised(CANCELLED) if waiting.cancelled() else waiting.result()

    async def answers(self) -> bool:
        """Tell whether the loop reacts; one that has not begun is no hindrance."""
        if self._loop is None:
            return True
        answered = Event()
        self._loop.call_soon_threadsafe(get_running_loop().call_soon_threadsafe, answered.set)
        with anyio.move_on_after(ANSWER_TIME):
            await answered.wait()
        return answered.is_set()

    def _begun(self) -> AbstractEventLoop:
        if self._loop is None:
            self._loop = new_event_loop()
            Thread(target=self._serve, args=[self._loop], name="user-code", daemon=True).start()
        return self._loop

    def _serve(self, loop: AbstractEventLoop) -> None:
        try:
            while not loop.is_closed():
                # A child task that calls `sys.exit()`, or code that stops the loop, ends nobody else's work.
                with suppress(SystemExit, KeyboardInterrupt):
                    loop.run_forever()
        finally:
            self.has_ended = True
            for future in list(self._pending):
                future.cancel()


def _invoke(function: Callable[[], object], read: Callable[[object], T]) -> CallResult[T] | _Awaitable:
    started_ns = CLOCK.time_ns()
    try:
        value = function()
        if inspect.isawaitable(value):
            return _Awaitable(value, started_ns)
    except BaseException as error:  # noqa: BLE001 - whatever the user's code does concerns this one call only
        return _raised(error, _timing(started_ns))
    return _read(value, read, _timing(started_ns))


async def _invoke_async(
    function: Callable[[], object], read: Callable[[object], T], started_ns: int | None = None
) -> CallResult[T]:
    started_ns = CLOCK.time_ns() if started_ns is None else started_ns
    try:
        value = function()
        value = await value if inspect.isawaitable(value) else value
    except BaseException as error:  # noqa: BLE001 - see `_invoke`
        return _raised(error, _timing(started_ns))
    return _read(value, read, _timing(started_ns))


def _timing(started_ns: int) -> Timing:
    return Timing(started_ns, CLOCK.time_ns())


def _read(value: object, read: Callable[[object], T], timing: Timing) -> CallResult[T]:
    try:
        return Returned(read(value), timing)
    except LfexpError as error:
        return Raised(error_text(str(error)), timing=timing)
    except BaseException as error:  # noqa: BLE001 - see `_invoke`
        return _raised(error, timing, "What the code returned cannot be read: ")


def _raised(error: BaseException, timing: Timing, what: str = "") -> Raised:
    return Raised(error_text(what + describe_error(error)), exception_attributes(error), timing)
