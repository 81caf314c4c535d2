"""Annotation queues: what people are asked to look at, and to score by which score configs."""

from collections.abc import Sequence
from urllib.parse import quote

from pydantic import JsonValue

from lfexp_mcp.gateway.records import Queue, QueueItem
from lfexp_mcp.gateway.transport import Transport

_QUEUES = "/annotation-queues"


class AnnotationQueues:
    """Reads and makes annotation queues. A queue cannot be changed or deleted over the API, only its items can."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def all(self) -> list[Queue]:
        """Return the annotation queues, newest first."""
        return await self._transport.all_pages("list the annotation queues", _QUEUES, Queue)

    async def items(self, queue_id: str) -> list[QueueItem]:
        """Return what a queue asks people to look at, newest first."""
        return await self._transport.all_pages("read the annotation queue", _items(queue_id), QueueItem)

    async def create(self, name: str, description: str, score_config_ids: Sequence[str]) -> Queue:
        """Create a queue.

        Args:
            name: Unique in the project.
            description: Shown to those who annotate.
            score_config_ids: At least one: what they score.

        Raises:
            RejectedError: There is a queue of this name (status 400), or the plan allows no further one (405).
        """
        body: dict[str, JsonValue] = {"name": name, "description": description, "scoreConfigIds": [*score_config_ids]}
        return await self._transport.post(f"create annotation queue {name!r}", _QUEUES, Queue, body)

    async def add(self, queue_id: str, observation_id: str, *, done: bool = False) -> QueueItem:
        """Ask people to look at an observation. Langfuse adds one that is there already once more.

        Args:
            done: Whether it counts as looked at already.
        """
        status = "COMPLETED" if done else "PENDING"
        body: dict[str, JsonValue] = {"objectId": observation_id, "objectType": "OBSERVATION", "status": status}
        return await self._transport.post("fill the annotation queue", _items(queue_id), QueueItem, body)


def _items(queue_id: str) -> str:
    return f"{_QUEUES}/{quote(queue_id, safe='')}/items"
