"""Anthropic's messages.

Protocols: https://docs.anthropic.com/en/api/messages and .../creating-message-batches, through the SDK `anthropic`;
structured output by `output_config.format`.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import cast
from urllib.parse import quote

import anthropic
from anthropic.types import Message, MessageParam
from anthropic.types.messages.batch_create_params import Request
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
from lfexp_mcp.judges.providers.provider import UPLOAD_TIMEOUT_S, Provider, SDKErrors, read_counts

DEFAULT_MAX_TOKENS = 2048
"""The API requires a limit."""
OUTPUT_CONFIG = "output_config"
"""Holds the schema of the answer, which is left out if the model refuses it, and the declared effort, which is not."""
ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""The HTTP status of each type of error (https://docs.anthropic.com/en/api/errors): results of a batch have none."""


class AnthropicProvider(Provider):
    """Calls Anthropic's models."""

    name = "anthropic"
    errors = SDKErrors(
        anthropic.APIError, anthropic.APIStatusError, anthropic.APIConnectionError, anthropic.APITimeoutError
    )
    batch_limits = BatchLimits(100_000, 256_000_000)

    def __init__(self, api_key: str, base_url: str | None, timeout_s: float) -> None:
        # We retry ourselves, since all calls share one pace, one budget and one count.
        self._sdk = anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url, timeout=timeout_s, max_retries=0)
        super().__init__(self._sdk, api_key, timeout_s)

    def body(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """See `Provider`."""
        parameters = self._parameters(request, refused)
        limit = parameters.pop("max_tokens")
        messages: list[JsonValue] = [
            {"role": message.role, "content": message.content}
            for message in request.messages
            if message.role != "system"
        ]
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        return {
            "model": request.model,
            "max_tokens": limit if isinstance(limit, int) else DEFAULT_MAX_TOKENS,
            "messages": messages,
            **({"system": system} if system else {}),
            **parameters,
        }

    async def _create(self, body: dict[str, JsonValue]) -> Message:
        own = {"model", "max_tokens", "messages"}
        return await self._sdk.messages.create(
            model=cast("str", body["model"]),
            max_tokens=cast("int", body["max_tokens"]),
            messages=cast("list[MessageParam]", body["messages"]),
            extra_body={name: value for name, value in body.items() if name not in own},
        )

    async def find_batches(self, _tag: str, count: int, since: datetime) -> AsyncGenerator[FoundBatch, None]:
        """Yield the batches of as many requests: they have no metadata, and their requests show in the results only."""
        async for batch in self._sdk.messages.batches.list(limit=100):
            if batch.created_at < since:
                return
            counts = batch.request_counts
            total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            if total == count:
                yield FoundBatch(batch.id, is_certain=False)

    async def create_batch(self, _tag: str, content: bytes) -> str:
        """See `Provider`."""
        requests = cast("list[Request]", [json.loads(line) for line in content.split(b"\n") if line])
        return (await self._sdk.messages.batches.create(requests=requests, timeout=UPLOAD_TIMEOUT_S)).id

    async def batch_status(self, batch_id: str) -> BatchStatus:
        """See `Provider`."""
        batch = await self._sdk.messages.batches.retrieve(batch_id)
        counts = batch.request_counts
        done = counts.succeeded + counts.errored + counts.canceled + counts.expired
        return BatchStatus("ended" if batch.processing_status == "ended" else None, done)

    async def batch_results(self, batch_id: str) -> bytes:
        """Download all results before reading any, so that a broken connection does not pass for missing results."""
        path = f"/v1/messages/batches/{quote(batch_id, safe='')}/results"
        return await self._sdk.get(path, cast_to=bytes)

    async def cancel_batch(self, batch_id: str) -> None:
        """See `Provider`."""
        await self._sdk.messages.batches.cancel(batch_id)

    def batch_line(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        """See `Provider`."""
        return {"custom_id": request.id, "params": self.body(request, refused)}

    def read_batch_line(
        self, line: Mapping[str, JsonValue], request: ModelRequest, refused: frozenset[str]
    ) -> ModelAnswer | CallFailure:
        """Read a line of the results."""
        result = line.get("result")
        kind = result.get("type") if isinstance(result, dict) else None
        if isinstance(result, dict) and kind == "succeeded":
            body = result.get("message")
            message = Message.construct(None, **body) if isinstance(body, dict) else body
            return self._read_batched(message, request, refused)
        if isinstance(result, dict) and kind == "errored":
            error = self._describe(result.get("error"))
            return self.read_failure(
                ERROR_STATUSES.get(str(error.get("type")), 500), {"error": error}, request, refused
            )
        return CallFailure("transient", f"The batch gave no answer: {kind or 'it does not say why'}.")

    def _parameters(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
        given = request.accepted(refused)
        body: dict[str, JsonValue] = {name: given[name] for name in SAMPLING_PARAMETERS[self.name] if name in given}
        body["max_tokens"] = given.get("max_tokens", DEFAULT_MAX_TOKENS)
        config: dict[str, JsonValue] = {}
        effort = effort_of(given)
        if effort is not None:
            config["effort"] = effort
        if request.schema is not None and OUTPUT_CONFIG not in refused:
            config["format"] = {"type": "json_schema", "schema": dict(request.schema)}
        if config:
            body[OUTPUT_CONFIG] = config
        return body

    def _replaceable(self, refused: frozenset[str], _code: object) -> set[str]:
        return set() if OUTPUT_CONFIG in refused else {OUTPUT_CONFIG}

    def _describe(self, body: object) -> Mapping[str, object]:
        return super()._describe(body.get("error") if isinstance(body, dict) else body)

    def _read(self, response: object) -> ModelAnswer | None:
        if not isinstance(response, Message) or not isinstance(getattr(response, "content", None), list):
            return None
        usage = getattr(response, "usage", None)
        counts = read_counts(usage, "input_tokens", "output_tokens")
        ending: Ending = "complete"
        if response.stop_reason == "refusal":
            ending = "refused"
        elif response.stop_reason in {"max_tokens", "model_context_window_exceeded"}:
            ending = "cut off"
        cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0) if usage else 0
        return ModelAnswer(
            text="".join(block.text or "" for block in response.content if block.type == "text"),
            ending=ending,
            input_tokens=counts[0] + cached if counts else 0,
            output_tokens=counts[1] if counts else 0,
            metered=counts is not None,
            model=getattr(response, "model", None),
        )
