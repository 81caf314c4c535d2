"""OpenAI's chat completions, and any server that speaks them at another base URL.

Protocol: https://platform.openai.com/docs/api-reference/chat/create, through the SDK `openai`.
"""

from collections.abc import Mapping
from typing import cast

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import JsonValue

from lfexp_mcp.judges.providers.messages import SAMPLING_PARAMETERS, CallFailure, Ending, ModelAnswer, ModelRequest
from lfexp_mcp.judges.providers.provider import Provider, SDKErrors, effort_of

MAX_COMPLETION_TOKENS = "max_completion_tokens"
"""OpenAI's newer name for `max_tokens`, which is used at servers that do not know this one."""
JSON_SCHEMA = "response_format.json_schema"
"""Among the refused, a `response_format` with a schema; a plain JSON object is asked for instead."""


class OpenAIProvider(Provider):
    """Calls models that speak chat completions."""

    name = "openai"
    errors = SDKErrors(
        openai.APIError,
        openai.APIStatusError,
        openai.APIConnectionError,
        openai.APITimeoutError,
        (openai.AuthenticationError, openai.PermissionDeniedError),
    )

    def __init__(self, api_key: str, base_url: str | None, timeout_s: float) -> None:
        self._sdk = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout_s, max_retries=0)
        super().__init__(self._sdk, api_key, timeout_s)

    async def _create(self, request: ModelRequest, parameters: Mapping[str, JsonValue]) -> ChatCompletion:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        return await self._sdk.chat.completions.create(
            model=request.model, messages=cast("list[ChatCompletionMessageParam]", messages), extra_body=parameters
        )

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

    def _with_fallback(self, failure: CallFailure, sent: Mapping[str, JsonValue]) -> CallFailure:
        asked = sent.get("response_format")
        if failure.parameter == "response_format" and isinstance(asked, dict) and asked["type"] == "json_schema":
            return CallFailure(failure.kind, failure.message, parameter=JSON_SCHEMA)
        return failure

    def _read(self, response: object) -> ModelAnswer | None:
        if not isinstance(response, ChatCompletion) or not getattr(response, "choices", None):
            return None
        choice, usage = response.choices[0], response.usage
        message = choice.message
        ending: Ending = "complete"
        if message.refusal or choice.finish_reason == "content_filter":
            ending = "refused"
        elif choice.finish_reason == "length":
            ending = "cut off"
        return ModelAnswer(
            text=message.refusal or message.content or "",
            ending=ending,
            input_tokens=usage.prompt_tokens if usage else 0,
            output_tokens=usage.completion_tokens if usage else 0,
            metered=usage is not None,
        )
