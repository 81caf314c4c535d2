"""OpenAI's chat completions, and any server that speaks them at another base URL.

Protocols: https://platform.openai.com/docs/api-reference/chat/create and .../batch, through the SDK `openai`.
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Literal
from urllib.parse import quote

import openai
from openai.types.chat import ChatCompletion
from pydantic import JsonValue

from lfexp_mcp.judges.providers.messages import (
    SAMPLING_PARAMETERS,
    BatchLimits,
    BatchStatus,
    CallFailure,
    Ending,
    FoundBatch,
    ModelAnswer,
    ModelRequest,
    effort_of,
)
from lfexp_mcp.judges.providers.provider import (
    MAX_MESSAGE_CHARS,
    UPLOAD_TIMEOUT_S,
    Provider,
    SDKErrors,
    read_counts,
)
from lfexp_mcp.masking import mask

MAX_COMPLETION_TOKENS = "max_completion_tokens"
"""OpenAI's newer name for `max_tokens`, which is used at servers that do not know this one."""
JSON_SCHEMA = "response_format.json_schema"
"""Stands among the refused for a `response_format` with a schema; a plain JSON object is asked for instead."""

ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
TAG = "lfexp"
"""The key of our tag in a batch's metadata."""
MAX_ERRORS = 3
"""Errors quoted of a batch that was rejected."""


