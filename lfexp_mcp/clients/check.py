"""Starting the server as a client's entry says."""

import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import anyio
from pydantic import JsonValue, ValidationError

from lfexp_mcp.answers.clients import ClientName, ServerCheck, ServerChecks
from lfexp_mcp.clients.configuration import parse, read_file
from lfexp_mcp.clients.known import CLIENTS, Client, Machine, configuration_file
from lfexp_mcp.clients.setup import is_secret
from lfexp_mcp.errors import UsageError
from lfexp_mcp.groups import first_error
from lfexp_mcp.masking import MASK, mask

if TYPE_CHECKING:
    from mcp import StdioServerParameters

START_TIMEOUT_S = 60.0
"""Time in which the server has to list its tools; several clients wait no longer."""
STDERR_CHARS = 2_000
MAX_STDERR_BYTES = 64 * 1024
"""Read of it; more than is shown, so that no part of a secret is left where it begins."""
_REFERENCE = re.compile(r"\$\{(?:env:)?(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


async def check_clients(
    client: ClientName | None, name: str, machine: Machine, *, project: bool = False, timeout: float = START_TIMEOUT_S
) -> ServerChecks:
    """Start the server by the entry of one client, or of each that has one, and list its tools.

    Args:
        client: None for all clients.
        project: Whether the files of the project are meant.

    Raises:
        UsageError: No file has the entry, or the client has none for a project.
    """
    checks = []
    for each in CLIENTS if client is None else (client,):
        if client is None and project and CLIENTS[each].project_file is None:
            continue
        path = configuration_file(each, machine, project)
        check = ServerCheck(client=each, file=str(path), healthy=False)
        try:
            entry = _entry(CLIENTS[each], path, name)
            if entry is None:
                continue
            await _check(check, entry, machine.environment, timeout)
        except UsageError as error:
            check.problem = str(error)
        checks.append(check)
    if not checks:
        where = CLIENTS[client].title if client else "any client"
        raise UsageError(f"No configuration of {where} has a server named {name}: run `lfexp-mcp setup` first.")
    return ServerChecks(name=name, checks=checks)


def _entry(client: Client, path: Path, name: str) -> dict[str, JsonValue] | None:
    servers = parse(read_file(path), toml=client.toml).get(client.servers)
    entry = servers.get(name) if isinstance(servers, dict) else None
    return entry if isinstance(entry, dict) else None


async def _check(
    check: ServerCheck, entry: Mapping[str, JsonValue], environment: Mapping[str, str], timeout: float
) -> None:
    check.command = mask(str(entry.get("command", "")))
    try:
        parameters = _parameters(CLIENTS[check.client], entry, environment)
    except ValidationError as error:
        wrong = ", ".join(str(each["loc"][0]) for each in error.errors(include_input=False))
        raise UsageError(f"The entry does not say how to start a server: {wrong}.") from None
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stderr:
        await _start(check, parameters, stderr, timeout)


async def _start(check: ServerCheck, parameters: "StdioServerParameters", stderr: TextIO, timeout: float) -> None:
    from mcp import Client as McpClient
    from mcp import MCPError
    from mcp.client.stdio import stdio_client

    began = time.monotonic()
    try:
        with anyio.fail_after(timeout):
            async with McpClient(stdio_client(parameters, errlog=stderr)) as connected:
                check.tools = len((await connected.list_tools()).tools)
                check.seconds = time.monotonic() - began
    except* TimeoutError:
        check.problem = f"The server did not list its tools within {timeout:g} s."
    except* (OSError, ValueError, MCPError) as failed:
        check.problem = f"The server did not start: {first_error(failed)}."
    check.healthy = check.problem is None and check.tools > 0
    if not check.healthy:
        secrets = [value for name, value in (parameters.env or {}).items() if is_secret(name, value)]
        check.problem = _without(secrets, check.problem or "The server has no tools.")
        size = stderr.buffer.seek(0, os.SEEK_END)
        stderr.buffer.seek(max(size - MAX_STDERR_BYTES, 0))
        said = stderr.buffer.read().decode("utf-8", errors="replace")
        check.stderr = _without(secrets, said)[-STDERR_CHARS:].strip() or None


def _without(secrets: list[str], text: str) -> str:
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return mask(text)


def _parameters(
    client: Client, entry: Mapping[str, JsonValue], environment: Mapping[str, str]
) -> "StdioServerParameters":
    """Read an entry as the client does.

    Raises:
        UsageError: It refers to a variable that is not set, or to what only the client knows.
        ValidationError: It is not a command with arguments and variables.
    """
    from mcp import StdioServerParameters

    said = {name: entry[name] for name in ("command", "args", "env", "cwd") if entry.get(name) is not None}
    if client.reference is not None:
        said = {name: _expanded(value, environment) for name, value in said.items()}
    forwarded = entry.get("env_vars")
    if isinstance(forwarded, list):
        own = said.get("env")
        found: dict[str, JsonValue] = {
            name: environment[name] for name in forwarded if isinstance(name, str) and name in environment
        }
        said["env"] = found | (own if isinstance(own, dict) else {})
    return StdioServerParameters.model_validate(said)


def _expanded(value: JsonValue, environment: Mapping[str, str]) -> JsonValue:
    """Fill in the variables that a client fills in."""

    def replaced(found: re.Match[str]) -> str:
        filled = environment.get(found["name"], found["default"])
        if filled is None:
            raise UsageError(f"The entry refers to {found['name']}, which is not set here.")
        return filled

    if isinstance(value, dict):
        return {name: _expanded(each, environment) for name, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, environment) for each in value]
    if not isinstance(value, str):
        return value
    if "${" in _REFERENCE.sub("", value):
        raise UsageError("The entry refers to what only the client can fill in, such as an input.")
    return _REFERENCE.sub(replaced, value)
