"""A process on a node: what runs there, and what the run's worker has of it.

A call of Ray costs each side about a millisecond of CPU. So calls made within a moment are sent together, and so are
their results.
"""

import asyncio
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.worker.node import Hello, NodeJob, NodeResult, NodeWorker
from lfexp_mcp.worker.on_ray.archive import PREFIX, unpack_once
from lfexp_mcp.worker.on_ray.package import WORKING_DIR
from lfexp_mcp.worker.user_code import Raised, describe_error

GATHER_S = 0.002
"""How long calls and results wait for others that come with them."""
WAIT_S = 5.0
"""Of which the time is made up that a process has to answer."""
MAX_CAUSE_CHARS = 400

Call: TypeAlias = tuple[int, str, tuple[Any, ...]]
"""The number of a call, the method of `NodeWorker` and its arguments."""


class LostError(Exception):
    """A process died with what it was doing; the text says how."""


class NodeActor(NodeWorker):
    """The process itself. Knows its node, and makes many calls at once.

    Args:
        job: What it is given.
        archive: Ray's reference to the scripts' folders, which is not resolved before it is needed.
        driver_folder: The run's worker's, which Ray has put on the module path, and which may be another one here.
    """

    def __init__(self, job: NodeJob, archive: Sequence[Any], driver_folder: str) -> None:
        files = Path(tempfile.gettempdir()) / f"{PREFIX}{job.token}"
        unpack_once(files, lambda: bytes(ray.get(archive[0])))
        os.chdir(files / WORKING_DIR)
        with suppress(ValueError):
            sys.path.remove(driver_folder)
        super().__init__(job, files)
        self._calls: dict[int, asyncio.Task[NodeResult[Any]]] = {}
        self._results: list[tuple[int, NodeResult[Any]]] = []
        self._has_ended = asyncio.Event()

    async def hello(self) -> Hello:
        """See `NodeWorker.hello`."""
        return replace(await super().hello(), node_id=ray.get_runtime_context().get_node_id())

    async def exchange(
        self, calls: Iterable[Call], cancelled: Iterable[int], forgotten: Iterable[int]
    ) -> list[tuple[int, NodeResult[Any]]]:
        """Begin calls, cancel others, and return results as soon as there are any, of whichever calls.

        Args:
            calls: What to call.
            cancelled: Numbers of calls.
            forgotten: Numbers of outputs, see `NodeWorker.forget`.

        Returns:
            Results by the numbers of their calls; none if no call is left.
        """
        self.forget(forgotten)
        for number, method, arguments in calls:
            task = self._calls[number] = asyncio.create_task(getattr(self, method)(*arguments))
            task.add_done_callback(partial(self._end, number))
        for number in self._calls.keys() & cancelled:
            self._calls[number].cancel()
        while self._calls and not self._results:
            self._has_ended.clear()
            await self._has_ended.wait()
            await asyncio.sleep(GATHER_S)
        results, self._results = self._results, []
        return results

    def _end(self, number: int, ended: "asyncio.Task[NodeResult[Any]]") -> None:
        del self._calls[number]
        if not ended.cancelled():
            error = ended.exception()
            result = ended.result() if error is None else NodeResult(Raised(describe_error(error)))
            self._results.append((number, result))
        self._has_ended.set()


