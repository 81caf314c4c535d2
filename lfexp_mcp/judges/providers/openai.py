"""OpenAI's chat completions, and whatever speaks them at another base URL.

Protocol: https://platform.openai.com/docs/api-reference/chat/create, through the SDK `openai`.
"""

from collections.abc import Mapping

from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AuthenticationError,
    PermissionDeniedError,
)
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import JsonValue

from lfexp_mcp.judges.providers.failures import ErrorAnswer, failure_of
from lfexp_mcp.judges.providers.messages import CallFailure, Ending, KeyCheck, ModelAnswer, ModelRequest, effort_of
from lfexp_mcp.model import Message

_PLAIN = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty", "verbosity", "service_tier")
NEWER_LIMIT = "max_completion_tokens"
"""OpenAI's name for `max_tokens`, which goes by its older name at servers that do not know this one."""
JSON_OBJECT = "response_format.json_schema"
"""Stands, among the refused, for a `response_format` with a schema; then a JSON object without one is asked for."""


class OpenAIProvider:
    """The way to models that speak chat completions."""

    def __init__(self, api_key: str, base_url: str | None, timeout: float) -> None:
        self._key = api_key
        self._timeout = timeout
        self._client = AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0)

    async def send(self, request: ModelRequest, refused: frozenset[str]) -> ModelAnswer | CallFailure:
        """Make one call; see `Provider`."""
        optional = _optional(request, refused)
        try:
            completion = await self._client.chat.completions.create(
                model=request.model, messages=[_message(message) for message in request.messages], extra_body=optional
            )
        except APITimeoutError:
            return CallFailure("passing", f"OpenAI gave no answer within {self._timeout:g} s.")
        except APIConnectionError:
            return CallFailure("passing", f"OpenAI could not be reached at {self._client.base_url.host}.")
        except APIStatusError as error:
            answer = ErrorAnswer(
                "OpenAI",
                "OPENAI_API_KEY",
                request.model,
                error.status_code,
                error.response.headers,
                error.body if isinstance(error.body, dict) else {},
            )
            added = {"response_format", NEWER_LIMIT} | request.added
            if error.code == "invalid_value":
                # The limit is known by its name, and too large.
                added -= {NEWER_LIMIT}
            return _with_steps(failure_of(answer, optional.keys(), added, self._key), optional)
        except (APIError, ValueError):
            return CallFailure("passing", "OpenAI's answer is no chat completion.")
        return _answer(completion)

    async def check(self) -> KeyCheck:
        """Ask for the list of models; see `Provider`."""
        try:
            await self._client.models.list()
        except (AuthenticationError, PermissionDeniedError):
            return KeyCheck("refused")
        except (APIError, ValueError) as error:
            return KeyCheck("unknown", type(error).__name__)
        return KeyCheck("accepted")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _message(message: Message) -> ChatCompletionMessageParam:
    match message.role:
        case "system":
            return {"role": "system", "content": message.content}
        case "assistant":
            return {"role": "assistant", "content": message.content}
        case _:
            return {"role": "user", "content": message.content}


def _optional(request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
    """Build what a call has beside its model and messages."""
    given = request.wanted(refused)
    body: dict[str, JsonValue] = {name: given[name] for name in _PLAIN if name in given}
    effort = effort_of(given)
    if effort is not None:
        body["reasoning_effort"] = effort
    if "max_tokens" in given:
        name = "max_tokens" if NEWER_LIMIT in refused else NEWER_LIMIT
        body[name] = given["max_tokens"]
    if request.schema is not None and "response_format" not in refused:
        schema: dict[str, JsonValue] = {"name": "judgement", "strict": True, "schema": dict(request.schema)}
        structured: dict[str, JsonValue] = {"type": "json_schema", "json_schema": schema}
        body["response_format"] = {"type": "json_object"} if JSON_OBJECT in refused else structured
    return body


def _with_steps(failure: CallFailure, sent: Mapping[str, JsonValue]) -> CallFailure:
    """A refused schema is first given up for a plain JSON object."""
    asked = sent.get("response_format")
    if failure.parameter != "response_format" or not isinstance(asked, dict) or asked["type"] != "json_schema":
        return failure
    return CallFailure(failure.kind, failure.message, parameter=JSON_OBJECT)


def _answer(completion: object) -> ModelAnswer | CallFailure:
    """Read a completion; servers that are only compatible leave out what the SDK takes for granted."""
    if not isinstance(completion, ChatCompletion) or not getattr(completion, "choices", None):
        return CallFailure("passing", "OpenAI's answer is no chat completion.")
    choice, usage = completion.choices[0], completion.usage
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
