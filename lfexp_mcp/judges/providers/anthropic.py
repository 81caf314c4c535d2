"""Anthropic's messages.

Protocol: https://docs.anthropic.com/en/api/messages, through the SDK `anthropic`; structured answers by
    `output_config.format`.
"""

from anthropic import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncAnthropic,
    AuthenticationError,
    PermissionDeniedError,
)
from anthropic.types import Message as AnthropicMessage
from anthropic.types import MessageParam
from pydantic import JsonValue

from lfexp_mcp.judges.providers.failures import ErrorAnswer, failure_of
from lfexp_mcp.judges.providers.messages import CallFailure, Ending, KeyCheck, ModelAnswer, ModelRequest, effort_of
from lfexp_mcp.model import Message

MAX_TOKENS = 2048
"""Of an answer, where the prompt's config says nothing: the API wants a number."""

CONFIG = "output_config"
"""Holds the schema of the answer, which is given up where the model refuses it, and the effort that was declared."""
_PLAIN = ("temperature", "top_p", "top_k", "thinking", "service_tier")


class AnthropicProvider:
    """The way to Anthropic's models."""

    def __init__(self, api_key: str, base_url: str | None, timeout: float) -> None:
        self._key = api_key
        self._timeout = timeout
        self._client = AsyncAnthropic(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0)

    async def send(self, request: ModelRequest, refused: frozenset[str]) -> ModelAnswer | CallFailure:
        """Make one call; see `Provider`."""
        optional = _optional(request, refused)
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        limit = request.parameters.get("max_tokens")
        try:
            message = await self._client.messages.create(
                model=request.model,
                max_tokens=limit if isinstance(limit, int) else MAX_TOKENS,
                messages=_conversation(request),
                extra_body={**({"system": system} if system else {}), **optional},
            )
        except APITimeoutError:
            return CallFailure("passing", f"Anthropic gave no answer within {self._timeout:g} s.")
        except APIConnectionError:
            return CallFailure("passing", f"Anthropic could not be reached at {self._client.base_url.host}.")
        except APIStatusError as error:
            answer = ErrorAnswer(
                "Anthropic",
                "ANTHROPIC_API_KEY",
                request.model,
                error.status_code,
                error.response.headers,
                _described(error.body),
            )
            added = request.added if CONFIG in refused else request.added | {CONFIG}
            return failure_of(answer, {*optional, "max_tokens"}, added, self._key)
        except (APIError, ValueError):
            return CallFailure("passing", "Anthropic's answer is no message.")
        return _answer(message)

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


def _conversation(request: ModelRequest) -> list[MessageParam]:
    return [_message(message) for message in request.messages if message.role != "system"]


def _message(message: Message) -> MessageParam:
    if message.role == "assistant":
        return {"role": "assistant", "content": message.content}
    return {"role": "user", "content": message.content}


def _optional(request: ModelRequest, refused: frozenset[str]) -> dict[str, JsonValue]:
    """Build what a call has beside its model, messages and limit."""
    given = request.wanted(refused)
    body: dict[str, JsonValue] = {name: given[name] for name in _PLAIN if name in given}
    config: dict[str, JsonValue] = {}
    effort = effort_of(given)
    if effort is not None:
        config["effort"] = effort
    if request.schema is not None and CONFIG not in refused:
        config["format"] = {"type": "json_schema", "schema": dict(request.schema)}
    if config:
        body[CONFIG] = config
    return body


def _described(body: object) -> dict[str, object]:
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _answer(message: object) -> ModelAnswer | CallFailure:
    if not isinstance(message, AnthropicMessage) or not isinstance(getattr(message, "content", None), list):
        return CallFailure("passing", "Anthropic's answer is no message.")
    usage = getattr(message, "usage", None)
    ending: Ending = "complete"
    if message.stop_reason == "refusal":
        ending = "refused"
    elif message.stop_reason in {"max_tokens", "model_context_window_exceeded"}:
        ending = "cut off"
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0) if usage else 0
    return ModelAnswer(
        text="".join(block.text for block in message.content if block.type == "text"),
        ending=ending,
        input_tokens=usage.input_tokens + cached if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
        metered=usage is not None,
    )
