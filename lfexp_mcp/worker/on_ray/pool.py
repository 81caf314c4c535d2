"""The processes that a run has on the nodes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from ray.exceptions import RayError

from lfexp_mcp import __version__
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import ScriptError, WorkerError
from lfexp_mcp.worker.node import NodeResult
from lfexp_mcp.worker.on_ray.actor import Actor, LostError, cause_of

if TYPE_CHECKING:
    from lfexp_mcp.worker.on_ray.cluster import RayCluster

MAX_LOSSES = 3
"""Processes that may die while an item is in them, before it is taken for the cause."""
MAX_ALONE = 4
NODES_INTERVAL_S = 2.0
PLACEMENT_S = 10.0
"""After it a process that has not started may be waiting for what others have taken."""


class Pool:
    """The processes that a run has on the nodes, which are started as they are needed.

    Where items share processes, a node gets one process, for as many items as there are resources free on it. Others
    are started for one item each.

    Args:
        cluster: Starts them.
        job: Reference to what they are given.
        is_shared: Whether several items may be in one process.
        warn: Called with a warning.
    """

    def __init__(self, cluster: "RayCluster", job: object, warn: Callable[[str], None], *, is_shared: bool) -> None:
        self._cluster = cluster
        self._job = job
        self._max_concurrency = min(cluster.run_spec.limits.max_concurrency, cluster.run_spec.total_items)
        self._warn = warn
        self._is_shared = is_shared
        self._is_spread = not cluster.asked
        """Whether each node has one process, for its share of the items."""
        self._places = cluster.places()
        self._free = cluster.free_places()
        self._looked_at = CLOCK.monotonic()
        self._actors: list[Actor] = []
        self._alone: list[Actor] = []
        self._waiting: list[tuple[bool, asyncio.Future[None]]] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._failures: dict[str, str] = {}
        """Why a node cannot load the scripts, by its name."""
        self._unusable: set[str] = set()
        self._failed_starts = 0
        """Since a process has started."""
        places, asked = sum(self._places.values()), self._max_concurrency
        if cluster.asked and places < asked:
            warn(f"The Ray cluster has places for {places} items at once, fewer than max_concurrency={asked}.")

    async def acquire(self, *, alone: bool) -> Actor:
        """Wait for a place.

        Raises:
            ScriptError: The scripts cannot be loaded on any node.
            WorkerError: No node is left.
        """
        alone = alone and self._is_shared
        while True:
            if self._update() and self._is_spread:
                # A node that has come later takes its share, though nobody has to wait for it.
                self._grow(alone=False)
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

    def release(self, actor: Actor) -> None:
        """Give a place back."""
        actor.running -= 1
        self._wake(1, alone=actor in self._alone)

    async def finish(self, record: Callable[[Actor, NodeResult[Any]], None]) -> None:
        """Take what is left on the nodes."""
        for task in self._starting:
            task.cancel()
        for actor in (*self._actors, *self._alone):
            if actor.is_ready:
                with suppress(LostError), anyio.move_on_after(NODES_INTERVAL_S):
                    record(actor, await actor.call("rest"))

    def _update(self) -> bool:
        """Look for nodes that have come or gone, and for what is free on them; not if that was a moment ago."""
        is_due = CLOCK.monotonic() - self._looked_at > NODES_INTERVAL_S
        if is_due:
            self._looked_at = CLOCK.monotonic()
            self._places, self._free = self._cluster.places(), self._cluster.free_places()
        return is_due

    def _grow(self, *, alone: bool) -> None:
        """Start a process if too few are starting for those who wait.

        Raises:
            ScriptError: The scripts cannot be loaded on any node.
            WorkerError: No node is left.
        """
        usable = {node: places for node, places in self._places.items() if node not in self._unusable}
        if not usable:
            if self._failures:
                raise ScriptError("\n".join(f"Node {node}: {why}" for node, why in self._failures.items()))
            raise WorkerError("No node of the Ray cluster is left. Resume the run when it is back.")
        actors = self._alone if alone else self._actors
        share = -(-self._max_concurrency // len(usable))
        if self._is_spread and not alone:
            for actor in actors:
                actor.slots = max(actor.slots, share)
        starting = [actor for actor in actors if not (actor.is_ready or self._waits_for_room(actor))]
        if sum(actor.slots for actor in starting) > sum(is_alone is alone for is_alone, _ in self._waiting):
            return
        used = Counter(actor.node_id for actor in actors)
        if alone:
            # Beyond what is booked, since processes of this run may hold all of it.
            if len(actors) < MAX_ALONE:
                self._start(actors, min(usable, key=lambda node: used[node]), 1, booked=0)
        elif self._is_shared:
            node, slots = self._find_room(usable.keys(), starting, share)
            if slots:
                self._start(actors, node, slots, booked=slots)
        elif len(actors) < min(self._max_concurrency, sum(usable.values())):
            # Ray finds the node with free resources, unless some are not to be used.
            chosen = min(usable, key=lambda node: used[node] / usable[node]) if self._unusable else None
            self._start(actors, chosen, 1, booked=1)

    def _waits_for_room(self, actor: Actor) -> bool:
        """Whether a process may have been waiting for long until others give back what it takes."""
        age = CLOCK.monotonic() - actor.begun
        return self._is_shared and age > PLACEMENT_S and self._free.get(actor.node_id or "", 0) < actor.slots

    def _find_room(self, usable: Collection[str], starting: Iterable[Actor], share: int) -> tuple[str | None, int]:
        """Return where a further process of several items can be, and of how many; (None, 0) for nowhere now."""
        if self._is_spread:
            started = {actor.node_id for actor in self._actors}
            missing = [node for node in usable if node not in started]
            return (missing[0], share) if missing and len(started) < self._max_concurrency else (None, 0)
        # What those that are starting take is free until they have it.
        started = {actor.node_id for actor in starting}
        free = {node: self._free.get(node, 0) for node in usable if node not in started}
        node = max(free, key=lambda each: free[each], default=None)
        if node is not None and free[node]:
            return node, min(free[node], share)
        # Others have taken the rest: Ray finds the first place that they give back.
        is_whole = sum(actor.slots for actor in self._actors) >= sum(self._places[node] for node in usable)
        return None, int(not is_whole and all(actor.is_ready for actor in self._actors))

    def _start(self, actors: list[Actor], node_id: str | None, slots: int, *, booked: int) -> None:
        actor = Actor(self._cluster.start(self._job, node_id, booked), slots, node_id, self._remove)
        actors.append(actor)
        task = asyncio.get_running_loop().create_task(self._await_start(actor))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _await_start(self, actor: Actor) -> None:
        try:
            hello = await actor.start()
        except RayError as error:
            self._places = self._cluster.places()
            self._failed_starts += 1
            if actor.node_id in self._places or self._failed_starts > MAX_LOSSES:
                self._set_aside(actor, cause_of(error))
            else:
                # The node is gone, or it is not known which it was.
                actor.lose(cause_of(error))
            return
        if hello.failure is not None:
            self._set_aside(actor, hello.failure)
        elif hello.version != __version__:
            self._set_aside(actor, f"It has lfexp-mcp {hello.version}, and this is {__version__}.")
        elif not actor.is_dead:
            actor.is_ready = True
            if self._is_spread and actor in self._actors:
                for each in self._actors:
                    each.slots = actor.slots
            self._failed_starts = 0
            self._looked_at = 0.0
            self._wake(actor.slots, alone=actor in self._alone)

    def _set_aside(self, actor: Actor, failure: str) -> None:
        """Use a node no more that cannot load the scripts; none at all if it is not known which."""
        actor.lose(failure)
        self._unusable |= {actor.node_id} if actor.node_id is not None else self._places.keys()
        if actor.node not in self._failures:
            self._failures[actor.node] = failure
            self._warn(f"Node {actor.node} is not used: {failure}")

    def _remove(self, actor: Actor) -> None:
        """Forget a process that is lost, and let those who wait start another."""
        for actors in (self._actors, self._alone):
            if actor in actors:
                actors.remove(actor)
        self._wake(actor.slots, alone=False)
        self._wake(actor.slots, alone=True)

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
