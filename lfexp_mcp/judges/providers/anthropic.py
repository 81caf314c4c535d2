"""Anthropic's messages.

Protocol: https://docs.anthropic.com/en/api/messages, through the SDK `anthropic`; structured output by
`output_config.format`.
"""

from collections.abc import Mapping
from typing import cast

import anthropic
from anthropic.types import Message, MessageParam
from pydantic import JsonValue

from lfexp_mcp.judges.providers.messages import SAMPLING_PARAMETERS, Ending, ModelAnswer, ModelRequest
from lfexp_mcp.judges.providers.provider import Provider, SDKErrors, effort_of

DEFAULT_MAX_TOKENS = 2048
"""The API requires a limit."""
OUTPUT_CONFIG = "output_config"
"""Holds the schema of the answer, which is left out if the model refuses it, and the declared effort, which is not."""


class AnthropicProvider(Provider):
    """Calls Anthropic's models."""

    name = "anthropic"
    errors = SDKErrors(
        anthropic.APIError,
        anthropic.APIStatusError,
        anthropic.APIConnectionError,
        anthropic.APITimeoutError,
        (anthropic.AuthenticationError, anthropic.PermissionDeniedError),
    )

    def __init__(self, api_key: str, base_url: str | None, timeout_s: float) -> None:
        self._sdk = anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url, timeout=timeout_s, max_retries=0)
        super().__init__(self._sdk, api_key, timeout_s)

    async def _create(self, request: ModelRequest, parameters: Mapping[str, JsonValue]) -> Message:
        limit = parameters["max_tokens"]
        messages = [
            {"role": message.role, "content": message.content}
            for message in request.messages
            if message.role != "system"
        ]
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        body = {name: value for name, value in parameters.items() if name != "max_tokens"}
        return await self._sdk.messages.create(
            model=request.model,
            max_tokens=limit if isinstance(limit, int) else DEFAULT_MAX_TOKENS,
            messages=cast("list[MessageParam]", messages),
            extra_body={**({"system": system} if system else {}), **body},
        )

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
        error = body.get("error") if isinstance(body, dict) else None
        return error if isinstance(error, dict) else {}

    def _read(self, response: object) -> ModelAnswer | None:
        if not isinstance(response, Message) or not isinstance(getattr(response, "content", None), list):
            return None
        usage = getattr(response, "usage", None)
        ending: Ending = "complete"
        if response.stop_reason == "refusal":
            ending = "refused"
        elif response.stop_reason in {"max_tokens", "model_context_window_exceeded"}:
            ending = "cut off"
        cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0) if usage else 0
        return ModelAnswer(
            text="".join(block.text for block in response.content if block.type == "text"),
            ending=ending,
            input_tokens=usage.input_tokens + cached if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
            metered=usage is not None,
        )
