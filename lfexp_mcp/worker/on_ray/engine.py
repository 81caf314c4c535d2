"""Calls the user's code on the nodes of a Ray cluster.

Items run in actors, which load the user's scripts from Ray's working folder. The run's worker stays the driver: it
sends an item only when there is a place for it, and records what comes back as that of a local run.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from lfexp_mcp.model import DatasetItem, Evaluation
from lfexp_mcp.scripts import ScriptEvaluator
from lfexp_mcp.worker.engine import LocalEngine, TaskOutput, ToEvaluate
from lfexp_mcp.worker.node import NodeResult
from lfexp_mcp.worker.node_spans import Place
from lfexp_mcp.worker.on_ray.actor import Actor, LostError
from lfexp_mcp.worker.on_ray.pool import MAX_LOSSES, Kind, Pool
from lfexp_mcp.worker.pending import OutputElsewhere
from lfexp_mcp.worker.telemetry import BATCH
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, error_text

if TYPE_CHECKING:
    from lfexp_mcp.worker.on_ray.cluster import RayCluster

T = TypeVar("T")

SHARED_LOSSES = 1
"""After more of them an item shares its process with no other."""
NO_ANSWER_S = 15.0
"""How long after an item's time-out its process may take to say so."""


class _Kept(OutputElsewhere):
    """An output that stays in the process which made it, until this is forgotten."""

    def __init__(self, actor: Actor, output_id: int) -> None:
        self.actor = actor
        self.output_id = output_id

    def __del__(self) -> None:
        self.actor.forgotten.append(self.output_id)


class RayEngine:
    """Calls the user's code on the nodes of a cluster; see `Engine`.

    Args:
        cluster: The cluster.
        job: Reference to what processes on the nodes are given.
        kind: Which processes these are.
        local: Calls built-in evaluators, which need no node.
        warn: Called with a warning.
        take_spans: Called with encoded spans that belong to no result.
    """

    def __init__(
        self,
        cluster: "RayCluster",
        job: object,
        kind: Kind,
        local: LocalEngine,
        warn: Callable[[str], None],
        take_spans: Callable[[bytes], None],
    ) -> None:
        self._local = local
        self._take_spans = take_spans
        self._timeout = cluster.run_spec.limits.item_timeout
        self._pool = Pool(cluster, job, warn, kind)
        self._alone = self._pool if kind == "single" else Pool(cluster, job, warn, "alone")

    async def run_task(self, item: DatasetItem) -> CallResult[TaskOutput]:
        """See `Engine.run_task`. What a lost process was doing is done again elsewhere, and counts as no attempt."""

        async def call(actor: Actor) -> CallResult[TaskOutput]:
            found = await self._call(actor, "run_task", Place.current(), item)
            outcome = found.outcome
            if not isinstance(outcome, Returned) or found.output_id is None:
                return outcome
            return replace(outcome, value=replace(outcome.value, value=_Kept(actor, found.output_id)))

        return await self._call_until_done("item", call)

    async def evaluate(self, evaluator: ScriptEvaluator, result: ToEvaluate) -> CallResult[list[Evaluation]]:
        """See `Engine.evaluate`. Once the process that has the output is lost, evaluators get what is stored."""
        if evaluator.built_in:
            return await self._local.evaluate(evaluator, result)
        kept = result.output if isinstance(result.output, _Kept) else None

        async def call(actor: Actor) -> CallResult[list[Evaluation]]:
            is_kept = kept is not None and kept.actor is actor
            stored = None if is_kept else result.stored
            given = replace(result, output=stored, stored=stored)
            output_id = kept.output_id if kept is not None and is_kept else None
            return (await self._call(actor, "evaluate", Place.current(), evaluator.name, given, output_id)).outcome

        return await self._call_until_done("evaluator", call, kept.actor if kept is not None else None)

    async def finish(self) -> None:
        """Take what the processes have left: spans that ended late, and prints."""
        for pool in {self._pool, self._alone}:
            await pool.finish(self._record)

    async def _call_until_done(
        self, what: str, call: Callable[[Actor], Awaitable[CallResult[T]]], first: Actor | None = None
    ) -> CallResult[T]:
        """Make a call in a process, the first one as long as it lives, and again in another if the process dies."""
        causes: list[str] = []
        while len(causes) < MAX_LOSSES:
            try:
                if first is not None and not first.is_dead:
                    return await call(first)
                pool = self._alone if len(causes) > SHARED_LOSSES else self._pool
                async with pool.place() as actor:
                    return await call(actor)
            except LostError as error:
                causes.append(str(error))
        return Raised(error_text(f"The process that ran the {what} died {MAX_LOSSES} times. {causes[-1]}"))

    async def _call(self, actor: Actor, method: str, *arguments: object) -> NodeResult[Any]:
        """Call a method of an actor, and record the spans and prints that come with its result.

        Raises:
            LostError: The process died.
        """
        limit = None if self._timeout is None else self._timeout + NO_ANSWER_S
        try:
            found = await actor.call(method, *arguments, within=limit)
        except TimeoutError:
            actor.lose("it does not answer")
            late = f"TimeoutError: no result within {self._timeout:g} s, and node {actor.node} does not answer"
            return NodeResult(Raised(late))
        self._record(actor, found)
        return found

    def _record(self, actor: Actor, found: NodeResult[Any]) -> None:
        batch = BATCH.get(None)
        if batch is not None:
            batch.encoded.append(found.spans)
            batch.observations += found.observations
        if found.other_spans:
            self._take_spans(found.other_spans)
        if found.changes is not None:
            found.changes.apply()
        if found.printed:
            prefix = f"[{actor.node}] ".encode()
            os.write(1, b"".join(prefix + line + b"\n" for line in found.printed.splitlines()))
