"""What the providers have in common: making one call through an SDK, and what each of its errors means."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import JsonValue

from lfexp_mcp.judges.providers.messages import (
    KEY_VARIABLES,
    PROVIDER_TITLES,
    BatchLimits,
    BatchStatus,
    CallFailure,
    FoundBatch,
    ModelAnswer,
    ModelRequest,
)
from lfexp_mcp.masking import mask
from lfexp_mcp.model import ProviderName
from lfexp_mcp.retries import read_retry_after

if TYPE_CHECKING:
    import anthropic
    import openai

    StatusErrorType = type[openai.APIStatusError | anthropic.APIStatusError]
    Client = openai.AsyncOpenAI | anthropic.AsyncAnthropic

T = TypeVar("T")

NOTHING: frozenset[str] = frozenset()
MAX_RETRY_AFTER_S = 300.0
"""A provider that asks for more is asked again after this time."""
MAX_MESSAGE_CHARS = 300
UPLOAD_TIMEOUT_S = 600.0
"""Time-out of submitting a batch, which may be hundreds of megabytes."""
_TRANSIENT = {408, 409, 425}
"""Request Timeout, Conflict and Too Early. The SDKs would retry the first two as well."""


@dataclass(frozen=True, slots=True)
class SDKErrors:
    """The exceptions of an SDK; OpenAI's and Anthropic's have the same names."""

    api: type[Exception]
    status: "StatusErrorType"
    connection: type[Exception]
    timeout: type[Exception]


class Provider(ABC):
    """Makes calls to the models of one provider.

    Parameters that a prompt's config declares are always sent, and a call fails if the model refuses one: a run without
    it would measure something else than what was asked for. Only what we add ourselves is left out then, such as the
    schema of the answer or a judge's temperature of 0.
    """

    name: ClassVar[ProviderName]
    errors: ClassVar[SDKErrors]
    batch_limits: ClassVar[BatchLimits]

    def __init__(self, client: "Client", api_key: str, timeout_s: float) -> None:
        self.title = PROVIDER_TITLES[self.name]
        self._client = client
        self._key = api_key
        self._timeout_s = timeout_s

    async def send(self, request: ModelRequest, refused: frozenset[str]) -> ModelAnswer | CallFailure:
        """Make one HTTP call.

        Args:
            refused: What its model has refused before, as `CallFailure.parameter` named it.
        """
        outcome = await self.attempt(lambda: self._create(self.body(request, refused)), request, refused)
        return outcome if isinstance(outcome, CallFailure) else self._read(outcome) or self._unreadable()

    async def attempt(
        self, call: Callable[[], Awaitable[T]], request: ModelRequest | None = None, refused: frozenset[str] = NOTHING
    ) -> T | CallFailure:
        """Make one call of the SDK.

        Args:
            request: What it asks a model, None for a call that asks none.
        """
        try:
            return await call()
        except self.errors.timeout:
            return CallFailure("transient", f"{self.title} gave no answer within {self._timeout_s:g} s.")
        except self.errors.connection:
            return CallFailure("transient", f"{self.title} could not be reached at {self._client.base_url.host}.")
        except self.errors.status as error:
            failure = self.read_failure(error.status_code, error.body, request, refused)
            if failure.kind in {"throttled", "transient"}:
                return replace(failure, retry_after_s=retry_after_s(error.response.headers))
            return failure
        except (self.errors.api, ValueError):
            return self._unreadable()

    def read_failure(
        self, status: int, body: object, request: ModelRequest | None, refused: frozenset[str] = NOTHING
    ) -> CallFailure:
        """Return what an error of the provider means; see `attempt`."""
        error, model = self._describe(body), request.model if request else None
        text = " ".join(mask(str(error.get("message") or error.get("type") or ""), self._key).split())
        text = text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]}…"
        message = f"{self.title} answered {status}" + (f": {text}" if text else "")
        message += "" if message.endswith((".", "!", "?", "…")) else "."
        # A proxy, a region or a wrong base URL may be the reason as well, which only the text tells.
        if status in {401, 403}:
            use = f"may use {model!r}" if model else "may use batches"
            key = KEY_VARIABLES[self.name]
            return CallFailure("refused", f"{message} It refuses the key in {key}: set one that {use}.")
        if status == 404 and model is None:
            return CallFailure("missing", message)
        if status == 404:
            return CallFailure("refused", f"{message} It has no model {model!r}: name another in the prompt's config.")
        # Anthropic says so in the message alone (https://github.com/anthropics/claude-quickstarts/issues/229).
        is_empty = error.get("code") == "insufficient_quota" or "credit balance is too low" in text
        if is_empty or status == 402:
            return CallFailure("refused", f"{message} Raise the account's budget at {self.title}.")
        if status in {429, 529}:
            return CallFailure("throttled", message)
        if status >= 500 or status in _TRANSIENT:
            return CallFailure("transient", message)
        if status in {400, 422} and request is not None:
            sent = self._parameters(request, refused)
            optional = request.added | self._replaceable(refused, error.get("code"))
            if parameter := _refused_parameter(error, [name for name in sent if name in optional]):
                return CallFailure("unsupported", message, parameter=self._refused_part(parameter, sent))
            if parameter := _refused_parameter(error, [name for name in sent if name not in optional]):
                hint = f"Change `{parameter}` in the prompt's config, or remove it there."
                return CallFailure("refused", f"{message} {hint}")
        return CallFailure("rejected", message)

    async def check(self) -> CallFailure | None:
        """Check the key by listing the models, which costs nothing; None if it is accepted."""

        async def list_models() -> None:
            await self._client.models.list()

        return await self.attempt(list_models)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    @abstractmethod
    def body(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """Return the whole body of a call, which is that of a batch's request, too."""

    @abstractmethod
    async def find_batches(self, tag: str, count: int, since: datetime) -> AsyncGenerator[FoundBatch, None]:
        """Yield the batches that may be the one of this tag, the newest first.

        Args:
            tag: What `create_batch` was given.
            count: How many requests it holds.
            since: When it may have been created at the earliest.
        """
        yield FoundBatch("", is_certain=False)

    @abstractmethod
    async def create_batch(self, tag: str, content: bytes) -> str:
        """Submit a batch.

        Args:
            tag: A unique name.
            content: Its requests, as JSON lines of `batch_line`.

        Returns:
            Its id.
        """

    @abstractmethod
    async def batch_status(self, batch_id: str) -> BatchStatus:
        """Look at a batch."""

    @abstractmethod
    async def batch_results(self, batch_id: str) -> bytes:
        """Download the results of a batch that has ended, as JSON lines in any order."""

    @abstractmethod
    async def cancel_batch(self, batch_id: str) -> None:
        """Cancel a batch, which may take a while; what it has finished is kept."""

    @abstractmethod
    def batch_line(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """Return a request of a batch."""

    @abstractmethod
    def read_batch_line(
        self, line: Mapping[str, JsonValue], request: ModelRequest, refused: frozenset[str]
    ) -> ModelAnswer | CallFailure:
        """Read the result of one request of a batch."""

    def _read_batched(
        self, response: object, request: ModelRequest, refused: frozenset[str]
    ) -> ModelAnswer | CallFailure:
        answer = self._read(response)
        if answer is None:
            return self._unreadable()
        return replace(answer, parameters=request.accepted(refused), batched=True)

    @abstractmethod
    def _parameters(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """Build the body of a call except its model and messages."""

    @abstractmethod
    async def _create(self, body: dict[str, JsonValue]) -> object:
        """Call the SDK."""

    @abstractmethod
    def _read(self, response: object) -> ModelAnswer | None:
        """Read a response, in which a compatible server may leave out required fields; None if unreadable."""

    @abstractmethod
    def _replaceable(self, refused: frozenset[str], code: object) -> set[str]:
        """Return the parameters that are ours or can be sent under another name."""

    def _describe(self, body: object) -> Mapping[str, object]:
        """Return the error in a response's body: `message`, and perhaps `type`, `code`, `param`.

        Args:
            body: The answer's JSON, or its text, such as a proxy's page.
        """
        return body if isinstance(body, dict) else {"message": body if isinstance(body, str) else ""}

    def _refused_part(self, parameter: str, _sent: Mapping[str, JsonValue]) -> str:
        """Return what of a refused parameter to leave out next time, under the name that `_parameters` knows."""
        return parameter

    def _unreadable(self) -> CallFailure:
        return CallFailure("transient", f"{self.title}'s answer cannot be read.")


def read_counts(usage: object, *names: str) -> list[int] | None:
    """Return the numbers of tokens in an answer; None if one is missing, as it may be at a compatible server."""
    counts = [getattr(usage, name, None) for name in names]
    known = [count for count in counts if isinstance(count, int)]
    return known if len(known) == len(names) else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms`, which OpenAI sends, else `Retry-After`."""
    milliseconds = read_retry_after(headers.get("retry-after-ms"))
    seconds = milliseconds / 1000 if milliseconds is not None else read_retry_after(headers.get("retry-after"))
    return None if seconds is None else min(seconds, MAX_RETRY_AFTER_S)


def _refused_parameter(error: Mapping[str, object], names: Collection[str]) -> str | None:
    """Return the parameter that a 400 is about: its `param`, else the first one that its message mentions."""
    named = str(error.get("param") or "").split(".")[0].split("[")[0]
    if named:
        return named if named in names else None
    text = str(error.get("message") or "")
    found = [
        (match.start(), name) for name in names if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))
    ]
    return min(found)[1] if found else None
