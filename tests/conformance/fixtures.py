"""The tools and prompts that the conformance suite calls; what each has to do is in its scenarios' descriptions."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ContentBlock,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    ImageContent,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

AnyContext = Context[Any, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAV = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
).decode()


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


IMAGE = ImageContent(type="image", data=PNG, mime_type="image/png")
CONTENTS: dict[str, list[ContentBlock]] = {
    "test_simple_text": [_text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [AudioContent(type="audio", data=WAV, mime_type="audio/wav")],
    "test_embedded_resource": [_embedded("test://embedded-resource", "This is an embedded resource content.")],
    "test_multiple_content_types": [
        _text("Multiple content types test:"),
        IMAGE,
        _embedded("test://mixed-content-resource", '{"test": "data", "value": 123}', "application/json"),
    ],
}
"""What each tool returns that only returns something."""

_TITLED = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
_NAMES = ["option1", "option2", "option3"]
FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "test_elicitation": {"response": {"type": "string", "description": "The answer."}},
    "test_elicitation_sep1034_defaults": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
    "test_elicitation_sep1330_enums": {
        "untitledSingle": {"type": "string", "enum": _NAMES},
        "titledSingle": {"type": "string", "oneOf": _TITLED},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _NAMES}},
        "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
    },
}
"""The fields that each tool asks the client's user to fill in, during the call."""


def _ask(field: str, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=f"Please tell the {field}.", requested_schema=schema))


def _sample(prompt: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=_text(prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


ROUNDS: dict[str, list[dict[str, InputRequest]]] = {
    "elicitation": [{"user_name": _ask("name")}],
    "sampling": [{"capital_question": _sample("What is the capital of France?")}],
    "list_roots": [{"client_roots": ListRootsRequest()}],
    "request_state": [{"confirm": _ask("ok", "boolean")}],
    "multiple_inputs": [
        {"user_name": _ask("name"), "greeting": _sample("Greet them."), "client_roots": ListRootsRequest()}
    ],
    "multi_round": [{"step1": _ask("name")}, {"step2": _ask("color")}],
    "tampered_state": [{"confirm": _ask("ok", "boolean")}],
}
"""What each `test_input_required_result_…` asks for in turn before it ends, by results that the client answers to."""

JSON_SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _returning(contents: list[ContentBlock]) -> Callable[[], Awaitable[list[ContentBlock]]]:
    async def call() -> list[ContentBlock]:
        return contents

    return call


def _filling_in(fields: dict[str, dict[str, Any]]) -> Callable[..., Awaitable[str]]:
    async def call(
        message: Annotated[str, Field(description="What to ask.")] = "Please fill in.", *, ctx: AnyContext
    ) -> str:
        schema = {"type": "object", "properties": fields}
        filled = await ctx.session.elicit(message, schema, related_request_id=ctx.request_id)
        return f"Elicitation completed: action={filled.action}, content={json.dumps(filled.content)}"

    return call


def _after_rounds(
    rounds: list[dict[str, InputRequest]],
) -> Callable[[AnyContext], Awaitable[str | InputRequiredResult]]:
    async def call(ctx: AnyContext) -> str | InputRequiredResult:
        number = int(ctx.request_state or 0)
        if rounds[number].keys() <= (ctx.input_responses or {}).keys():
            number += 1
        if number < len(rounds):
            return InputRequiredResult(input_requests=rounds[number], request_state=str(number))
        return "state-ok: all that was asked for has been answered."

    return call


async def log(ctx: AnyContext) -> str:
    for step in ("started", "processing", "completed"):
        await ctx.info(step)
    return "Logged three times."


async def report_progress(ctx: AnyContext) -> str:
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"{done} of 100")
    return "Reported progress three times."


async def sample(prompt: str, ctx: AnyContext) -> str:
    messages = [SamplingMessage(role="user", content=_text(prompt))]
    answer = await ctx.session.create_message(messages, max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content}"


async def fail() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


async def reconnect(ctx: AnyContext) -> str:
    """Close the stream of the call; the client fetches the result by its last event."""
    await ctx.close_sse_stream()
    return "Answered after the stream was closed."


async def with_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none") -> str:
    return f"region={region}"


async def sample_only_if_declared(ctx: AnyContext) -> str:
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "The client has to declare sampling.", needed)
    return "The client declared sampling."


async def ask_what_is_declared(ctx: AnyContext) -> InputRequiredResult:
    declared = ctx.client_capabilities
    requests: dict[str, InputRequest] = {}
    if declared is None or declared.sampling is not None:
        requests["sampled"] = _sample("Say hello.")
    if declared is None or declared.elicitation is not None:
        requests["asked"] = _ask("name")
    return InputRequiredResult(input_requests=requests)


async def any_arguments() -> str:
    return "ok"


async def greet(name: str) -> str:
    return f"Hello, {name}!"


TOOLS: dict[str, Callable[..., Any]] = {
    **{name: _returning(contents) for name, contents in CONTENTS.items()},
    **{name: _filling_in(fields) for name, fields in FORMS.items()},
    **{f"test_input_required_result_{name}": _after_rounds(rounds) for name, rounds in ROUNDS.items()},
    "test_input_required_result_capabilities": ask_what_is_declared,
    "test_streaming_elicitation": _after_rounds(ROUNDS["elicitation"]),
    "test_tool_with_logging": log,
    "test_logging_tool": log,
    "test_tool_with_progress": report_progress,
    "test_sampling": sample,
    "test_error_handling": fail,
    "test_reconnection": reconnect,
    "test_x_mcp_header": with_header,
    "test_missing_capability": sample_only_if_declared,
    "json_schema_2020_12_tool": any_arguments,
    "greet": greet,
}


async def simple_prompt() -> str:
    return "This is a simple prompt for testing."


async def prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


async def prompt_with_embedded_resource(resourceUri: str) -> list[ContentBlock]:  # noqa: N803 - the suite's name
    return [_embedded(resourceUri, "Embedded resource content for testing."), _text("Process the resource above.")]


async def prompt_with_image() -> list[ContentBlock]:
    return [IMAGE, _text("Analyze the image above.")]


PROMPTS: dict[str, Callable[..., Any]] = {
    "test_simple_prompt": simple_prompt,
    "test_prompt_with_arguments": prompt_with_arguments,
    "test_prompt_with_embedded_resource": prompt_with_embedded_resource,
    "test_prompt_with_image": prompt_with_image,
    "test_input_required_result_prompt": _after_rounds([{"user_context": _ask("context")}]),
}