class OpenAIProvider(Provider):
    """Calls models that speak chat completions."""

    name = "openai"
    errors = SDKErrors(openai.APIError, openai.APIStatusError, openai.APIConnectionError, openai.APITimeoutError)
    batch_limits = BatchLimits(50_000, 200_000_000)

    def __init__(self, api_key: str, base_url: str | None, timeout_s: float) -> None:
        # We retry ourselves, since all calls share one pace, one budget and one count.
        self._sdk = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout_s, max_retries=0)
        super().__init__(self._sdk, api_key, timeout_s)

    def body(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """See `Provider`."""
        messages: list[JsonValue] = [{"role": each.role, "content": each.content} for each in request.messages]
        return {"model": request.model, "messages": messages, **self._parameters(request, refused)}

    async def _create(self, body: dict[str, JsonValue]) -> ChatCompletion:
        # In the worker of a script that imports `langfuse.openai`, `chat.completions.create` is wrapped: it would trace
        # the call a second time, and fail on answers without a message.
        return await self._sdk.post("/chat/completions", body=body, cast_to=ChatCompletion)

    async def find_batches(self, tag: str, _count: int, since: datetime) -> AsyncGenerator[FoundBatch, None]:
        """Yield the batch that has the tag in its metadata."""
        async for batch in self._sdk.batches.list(limit=100):
            if batch.created_at < since.timestamp():
                return
            if (batch.metadata or {}).get(TAG) == tag:
                yield FoundBatch(batch.id, is_certain=True)

    async def create_batch(self, tag: str, content: bytes) -> str:
        """Upload the requests as a file, unless it is there from before, and submit it."""
        name = f"lfexp-{hashlib.sha256(content).hexdigest()[:32]}.jsonl"
        listed = await self._sdk.files.list(purpose="batch", order="desc", limit=100)
        same = (file.id for file in listed.data if (file.filename, file.bytes) == (name, len(content)))
        file_id = next(same, None)
        if file_id is None:
            file = (name, content, "application/jsonl")
            file_id = (await self._sdk.files.create(file=file, purpose="batch", timeout=UPLOAD_TIMEOUT_S)).id
        batch = await self._sdk.batches.create(
            input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h", metadata={TAG: tag}
        )
        return batch.id

    async def batch_status(self, batch_id: str) -> BatchStatus:
        """See `Provider`."""
        batch = await self._sdk.batches.retrieve(batch_id)
        counts = batch.request_counts
        done = counts.completed + counts.failed if counts is not None else 0
        ended = batch.status if batch.status in {"completed", "failed", "expired", "cancelled"} else None
        if ended != "failed":
            return BatchStatus(ended, done)
        errors = [str(error.message or error.code) for error in (batch.errors and batch.errors.data) or []]
        text = mask("; ".join(errors[:MAX_ERRORS]), self._key)[:MAX_MESSAGE_CHARS]
        return BatchStatus(ended, done, text or "it does not say why")

    async def batch_results(self, batch_id: str) -> bytes:
        """Download the file of answers and the file of errors; either may be missing."""
        batch = await self._sdk.batches.retrieve(batch_id)
        files = [identity for identity in (batch.output_file_id, batch.error_file_id) if identity]
        return b"\n".join(
            [await self._sdk.get(f"/files/{quote(identity, safe='')}/content", cast_to=bytes) for identity in files]
        )

    async def cancel_batch(self, batch_id: str) -> None:
        """See `Provider`."""
        await self._sdk.batches.cancel(batch_id)

    def batch_line(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """See `Provider`."""
        return {"custom_id": request.id, "method": "POST", "url": ENDPOINT, "body": self.body(request, refused)}

    def read_batch_line(
        self, line: Mapping[str, JsonValue], request: ModelRequest, refused: frozenset[str]
    ) -> ModelAnswer | CallFailure:
        """Read a line of the file of answers or of errors."""
        response, error = line.get("response"), line.get("error")
        if not isinstance(response, dict):
            code = error.get("code") if isinstance(error, dict) else None
            return CallFailure("transient", f"The batch gave no answer: {code or 'it does not say why'}.")
        status, body = response.get("status_code"), response.get("body")
        if status != 200:
            details = body.get("error", body) if isinstance(body, dict) else body
            return self.read_failure(status if isinstance(status, int) else 500, details, request, refused)
        completion = ChatCompletion.construct(None, **body) if isinstance(body, dict) else body
        return self._read_batched(completion, request, refused)

    def _parameters(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        given = request.accepted(refused)
        body: dict[str, JsonValue] = {name: given[name] for name in SAMPLING_PARAMETERS[self.name] if name in given}
        effort = effort_of(given)
        if effort is not None:
            body["reasoning_effort"] = effort
        if "max_tokens" in given:
            name = "max_tokens" if MAX_COMPLETION_TOKENS in refused else MAX_COMPLETION_TOKENS
            body[name] = given["max_tokens"]
        if request.schema is not None and "response_format" not in refused:
            schema: dict[str, JsonValue] = {"name": "judgement", "strict": True, "schema": dict(request.schema)}
            structured: dict[str, JsonValue] = {"type": "json_schema", "json_schema": schema}
            body["response_format"] = {"type": "json_object"} if JSON_SCHEMA in refused else structured
        return body

    def _replaceable(self, _refused: frozenset[str], code: object) -> set[str]:
        # An invalid value of the limit means that the server knows its name.
        return {"response_format"} if code == "invalid_value" else {"response_format", MAX_COMPLETION_TOKENS}

    def _refused_part(self, parameter: str, sent: Mapping[str, JsonValue]) -> str:
        asked = sent.get("response_format")
        is_schema = isinstance(asked, dict) and asked["type"] == "json_schema"
        return JSON_SCHEMA if parameter == "response_format" and is_schema else parameter

    def _read(self, response: object) -> ModelAnswer | None:
        choice = next(iter(getattr(response, "choices", None) or ()), None)
        message = getattr(choice, "message", None)
        if not isinstance(response, ChatCompletion) or choice is None or message is None:
            return None
        counts = read_counts(response.usage, "prompt_tokens", "completion_tokens")
        ending: Ending = "complete"
        if message.refusal or choice.finish_reason == "content_filter":
            ending = "refused"
        elif choice.finish_reason == "length":
            ending = "cut off"
        return ModelAnswer(
            text=message.refusal or message.content or "",
            ending=ending,
            input_tokens=counts[0] if counts else 0,
            output_tokens=counts[1] if counts else 0,
            metered=counts is not None,
            model=getattr(response, "model", None),
        )
