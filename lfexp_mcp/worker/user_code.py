"""Call the user's code: sync functions in threads, async ones in an event loop of their own.

The event loop that runs the experiment is never blocked, so that time-outs, the journal and deliveries go on whatever
the user's code does. Results are read where they were returned, since their methods are the user's code too. A thread
cannot be stopped, so a call that takes too long is abandoned.
"""

import contextvars
import inspect
import traceback

# Imported by name, since the user's code may replace attributes of the module.
from asyncio import (
    AbstractEventLoop,
    CancelledError,
    Event,
    Semaphore,
    get_running_loop,
    new_event_loop,
    run_coroutine_threadsafe,
    wait,
    wrap_future,
)
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

import anyio

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.environment import process_environment
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.masking import secrets_in, without
from lfexp_mcp.scripts.texts import clean, cut, describe, show
from lfexp_mcp.worker.running_time import running_for_at_most
from lfexp_mcp.worker.threads import Threads

T = TypeVar("T")

MAX_ERROR_CHARS = 4000
MAX_TRACEBACK_CHARS = 20_000
RESPONSE_TIME_S = 1.0
"""How long the user's event loop may take to run an empty callback before it counts as blocked."""
CANCELLED = "CancelledError: the code was cancelled by itself or by other code in its event loop"
BLOCKED = "an async function, this one or another, blocks the event loop that all of them share"


