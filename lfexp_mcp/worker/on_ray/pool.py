"""The processes that a run has on the nodes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.to_thread
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

Kind = Literal["spread", "packed", "single", "alone"]
"""Which processes a pool has: one per node for an equal share of the items, each for as many items as its node has
resources free for, each for one item, or a few for one item each without resources of their own."""


class Pool:
    """Processes of one kind on the nodes, which are started as they are needed.

    Args:
        cluster: Starts them.
        job: Reference to what they are given.
        warn: Called with a warning.
        kind: Their kind.
    """

    def __init__(self, cluster: "RayCluster", job: object, warn: Callable[[str], None], kind: Kind) -> None:
        self._cluster = cluster
        self._job = job
        self._warn = warn
        self._kind = kind
        self._most = min(cluster.run_spec.limits.max_concurrency, cluster.run_spec.total_items)
        self._places, self._free = cluster.look()
        self._actors: list[Actor] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: dict[str, str] = {}
        """Why a node cannot load the scripts, by its name."""
        self._unusable: set[str] = set()
        self._failed_starts = 0
        """Since a process has started."""
        places = sum(self._places.values())
        if kind in ("packed", "single") and places < self._most:
            warn(f"The Ray cluster has places for {places} items at once, fewer than max_concurrency={self._most}.")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Actor]:
        """Wait for a process that can take one more item, which has a place there for as long as the context.

        Raises:
            ScriptError: The scripts cannot be loaded on any node.
            WorkerError: No node is left.
        """
        if not self._tasks:
            self._begin(self._watch())
        while not (free := [actor for actor in self._actors if actor.is_free]):
            self._grow()
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(woken)
            try:
                await woken
            finally:
                self._waiting.remove(woken)
        actor = min(free, key=lambda each: each.running)
        actor.running += 1
        try:
            yield actor
        finally:
            actor.running -= 1
            self._wake(1)

    async def finish(self, record: Callable[[Actor, NodeResult[Any]], None]) -> None:
        """Take what is left on the nodes."""
        for task in self._tasks:
            task.cancel()
        for actor in self._actors:
            if actor.is_ready:
                with suppress(LostError), anyio.move_on_after(NODES_INTERVAL_S):
                    record(actor, await actor.call("rest"))

    async def _watch(self) -> None:
        """Look for nodes that come or go, and for what is free on them, and let those who wait see it."""
        while True:
            await asyncio.sleep(NODES_INTERVAL_S)
            await self._look()
            if self._kind == "spread":
                # A node that comes later takes its share, though nobody has to wait for it.
                with suppress(ScriptError, WorkerError):
                    self._grow()
            self._wake(len(self._waiting))

    async def _look(self) -> None:
        # If the head does not answer, this takes long, and what it said last holds. Nodes send results all the same.
        with suppress(RayError):
            self._places, self._free = await anyio.to_thread.run_sync(self._cluster.look, abandon_on_cancel=True)

    def _grow(self) -> None:
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
        starting = [actor for actor in self._actors if not (actor.is_ready or self._waits_for_room(actor))]
        if sum(actor.slots for actor in starting) <= len(self._waiting):
            node, slots = self._find_room(usable, {actor.node_id for actor in starting})
            if slots:
                booked = slots if self._kind != "alone" else 0
                actor = Actor(self._cluster.start(self._job, node, booked), slots, node, self._remove)
                self._actors.append(actor)
                self._begin(self._await_start(actor))

    def _waits_for_room(self, actor: Actor) -> bool:
        """Whether a process may have been waiting for long until others give back what it takes."""
        age = CLOCK.monotonic() - actor.begun
        return self._kind == "packed" and age > PLACEMENT_S and self._free.get(actor.node_id or "", 0) < actor.slots

    def _find_room(self, usable: Mapping[str, int], starting: set[str | None]) -> tuple[str | None, int]:
        """Return where a further process can be, and of how many items.

        Args:
            usable: For how many items nodes have resources.
            starting: The nodes of processes that are starting.

        Returns:
            A node, or None where Ray finds one; 0 items for nowhere now.
        """
        used = Counter(actor.node_id for actor in self._actors)
        share = -(-self._most // len(usable))
        if self._kind == "spread":
            for actor in self._actors:
                actor.slots = max(actor.slots, share)
            missing = [node for node in usable if node not in used]
            return (missing[0], share) if missing and len(used) < self._most else (None, 0)
        if self._kind == "alone":
            return min(usable, key=lambda each: used[each]), int(len(self._actors) < MAX_ALONE)
        if self._kind == "single":
            # Ray finds the node with free resources, unless some are not to be used.
            chosen = min(usable, key=lambda each: used[each] / usable[each]) if self._unusable else None
            return chosen, int(len(self._actors) < min(self._most, sum(usable.values())))
        # What those that are starting take is free until they have it.
        free = {each: self._free.get(each, 0) for each in usable if each not in starting}
        node = max(free, key=lambda each: free[each], default=None)
        if node is not None and free[node]:
            return node, min(free[node], share)
        # Others have taken the rest: Ray finds the first place that they give back.
        is_whole = sum(actor.slots for actor in self._actors) >= sum(self._places[each] for each in usable)
        return None, int(not is_whole and all(actor.is_ready for actor in self._actors))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_start(self, actor: Actor) -> None:
        try:
            hello = await actor.start()
        except RayError as error:
            await self._look()
            self._failed_starts += 1
            if actor.node_id in self._places or self._failed_starts > MAX_LOSSES:
                self._set_aside(actor, cause_of(error))
            else:
                # The node is gone, or it is not known which it was.
                actor.lose(cause_of(error))
            return
        await self._look()
        if hello.failure is not None:
            self._set_aside(actor, hello.failure)
        elif hello.version != __version__:
            self._set_aside(actor, f"It has lfexp-mcp {hello.version}, and this is {__version__}.")
        elif not actor.is_dead:
            actor.is_ready = True
            self._failed_starts = 0
            if self._kind == "spread":
                for each in self._actors:
                    each.slots = actor.slots
            self._wake(actor.slots)

    def _set_aside(self, actor: Actor, failure: str) -> None:
        """Use a node no more that cannot load the scripts; none at all if it is not known which."""
        actor.lose(failure)
        self._unusable |= {actor.node_id} if actor.node_id is not None else self._places.keys()
        if actor.node not in self._failures:
            self._failures[actor.node] = failure
            self._warn(f"Node {actor.node} is not used: {failure}")

    def _remove(self, actor: Actor) -> None:
        """Forget a process that is lost, and let those who wait start another."""
        if actor in self._actors:
            self._actors.remove(actor)
        self._wake(len(self._waiting))

    def _wake(self, count: int) -> None:
        sleeping = [woken for woken in self._waiting if not woken.done()]
        for woken in sleeping[:count]:
            woken.set_result(None)
