"""Batches of questions to a model, which providers answer within a day at half the price."""

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError, ProviderError
from lfexp_mcp.judges.providers.messages import (
    KEY_VARIABLES,
    BatchStatus,
    CallFailure,
    FoundBatch,
    ModelAnswer,
    ModelRequest,
)
from lfexp_mcp.judges.providers.provider import NOTHING, Provider
from lfexp_mcp.retries import Retries, RetryPolicy

T = TypeVar("T")
Outcome = ModelAnswer | CallFailure

LOOKS = RetryPolicy(attempts=3, first_delay_s=1.0)
"""How often a batch is looked for that may have been created: a list may lag behind."""
PATIENT = RetryPolicy(attempts=None, first_delay_s=0.5, max_delay_s=60.0)
"""For looking at a batch, which goes on whether or not its provider can be reached."""
CLOCK_SLACK = timedelta(days=1)
"""How much the provider's clock may be behind ours."""
BOM = b"\xef\xbb\xbf"
NO_ENDPOINT = "{title} has no batch endpoint at this base URL. Judge without batch=true."
NOT_FOUND = (
    "{title} has no batch {batch!r} for the key in {key}. Set the key that it was submitted with. If it is "
    "deleted, judge without batch=true."
)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Later than the creation of any batch."""


@dataclass(frozen=True, slots=True)
class BatchContent:
    """The requests of one batch."""

    model: str
    ids: tuple[str, ...]
    content: bytes
    """As JSON lines."""


class Batches:
    """Submits batches to one provider, and reads their results.

    Args:
        policy: How calls are retried.
        looks: How often a batch is looked for that may have been created; None for the usual `LOOKS`.
    """

    def __init__(self, provider: Provider, policy: RetryPolicy, looks: RetryPolicy | None = None) -> None:
        self._provider = provider
        self._policy = policy
        self._looks = looks or LOOKS

    async def check(self) -> None:
        """Check that there are batches, before anything is submitted.

        Raises:
            JudgeError: The provider has no batch endpoint.
            LfexpError: It refuses the key, or cannot be reached.
        """
        await self._repeat(lambda: self._listed("", 0, NEVER, ()))

    def split(self, requests: Iterable[ModelRequest], refused: Mapping[str, frozenset[str]]) -> Iterator[BatchContent]:
        """Make batches of requests, each of one model and within the provider's limits.

        Args:
            requests: The requests, each with an `id`.
            refused: What each model has refused before, see `Provider.send`.
        """
        limits = self._provider.batch_limits
        by_model: dict[str, list[ModelRequest]] = {}
        for request in requests:
            by_model.setdefault(request.model, []).append(request)
        for model, asked in by_model.items():
            ids: list[str] = []
            content = bytearray()
            for request in asked:
                line = self._provider.batch_line(request, refused.get(model, NOTHING))
                encoded = json.dumps(line, ensure_ascii=False).encode() + b"\n"
                if ids and (len(ids) == limits.requests or len(content) + len(encoded) > limits.bytes):
                    yield BatchContent(model, tuple(ids), bytes(content))
                    ids, content = [], bytearray()
                ids.append(str(request.id))
                content += encoded
            yield BatchContent(model, tuple(ids), bytes(content))

    async def submit(self, tag: str, content: bytes, since: datetime, others: Collection[str]) -> FoundBatch:
        """Submit a batch; a submission whose answer got lost is not repeated.

        Args:
            tag: Its name.
            content: Its requests, as JSON lines.
            since: When it was planned.
            others: Batches that are known to be others.

        Raises:
            ProviderError: Whether the provider has taken it is not known.
            LfexpError: The provider does not take it.
        """
        retries = Retries(self._policy)
        while True:
            outcome = await self._provider.attempt(lambda: self._provider.create_batch(tag, content))
            if not isinstance(outcome, CallFailure):
                return FoundBatch(outcome, is_certain=True)
            await self._pause(outcome, retries)
            if outcome.kind != "throttled" and (found := await self.find(tag, content.count(b"\n"), since, others)):
                return found

    async def find(self, tag: str, count: int, since: datetime, others: Collection[str]) -> FoundBatch | None:
        """Look for a batch that may have been submitted; see `submit`.

        Args:
            tag: Its name.
            count: How many requests it has.
            since: When it was planned.
            others: Batches that are known to be others.

        Raises:
            LfexpError: The provider cannot be asked.
        """
        retries = Retries(self._looks)
        while True:
            found = await self._repeat(lambda: self._listed(tag, count, since - CLOCK_SLACK, others))
            if found is not None or (delay := retries.next_delay()) is None:
                return found
            await anyio.sleep(delay)

    async def status(self, batch_id: str) -> BatchStatus:
        """Look at a batch, for as long as it takes to reach the provider.

        Raises:
            LfexpError: The provider does not know it, or refuses the key.
        """
        return await self._repeat(lambda: self._provider.batch_status(batch_id), batch_id, PATIENT)

    async def results(self, batch_id: str) -> bytes:
        """Download the results of a batch that has ended; once more if they are damaged.

        Raises:
            LfexpError: They cannot be downloaded.
        """
        retries = Retries(self._looks)
        while True:
            content = await self._repeat(lambda: self._provider.batch_results(batch_id), batch_id)
            if None not in json_lines(content) or (delay := retries.next_delay()) is None:
                return content
            await anyio.sleep(delay)

    async def cancel(self, batch_id: str) -> None:
        """Cancel a batch; one that has ended is left as it is.

        Raises:
            LfexpError: The provider does not take it.
        """
        await self._repeat(lambda: self._provider.cancel_batch(batch_id), batch_id)

    def read(
        self, content: bytes, requests: Mapping[str, ModelRequest], refused: Mapping[str, frozenset[str]]
    ) -> dict[str, Outcome]:
        """Read results, which are in any order.

        Two results of one request count once if they say the same, and not at all if they do not.

        Args:
            content: What `results` returned.
            requests: The requests by id; results of others are left out.
            refused: What each model had refused before.
        """
        found: dict[str, Outcome] = {}
        for line in json_lines(content):
            request = requests.get(str(line.get("custom_id"))) if line is not None else None
            if line is None or request is None:
                continue
            outcome = self._provider.read_batch_line(line, request, refused.get(request.model, NOTHING))
            identity = str(request.id)
            before = found.get(identity)
            if before is None or _verdict(before) == _verdict(outcome):
                found[identity] = before or outcome
            else:
                found[identity] = CallFailure("transient", "The batch has two different results of this request.")
        return found

    async def _listed(self, tag: str, count: int, since: datetime, others: Collection[str]) -> FoundBatch | None:
        async with aclosing(self._provider.find_batches(tag, count, since)) as batches:
            async for batch in batches:
                if batch.id not in others:
                    return batch
        return None

    async def _repeat(
        self, call: Callable[[], Awaitable[T]], batch_id: str | None = None, policy: RetryPolicy | None = None
    ) -> T:
        retries = Retries(policy or self._policy)
        while True:
            outcome = await self._provider.attempt(call)
            if not isinstance(outcome, CallFailure):
                return outcome
            await self._pause(outcome, retries, batch_id)

    async def _pause(self, failure: CallFailure, retries: Retries, batch_id: str | None = None) -> None:
        """Wait before a call is made again.

        Raises:
            LfexpError: It is not to be made again.
        """
        title, key = self._provider.title, KEY_VARIABLES[self._provider.name]
        if failure.kind == "missing" and batch_id is None:
            raise JudgeError(NO_ENDPOINT.format(title=title))
        if failure.kind == "missing":
            raise ProviderError(NOT_FOUND.format(batch=batch_id, title=title, key=key))
        await anyio.sleep(failure.delay(retries))


def json_lines(content: bytes) -> list[dict[str, JsonValue] | None]:
    """Parse JSON lines, separated by line feeds alone; None for a line that is not an object, as one cut off."""
    found: list[dict[str, JsonValue] | None] = []
    for line in content.removeprefix(BOM).split(b"\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        found.append(value if isinstance(value, dict) else None)
    return found


def _verdict(outcome: Outcome) -> object:
    return (outcome.text, outcome.ending) if isinstance(outcome, ModelAnswer) else outcome.message