class Actor:
    """The run's worker's end of a process.

    Args:
        handle: Ray's.
        slots: How many items it takes at once.
        node_id: Its node; None where Ray chooses it, until the process has started.
        on_lost: Called once it is lost.
    """

    def __init__(
        self,
        handle: Any,  # noqa: ANN401 - Ray's handles are untyped
        slots: int,
        node_id: str | None,
        on_lost: "Callable[[Actor], None]",
    ) -> None:
        self.slots = slots
        self.node_id = node_id
        self.node = (node_id or "")[:8] or "?"
        self.begun = CLOCK.monotonic()
        self.is_ready = False
        self.running = 0
        self.forgotten: list[int] = []
        """Numbers of outputs that nobody needs any more."""
        self._handle = handle
        self._on_lost = on_lost
        self._cause: str | None = None
        self._numbers = count()
        self._calls: list[Call] = []
        """Those that are not sent yet."""
        self._cancelled: list[int] = []
        self._open: dict[int, asyncio.Future[NodeResult[Any]]] = {}
        self._exchanges = 0
        self._is_to_send = False

    @property
    def is_dead(self) -> bool:
        """Whether it is lost."""
        return self._cause is not None

    @property
    def is_free(self) -> bool:
        """Whether it can take one more item."""
        return self.is_ready and not self.is_dead and self.running < self.slots

    async def start(self) -> Hello:
        """Wait until it has loaded the scripts, or has failed to.

        Raises:
            RayError: It has died.
        """
        hello: Hello = await asyncio.wrap_future(self._handle.hello.remote().future())
        await asyncio.wrap_future(self._handle.set_clock.remote(CLOCK.time_ns()).future())
        self.node_id, self.node = hello.node_id, f"{hello.host} {hello.node_id[:8]}"
        return hello

    async def call(self, method: str, *arguments: object, within: float | None = None) -> NodeResult[Any]:
        """Call a method of `NodeWorker`; a cancelled call is cancelled there as well.

        Args:
            method: Its name.
            arguments: Its arguments.
            within: How many seconds to wait, but those for which this very process was stopped; None for no limit.

        Raises:
            LostError: The process is lost.
            TimeoutError: It does not answer.
        """
        if self._cause is not None:
            raise LostError(self._cause)
        number = next(self._numbers)
        future: asyncio.Future[NodeResult[Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        self._calls.append((number, method, arguments))
        self._send_soon()
        try:
            for _ in count() if within is None else range(math.ceil(within / WAIT_S)):
                # If this process was stopped, only one such wait has passed, and what has come meanwhile is read next.
                await asyncio.wait([future], timeout=WAIT_S)
                if future.done():
                    return future.result()
            raise TimeoutError
        finally:
            if self._open.pop(number, None) is not None:
                self._cancelled.append(number)
                self._send_soon()

    def lose(self, cause: str) -> None:
        """Use it no more, and end it where it still lives, so that nothing runs twice at once."""
        if self.is_dead:
            return
        self._cause = f"Node {self.node}: {cause}"
        with suppress(RayError):
            ray.kill(self._handle)
        lost, self._open = self._open, {}
        for future in lost.values():
            if not future.done():
                future.set_exception(LostError(self._cause))
        self._on_lost(self)

    def _send_soon(self) -> None:
        if not self._is_to_send:
            self._is_to_send = True
            asyncio.get_running_loop().call_later(GATHER_S, self._send)

    def _send(self) -> None:
        self._is_to_send = False
        is_waiting = self._open and not self._exchanges
        if self.is_dead or not (self._calls or self._cancelled or is_waiting):
            return
        sent = (self._calls, self._cancelled, self.forgotten)
        self._calls, self._cancelled, self.forgotten = [], [], []
        try:
            reference = self._handle.exchange.remote(*sent)
        except RayError as error:
            self.lose(cause_of(error))
            return
        self._exchanges += 1
        asyncio.wrap_future(reference.future()).add_done_callback(self._receive)

    def _receive(self, ended: "asyncio.Future[list[tuple[int, NodeResult[Any]]]]") -> None:
        self._exchanges -= 1
        if ended.cancelled():
            return
        error = ended.exception()
        if error is not None:
            self.lose(cause_of(error))
            return
        for number, result in ended.result():
            future = self._open.pop(number, None)
            if future is not None and not future.done():
                future.set_result(result)
        self._send_soon()


def cause_of(error: BaseException) -> str:
    """Return what Ray says of an error, without its frames."""
    lines: Sequence[str] = [line.strip() for line in str(error).splitlines()]
    told = next((line for line in lines if "because" in line), next(filter(None, lines), ""))
    # Where it quotes another exception, that comes last.
    last = next((line for line in reversed(lines) if "Error" in line), "")
    return " ".join(dict.fromkeys([f"{type(error).__name__}: {told}", last]))[:MAX_CAUSE_CHARS].strip()