@dataclass(frozen=True, slots=True)
class Timing:
    """When the code itself ran, in nanoseconds by `CLOCK.time_ns`."""

    started_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        """How long the code took."""
        return (self.ended_ns - self.started_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Returned(Generic[T]):
    """A call that returned."""

    value: T
    timing: Timing | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Raised:
    """A call that raised or timed out."""

    error: str
    exception: Mapping[str, str] | None = None
    """Attributes of the span's exception event."""
    timing: Timing | None = field(default=None, compare=False)
    """None for a call that timed out or was not made."""


@dataclass(frozen=True, slots=True)
class _Unawaited:
    """An awaitable that a sync function returned."""

    value: Awaitable[object]
    started_ns: int


CallResult: TypeAlias = Returned[T] | Raised


class UserCode:
    """Calls functions of the user's scripts.

    Args:
        threads: How many sync calls may run at once.
        loop: Runs the async ones.
    """

    def __init__(self, threads: int, loop: "UserLoop") -> None:
        self._threads = Threads()
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
        """Call a function and wait for its result, or until it times out.

        Args:
            function: Takes no arguments; an awaitable that it returns is awaited.
            read: Reads what the function returned, in the same thread or loop and within the same time.
            is_async: Whether it is a coroutine function, which is called in the event loop.
            timeout: Seconds from the beginning of the call in which this process runs.

        Returns:
            What was read or raised. Nothing that the code does is raised here, not even `sys.exit`.
        """
        async with nullcontext() if is_async else self._free_thread:
            loop = self._loop.current()
            with running_for_at_most(timeout):
                return await self._run(function, read, loop, is_async=is_async)
            # The abandoned call may never end, and must not take up a thread of later ones.
            if not is_async:
                self._threads.close()
                self._threads = Threads()
            is_blocked = await self._loop.replace_if_blocked(loop)
            late = f"TimeoutError: no result within {timeout:g} s"
            return Raised(f"{late}: {BLOCKED}" if is_blocked and is_async else late)

    async def _run(
        self, function: Callable[[], object], read: Callable[[object], T], loop: "LoopThread", *, is_async: bool
    ) -> CallResult[T]:
        if is_async:
            return await loop.run(_invoke_async(function, read))
        # `anyio.to_thread` yields to the event loop before the call starts, so that the next item would wait for all
        # items that have just ended.
        in_context = partial(contextvars.copy_context().run, _invoke, function, read)
        result: CallResult[T] | _Unawaited = await self._threads.run(in_context)
        if not isinstance(result, _Unawaited):
            return result
        unawaited = result.value
        return await loop.run(_invoke_async(lambda: unawaited, read, result.started_ns))


class UserLoop:
    """The event loop of all user coroutines, so that the task and the evaluators can share a client."""

    def __init__(self) -> None:
        self._current = LoopThread()

    def current(self) -> "LoopThread":
        """Return the event loop for new calls."""
        if self._current.has_ended:
            self._current = LoopThread()
        return self._current

    async def replace_if_blocked(self, loop: "LoopThread") -> bool:
        """Use a new event loop from now on if this one is blocked, and return whether it is."""
        if await loop.responds():
            return False
        if loop is self._current:
            self._current = LoopThread()
        return True


class LoopThread:
    """An event loop in a thread of its own, started on first use."""

    def __init__(self) -> None:
        self.has_ended = False
        self._loop: AbstractEventLoop | None = None
        self._pending: set[Future[Any]] = set()

    async def run(self, coroutine: Coroutine[Any, Any, CallResult[T]]) -> CallResult[T]:
        """Run a coroutine; it is cancelled with its caller."""
        if self._loop is None:
            self._loop = new_event_loop()
            Thread(target=self._serve, args=[self._loop], name="user-code", daemon=True).start()
        future = run_coroutine_threadsafe(coroutine, self._loop)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        waiting = wrap_future(future)
        try:
            # Raises only the caller's own cancellation; one that the user's code requests just ends `waiting`.
            await wait([waiting])
        finally:
            waiting.cancel()
        return Raised(CANCELLED) if waiting.cancelled() else waiting.result()

    async def responds(self) -> bool:
        """Return whether the loop is not blocked."""
        if self._loop is None:
            return True
        responded = Event()
        self._loop.call_soon_threadsafe(get_running_loop().call_soon_threadsafe, responded.set)
        with anyio.move_on_after(RESPONSE_TIME_S):
            await responded.wait()
        return responded.is_set()

    def _serve(self, loop: AbstractEventLoop) -> None:
        try:
            while not loop.is_closed():
                # A child task that calls `sys.exit()`, or code that stops the loop, must not end the other calls.
                with suppress(SystemExit, KeyboardInterrupt):
                    loop.run_forever()
        finally:
            self.has_ended = True
            for future in list(self._pending):
                future.cancel()


def _invoke(function: Callable[[], object], read: Callable[[object], T]) -> CallResult[T] | _Unawaited:
    started_ns = CLOCK.time_ns()
    try:
        value = function()
        if inspect.isawaitable(value):
            return _Unawaited(value, started_ns)
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises concerns this call only
        return _raised(error, Timing(started_ns, CLOCK.time_ns()))
    return _read(value, read, Timing(started_ns, CLOCK.time_ns()))


async def _invoke_async(
    function: Callable[[], object], read: Callable[[object], T], started_ns: int | None = None
) -> CallResult[T]:
    started_ns = CLOCK.time_ns() if started_ns is None else started_ns
    try:
        value = function()
        value = await value if inspect.isawaitable(value) else value
    except BaseException as error:  # noqa: BLE001 - see `_invoke`
        return _raised(error, Timing(started_ns, CLOCK.time_ns()))
    return _read(value, read, Timing(started_ns, CLOCK.time_ns()))


def _read(value: object, read: Callable[[object], T], timing: Timing) -> CallResult[T]:
    try:
        return Returned(read(value), timing)
    except LfexpError as error:
        return Raised(error_text(str(error)), timing=timing)
    except BaseException as error:  # noqa: BLE001 - see `_invoke`
        return _raised(error, timing, "What the code returned cannot be read: ")


def _raised(error: BaseException, timing: Timing, prefix: str = "") -> Raised:
    return Raised(error_text(prefix + describe_error(error)), _exception_attributes(error), timing)


def error_text(text: str) -> str:
    """Make any text fit to be stored as an error, without the secrets in the environment that it may quote."""
    return cut(_clean(text), MAX_ERROR_CHARS)


def _clean(text: str) -> str:
    return without(secrets_in(process_environment({})), clean(text))


def describe_error(error: BaseException) -> str:
    """Describe an exception, and where it was raised, in one line or a few."""
    try:
        return error_text(_describe(error))
    except BaseException as failure:  # noqa: BLE001 - raised by the methods of the user's exception
        return f"{type(error).__name__}, whose text fails with {type(failure).__name__}"


def _describe(error: BaseException) -> str:
    if isinstance(error, LfexpError):
        return str(error)
    if isinstance(error, SystemExit):
        text = f"SystemExit: the code called sys.exit({show(error.code)})"
    elif isinstance(error, CancelledError):
        text = "CancelledError: the code cancelled its own task, or awaited what was cancelled"
    else:
        text = "".join(traceback.format_exception_only(error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text


def _exception_attributes(error: BaseException) -> dict[str, str]:
    """Return the attributes of an exception event.

    See https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/.
    """
    try:
        stack = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - see `describe_error`
        stack = describe_error(error)
    return {
        "exception.type": clean(type(error).__qualname__),
        "exception.message": error_text(describe(error)),
        "exception.stacktrace": cut(_clean(stack), MAX_TRACEBACK_CHARS),
    }
