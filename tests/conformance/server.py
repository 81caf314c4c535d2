"""The server, with what the conformance suite asks for beside our own tools, resources and prompts.

`python -m tests.conformance.server PORT` serves it by our factory and our HTTP app.
"""

import base64
import json
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts.base import Prompt as FunctionPrompt
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmptyResult,
    InputRequiredResult,
    JSONRPCMessage,
    Prompt,
    PromptReference,
    Resource,
    ResourceTemplate,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from pydantic import AnyUrl
from starlette.applications import Starlette

from lfexp_mcp.loopback import LOOPBACK
from lfexp_mcp.settings import load_settings
from lfexp_mcp.tools import http_app
from lfexp_mcp.tools.completion import complete
from lfexp_mcp.tools.http import serve_http
from lfexp_mcp.tools.server import ExperimentServer, build_server
from tests.conformance.fixtures import JSON_SCHEMA_2020_12, PNG, PROMPTS, TOOLS, AnyContext
from tests.conformance.runs import SlowCompute


class Events(EventStore):
    """What was sent, for clients that come back for it."""

    def __init__(self) -> None:
        self._sent: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._sent.append((stream_id, message))
        return str(len(self._sent))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        last = int(last_event_id)
        stream_id = self._sent[last - 1][0]
        for number, (stream, message) in enumerate(self._sent[last:], start=last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def static_text() -> str:
    return "The content of the static text resource."


async def static_binary() -> bytes:
    return base64.b64decode(PNG)


async def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True})


async def _accept(*_: object) -> EmptyResult:
    return EmptyResult()


async def _complete(ctx: Any, params: CompleteRequestParams) -> CompleteResult:  # noqa: ANN401
    if isinstance(params.ref, PromptReference) and params.ref.name in PROMPTS:
        return CompleteResult(completion=Completion(values=["testing"], total=1, has_more=False))
    return await complete(ctx, params)


class FixtureServer(ExperimentServer):
    """Ours, which keeps to its own resources and prompts, with the fixtures beside them."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        for name, call in TOOLS.items():
            self.add_tool(call, name=name, description="A fixture.", structured_output=False)
        self._tool_manager._tools["json_schema_2020_12_tool"].parameters = JSON_SCHEMA_2020_12
        self._tool_manager._tools["slow_compute"] = SlowCompute.build()
        for name, call in PROMPTS.items():
            self.add_prompt(FunctionPrompt.from_function(call, name=name, description="A fixture."))
        self.resource("test://static-text", description="A fixture.")(static_text)
        self.resource("test://static-binary", description="A fixture.", mime_type="image/png")(static_binary)
        self.resource("test://template/{id}/data", description="A fixture.")(template)
        add = self._lowlevel_server.add_request_handler
        add("completion/complete", CompleteRequestParams, _complete)
        add("logging/setLevel", SetLevelRequestParams, _accept)
        add("resources/subscribe", SubscribeRequestParams, _accept)
        add("resources/unsubscribe", UnsubscribeRequestParams, _accept)

    def streamable_http_app(self, **arguments: Any) -> Starlette:  # noqa: ANN401
        return super().streamable_http_app(event_store=Events(), retry_interval=50, **arguments)

    async def list_resources(self) -> list[Resource]:
        return [*await super().list_resources(), *await MCPServer.list_resources(self)]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        return [*await super().list_resource_templates(), *await MCPServer.list_resource_templates(self)]

    async def read_resource(
        self, uri: AnyUrl | str, context: AnyContext | None = None
    ) -> Iterable[ReadResourceContents]:
        if str(uri).startswith(("test://static", "test://template")):
            contents = await MCPServer.read_resource(self, uri, context)
            assert not isinstance(contents, InputRequiredResult)
            return contents
        return await super().read_resource(uri, context)

    async def list_prompts(self) -> list[Prompt]:
        return [*await super().list_prompts(), *await MCPServer.list_prompts(self)]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: AnyContext | None = None
    ) -> Any:  # noqa: ANN401 - ours asks for no input
        if name in PROMPTS:
            return await MCPServer.get_prompt(self, name, arguments, context)
        return await super().get_prompt(name, arguments, context)


if __name__ == "__main__":
    # The front builds its server by the factory that it imports.
    setattr(http_app, "build_server", partial(build_server, kind=FixtureServer))  # noqa: B010
    serve_http(load_settings(), LOOPBACK, int(sys.argv[1]), None, partial(print, file=sys.stderr, flush=True))
