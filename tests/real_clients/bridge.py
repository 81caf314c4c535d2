"""A client of another package, told line by line on stdin which tools to call: `python bridge.py KIND`.

It runs in the environment that has the package, whose types are not at hand here. The first line says where the server
is.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, T201

import json
import sys
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def sdk_1(server):
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamablehttp_client

    streams = streamablehttp_client(**server) if "url" in server else stdio_client(StdioServerParameters(**server))
    async with streams as (received, sent, *_), ClientSession(received, sent) as session:
        started = await session.initialize()
        yield (await session.list_tools()).tools, session.call_tool, started.protocolVersion


@asynccontextmanager
async def sdk_2(server):
    import httpx2
    from mcp import Client, StdioServerParameters
    from mcp.client.streamable_http import streamable_http_client

    async with httpx2.AsyncClient(headers=server.get("headers"), timeout=180) as http:
        target = (
            streamable_http_client(server["url"], http_client=http)
            if "url" in server
            else StdioServerParameters(**server)
        )
        async with Client(target) as client:
            yield (await client.list_tools()).tools, client.call_tool, client.protocol_version


@asynccontextmanager
async def fastmcp(server):
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

    transport = StreamableHttpTransport(**server) if "url" in server else StdioTransport(**server)

    async def call(name, arguments):
        return await client.call_tool(name, arguments, raise_on_error=False)

    async with Client(transport) as client:
        yield await client.list_tools(), call, None


@asynccontextmanager
async def openai_agents(server):
    from agents.mcp import MCPServerStdio, MCPServerStreamableHttp

    kind = MCPServerStreamableHttp if "url" in server else MCPServerStdio
    async with kind(params=server, client_session_timeout_seconds=180) as opened:
        yield await opened.list_tools(), opened.call_tool, None


KINDS = {"mcp 1": sdk_1, "mcp 2": sdk_2, "fastmcp": fastmcp, "openai-agents": openai_agents}


def _field(result, snake, camel):
    return getattr(result, snake) if hasattr(result, snake) else getattr(result, camel)


async def main(kind):
    async with KINDS[kind](json.loads(sys.stdin.readline())) as (tools, call, negotiated):
        print(json.dumps({"tools": [tool.name for tool in tools], "version": negotiated}), flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            asked = json.loads(line)
            result = await call(asked["name"], asked["arguments"])
            failed = _field(result, "is_error", "isError")
            content = _field(result, "structured_content", "structuredContent")
            print(json.dumps({"isError": bool(failed), "structuredContent": content}), flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
