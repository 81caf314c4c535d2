"""Clients of each protocol version, on the wire: those that shake hands, and those of 2026-07-28, which do not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import JsonValue

from lfexp_mcp.loopback import LOOPBACK
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.http_app import build_app
from lfexp_mcp.tools.registry import TOOLS
from lfexp_mcp.tools.server import LISTS, LISTS_TTL_MS
from tests.tools.test_stdio import RawServer, raw_server

PORT = 8765
URL = f"http://{LOOPBACK}:{PORT}/mcp"
NEWEST = "2026-07-28"
LAST_WITH_HANDSHAKE = "2025-11-25"
WITH_HANDSHAKE = ["2024-11-05", "2025-03-26", "2025-06-18", LAST_WITH_HANDSHAKE]
UNKNOWN = ["1.0", "2024-11-06", "2030-01-01", NEWEST, ""]
"""What no handshake can agree on."""
NAMES = [tool.name for tool in TOOLS]

INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
METHOD_NOT_FOUND = -32601

Message = dict[str, Any]


def handshake(version: str) -> dict[str, JsonValue]:
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}


def envelope(version: str = NEWEST) -> dict[str, JsonValue]:
    """What each request of 2026-07-28 says of its client."""
    prefix = "io.modelcontextprotocol/"
    return {"_meta": {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}}}


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app behind `serve --http`."""
    app = build_app(settings, LOOPBACK, PORT, None)
    headers = {"Accept": "application/json, text/event-stream"}
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, headers=headers) as client:
        yield client


async def post(http: httpx.AsyncClient, method: str, params: JsonValue, **headers: str) -> httpx.Response:
    return await http.post(
        URL,
        json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def message_of(response: httpx.Response) -> Message:
    """Return the answer to a request, from JSON or from the last event of a stream."""
    text = response.text.strip()
    if response.headers["content-type"].startswith("text/event-stream"):
        text = [line for line in text.splitlines() if line.startswith("data:")][-1].removeprefix("data:")
    message: Message = json.loads(text)
    assert message["id"] == 7
    return message


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "agreed"),
    [*zip(WITH_HANDSHAKE, WITH_HANDSHAKE, strict=True), *((version, LAST_WITH_HANDSHAKE) for version in UNKNOWN)],
)
async def test_a_handshake_agrees_on_a_version_over_http(http: httpx.AsyncClient, asked: str, agreed: str) -> None:
    opened = await post(http, "initialize", handshake(asked))
    assert message_of(opened)["result"]["protocolVersion"] == agreed
    session = {"Mcp_Session_Id": opened.headers["mcp-session-id"], "MCP_Protocol_Version": agreed}
    tools = message_of(await post(http, "tools/list", {}, **session))["result"]["tools"]
    assert [tool["name"] for tool in tools] == NAMES
    call: JsonValue = {"name": "list_runs", "arguments": {"dataset": "no such dataset"}}
    refused = message_of(await post(http, "tools/call", call, **session))["result"]
    # Clients before 2025-06-18 read the text alone.
    assert refused["isError"]
    assert "no such dataset" in refused["content"][0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("version", [WITH_HANDSHAKE[0], LAST_WITH_HANDSHAKE])
def test_a_handshake_agrees_on_a_version_over_stdio(tmp_path: Path, home: Path, version: str) -> None:
    with raw_server(tmp_path / "stderr.log", handshake(version), LFEXP_HOME=str(home)) as server:
        assert server.opened["result"]["protocolVersion"] == version
        assert [tool["name"] for tool in _result(server, "tools/list", {})["tools"]] == NAMES


@pytest.mark.slow
def test_a_client_without_a_handshake_is_served_over_stdio(tmp_path: Path, home: Path) -> None:
    with raw_server(tmp_path / "stderr.log", None, LFEXP_HOME=str(home)) as server:
        refused = server.request("tools/list", envelope("2030-01-01"))["error"]
        assert isinstance(refused, dict)
        assert refused["code"] == UNSUPPORTED_VERSION
        for method in LISTS:
            listed = _result(server, method, envelope())
            assert (listed["resultType"], listed["ttlMs"], listed["cacheScope"]) == ("complete", LISTS_TTL_MS, "public")
        assert NEWEST in _result(server, "server/discover", envelope())["supportedVersions"]
        call: dict[str, JsonValue] = {"name": "list_runs", "arguments": {}}
        assert _result(server, "tools/call", call | envelope())["isError"]


@pytest.mark.anyio
async def test_a_client_without_a_handshake_is_served_over_http(http: httpx.AsyncClient, settings: Settings) -> None:
    for method in LISTS:
        response = await post(http, method, envelope(), MCP_Protocol_Version=NEWEST, Mcp_Method=method)
        listed = message_of(response)["result"]
        assert "mcp-session-id" not in response.headers
        assert (listed["ttlMs"], listed["cacheScope"]) == (LISTS_TTL_MS, "public")
    uri = "langfuse://datasets"
    read = await post(
        http,
        "resources/read",
        {"uri": uri, **envelope()},
        MCP_Protocol_Version=NEWEST,
        Mcp_Method="resources/read",
        Mcp_Name=uri,
    )
    content = message_of(read)["result"]
    # What is in Langfuse changes, and is the caller's.
    assert (content["ttlMs"], content["cacheScope"]) == (0, "private")
    assert str(settings.langfuse_url) in content["contents"][0]["text"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("params", "headers", "code"),
    [
        ({}, {"MCP_Protocol_Version": NEWEST}, INVALID_PARAMS),
        (envelope("2030-01-01"), {"MCP_Protocol_Version": "2030-01-01"}, UNSUPPORTED_VERSION),
        (envelope(), {"MCP_Protocol_Version": NEWEST, "Mcp_Method": "tools/call"}, HEADER_MISMATCH),
    ],
    ids=["without an envelope", "of an unknown version", "with the header of another method"],
)
async def test_a_request_of_the_newest_version_is_refused(
    http: httpx.AsyncClient, params: JsonValue, headers: dict[str, str], code: int
) -> None:
    refused = await post(http, "tools/list", params, **({"Mcp_Method": "tools/list"} | headers))
    assert (refused.status_code, message_of(refused)["error"]["code"]) == (400, code)


@pytest.mark.anyio
async def test_a_request_whose_header_tells_an_older_version_is_not_served(http: httpx.AsyncClient) -> None:
    refused = await post(http, "tools/list", envelope(), MCP_Protocol_Version=LAST_WITH_HANDSHAKE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, INVALID_REQUEST)


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["ping", "initialize", "logging/setLevel", "resources/subscribe", "no/such"])
async def test_a_method_that_the_newest_version_lacks_is_not_found(http: httpx.AsyncClient, method: str) -> None:
    refused = await post(http, method, envelope(), MCP_Protocol_Version=NEWEST, Mcp_Method=method)
    assert (refused.status_code, message_of(refused)["error"]["code"]) == (404, METHOD_NOT_FOUND)


def _result(server: RawServer, method: str, params: JsonValue) -> Message:
    answer = server.request(method, params)
    assert isinstance(answer.get("result"), dict), answer
    result: Message = answer["result"]  # type: ignore[assignment]
    return result
