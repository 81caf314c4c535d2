"""The processes that a run has on the nodes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import ray
from ray.exceptions import RayError

from lfexp_mcp import __version__
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import ScriptError, WorkerError
from lfexp_mcp.worker.node import Hello, NodeResult
from lfexp_mcp.worker.on_ray.cluster import RayCluster, cause_of

MAX_LOSSES = 3
"""Processes that may die while an item is in them, before it is taken for the cause."""
MAX_ALONE = 4
NODES_INTERVAL_S = 2.0


class Actor:
    """One process on a node."""

    def __init__(self, handle: Any, slots: int, node_id: str | None = None) -> None:  # noqa: ANN401 - Ray's are untyped
        self.handle = handle
        self.slots = slots
        self.node_id = node_id
        """None where Ray chooses it, until it has started."""
        self.node = (node_id or "")[:8] or "?"
        self.is_ready = False
        self.is_dead = False
        self.running = 0
        self.forgotten: list[int] = []
        """Numbers of outputs that nobody needs any more."""

    @property
    def is_free(self) -> bool:
        """Whether it can take one more item."""
        return self.is_ready and not self.is_dead and self.running < self.slots

    def call(self, method: str, *arguments: object) -> "ray.ObjectRef[Any]":
        """Call a method that takes, after its arguments, the numbers of outputs to forget."""
        forgotten, self.forgotten = self.forgotten, []
        reference: ray.ObjectRef[Any] = getattr(self.handle, method).remote(*arguments, forgotten)
        return reference


class Pool:
    """The processes that a run has on the nodes, which are started as they are needed.

    Args:
        cluster: Starts them.
        job: Reference to what they are given.
        max_concurrency: Items at once.
        warn: Called with a warning.
    """

    def __init__(self, cluster: RayCluster, job: object, max_concurrency: int, warn: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._job = job
        self._max_concurrency = max_concurrency
        self._warn = warn
        self._is_shared = not cluster.asked
        self._places = cluster.places()
        self._looked_at = 0.0
        self._actors: list[Actor] = []
        self._alone: list[Actor] = []
        self._waiting: list[tuple[bool, asyncio.Future[None]]] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._failures: dict[str, str] = {}
        """Why a node cannot load the scripts, by its name."""
        self._unusable: set[str] = set()
        self._failed_starts = 0
        """Since a process has started."""
        places = sum(self._places.values())
        if not self._is_shared and places < max_concurrency:
            warn(
                f"The Ray cluster has places for {places} items at once, fewer than max_concurrency={max_concurrency}."
            )

    async def acquire(self, *, alone: bool) -> Actor:
        """Wait for a place.

        Raises:
            ScriptError: The scripts cannot be loaded on any node.
            WorkerError: No node is left.
        """
        alone = alone and self._is_shared
        while True:
            free = [actor for actor in (self._alone if alone else self._actors) if actor.is_free]
            if free:
                actor = min(free, key=lambda each: each.running)
                actor.running += 1
                return actor
            self._grow(alone=alone)
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((alone, woken))
            try:
                with anyio.move_on_after(NODES_INTERVAL_S):
                    await woken
            finally:
                with suppress(ValueError):
                    self._waiting.remove((alone, woken))
            self._update()

    def release(self, actor: Actor) -> None:
        """Give a place back."""
        actor.running -= 1
        self._wake(1, alone=actor in self._alone)

    def lose(self, actor: Actor) -> None:
        """Use a process no more, and end it where it still lives, so that nothing runs twice at once."""
        if not actor.is_dead:
            actor.is_dead = True
            with suppress(RayError):
                ray.kill(actor.handle)
            for actors in (self._actors, self._alone):
                if actor in actors:
                    actors.remove(actor)
            self._wake(actor.slots, alone=False)
            self._wake(actor.slots, alone=True)

    async def finish(self, record: Callable[[Actor, NodeResult[Any]], None]) -> None:
        """Take what is left on the nodes."""
        for task in self._starting:
            task.cancel()
        for actor in (*self._actors, *self._alone):
            if actor.is_ready:
                with suppress(RayError), anyio.move_on_after(NODES_INTERVAL_S):
                    record(actor, await asyncio.wrap_future(actor.handle.rest.remote().future()))

    def _update(self) -> None:
        """Look for nodes that have come or gone."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._looked_at > NODES_INTERVAL_S:
            self._looked_at = loop.time()
            self._places = self._cluster.places()

    def _grow(self, *, alone: bool) -> None:
        """Start processes for those who wait.

        Raises:
            ScriptError: The scripts cannot be loaded on any node.
            WorkerError: No node is left.
        """
        usable = {node: places for node, places in self._places.items() if node not in self._unusable}
        if not usable:
            if self._failures:
                raise ScriptError("\n".join(f"Node {node}: {why}" for node, why in self._failures.items()))
            raise WorkerError("No node of the Ray cluster is left. Resume the run when it is back.")
        starting = sum(not actor.is_ready for actor in (self._alone if alone else self._actors))
        waiting = 1 + sum(is_alone is alone for is_alone, _ in self._waiting)
        if alone:
            if len(self._alone) < MAX_ALONE and starting < waiting:
                self._start(self._alone, None, 1)
        elif self._is_shared:
            share = -(-self._max_concurrency // len(usable))
            started = {actor.node_id for actor in self._actors}
            for actor in self._actors:
                actor.slots = share
            wanted = -(-waiting // share) - starting
            for node in [node for node in usable if node not in started][: max(wanted, 0)]:
                self._start(self._actors, node, share)
        elif starting < waiting and len(self._actors) < min(self._max_concurrency, sum(usable.values())):
            # Ray finds the node with free resources, unless some are not to be used.
            used = Counter(actor.node_id for actor in self._actors)
            chosen = min(usable, key=lambda each: used[each] / usable[each]) if self._unusable else None
            self._start(self._actors, chosen, 1)

    def _start(self, actors: list[Actor], node_id: str | None, slots: int) -> None:
        actor = Actor(self._cluster.start(self._job, node_id), slots, node_id)
        actors.append(actor)
        task = asyncio.get_running_loop().create_task(self._await_start(actors, actor))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _await_start(self, actors: list[Actor], actor: Actor) -> None:
        try:
            hello: Hello = await asyncio.wrap_future(actor.handle.hello.remote().future())
            await asyncio.wrap_future(actor.handle.set_clock.remote(CLOCK.time_ns()).future())
        except RayError as error:
            self._places = self._cluster.places()
            self._failed_starts += 1
            if actor.node_id in self._places or self._failed_starts > MAX_LOSSES:
                self._set_aside(actor, cause_of(error))
            else:
                # The node is gone, or it is not known which it was.
                self.lose(actor)
            return
        actor.node_id, actor.node = hello.node_id, f"{hello.host} {hello.node_id[:8]}"
        if hello.failure is not None:
            self._set_aside(actor, hello.failure)
        elif hello.version != __version__:
            self._set_aside(actor, f"It has lfexp-mcp {hello.version}, and this is {__version__}.")
        elif not actor.is_dead:
            actor.is_ready = True
            self._failed_starts = 0
            self._wake(actor.slots, alone=actors is self._alone)

    def _set_aside(self, actor: Actor, failure: str) -> None:
        """Use a node no more that cannot load the scripts; none at all if it is not known which."""
        self.lose(actor)
        self._unusable |= {actor.node_id} if actor.node_id is not None else self._places.keys()
        if actor.node not in self._failures:
            self._failures[actor.node] = failure
            self._warn(f"Node {actor.node} is not used: {failure}")

    def _wake(self, count: int, *, alone: bool) -> None:
        for is_alone, woken in self._waiting:
            if is_alone is alone and not woken.done() and count > 0:
                woken.set_result(None)
                count -= 1


@dataclass(slots=True)
class Placed:
    """A place in a process, for as long as its context."""

    pool: Pool
    alone: bool
    actor: Actor | None = field(default=None, init=False)

    async def __aenter__(self) -> Actor:
        self.actor = await self.pool.acquire(alone=self.alone)
        return self.actor

    async def __aexit__(self, *_: object) -> None:
        if self.actor is not None:
            self.pool.release(self.actor)
