"""Starting servers by the entries of clients: real processes over stdio."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.clients import ClientName, ServerCheck
from lfexp_mcp.clients import check_clients, plan_setup
from lfexp_mcp.clients.known import CLIENTS, Machine, configuration_file
from lfexp_mcp.errors import UsageError
from lfexp_mcp.tools.registry import TOOLS
from tests.clients.conftest import KEYS
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio
SECRET = "hunter2"
SAYS_A = "import os, sys; sys.stderr.write(os.environ['A']); sys.exit(1)"
DIES = (
    f"import os, sys; sys.stderr.write('x' * 9000 + '\\nno: ' + os.environ['MY_PASSWORD'] + ' {SECRET}'); sys.exit(3)"
)


def entry_of(machine: Machine, entry: JsonValue, client: ClientName = "cursor") -> None:
    path = configuration_file(client, machine, project=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({CLIENTS[client].servers: {"x": entry}}), encoding="utf-8")


async def checked(machine: Machine, client: ClientName = "cursor", timeout: float = PATIENCE_S) -> ServerCheck:
    (check,) = (await check_clients(client, "x", machine, timeout=timeout)).checks
    return check


@pytest.mark.slow
async def test_what_was_set_up_starts_and_lists_its_tools_in_every_client_that_has_it(
    machine: Machine, home: Path
) -> None:
    variables = KEYS | {"LFEXP_HOME": str(home), "LANGFUSE_HOST": "http://127.0.0.1:9"}
    plan_setup("claude-desktop", "x", variables, machine).write()
    plan_setup("vscode", "y", variables, machine).write()
    checks = (await check_clients(None, "x", machine, timeout=PATIENCE_S)).checks
    assert [(check.client, check.healthy, check.tools) for check in checks] == [("claude-desktop", True, len(TOOLS))]
    assert checks[0].seconds is not None
    assert (checks[0].problem, checks[0].stderr) == (None, None)


async def test_an_entry_takes_from_the_clients_environment_what_it_refers_to(machine: Machine) -> None:
    entry: dict[str, JsonValue] = {"command": sys.executable, "args": ["-c", SAYS_A]}
    client = replace(machine, environment={"A": "from the client"})
    entry_of(machine, entry | {"env": {"A": "${env:A}"}})
    assert (await checked(client)).stderr == "from the client"
    unset = await checked(machine)
    assert "refers to A" in (unset.problem or "")
    assert unset.stderr is None
    entry_of(machine, entry | {"env": {"A": "${env:A}-${input:key}"}})
    beside = await checked(client)
    assert beside.problem
    assert beside.stderr is None


async def test_an_entry_of_codex_takes_the_variables_that_it_names(machine: Machine) -> None:
    path = configuration_file("codex", machine, project=False)
    path.parent.mkdir(parents=True)
    words = f"command = {json.dumps(sys.executable)}\nargs = {json.dumps(['-c', SAYS_A])}"
    path.write_text(f'[mcp_servers.x]\n{words}\nenv = {{B = "b"}}\nenv_vars = ["A", "C"]\n', encoding="utf-8")
    assert (await checked(replace(machine, environment={"A": "from Codex"}), "codex")).stderr == "from Codex"


async def test_a_server_that_dies_is_quoted_without_the_secrets_that_it_was_given(machine: Machine) -> None:
    environment: dict[str, JsonValue] = {"MY_PASSWORD": SECRET, "OPENAI_API_KEY": ""}
    entry_of(machine, {"command": sys.executable, "args": ["-c", DIES], "env": environment})
    check = await checked(machine)
    assert (check.healthy, check.tools) == (False, 0)
    assert check.stderr is not None
    assert "no: <key> <key>" in check.stderr
    assert len(check.stderr) <= 2_000
    assert SECRET not in check.model_dump_json()


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "/no/such/lfexp-mcp"},
        {"command": "a\0b"},
        {"command": ["lfexp-mcp"]},
        {"command": sys.executable, "args": "-c"},
        {"command": sys.executable, "env": {"A": 5}},
        {"command": sys.executable, "cwd": "/no/such/folder"},
        {"command": sys.executable, "args": ["-c", ""]},
        {"command": sys.executable, "env": {"A": "${input:key}"}},
        {"command": sys.executable, "env": {"A": "${env:NO_SUCH_VARIABLE}"}},
        {"url": "http://127.0.0.1:9/mcp"},
        {},
    ],
    ids=json.dumps,
)
async def test_an_entry_that_starts_no_server_is_said_to(machine: Machine, entry: JsonValue) -> None:
    entry_of(machine, entry)
    check = await checked(machine)
    assert not check.healthy
    assert check.problem
    assert check.seconds is None


async def test_a_server_that_says_nothing_is_given_up(machine: Machine) -> None:
    entry_of(machine, {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]})
    check = await checked(machine, timeout=0.1)
    assert not check.healthy
    assert "0.1 s" in (check.problem or "")


async def test_a_reference_has_a_default_and_is_none_for_a_client_that_knows_none(machine: Machine) -> None:
    entry: JsonValue = {"command": sys.executable, "args": ["-c", SAYS_A], "env": {"A": "${B:-c}"}}
    cases: list[tuple[ClientName, str]] = [("claude-code", "c"), ("claude-desktop", "${B:-c}")]
    for client, expected in cases:
        entry_of(machine, entry, client)
        assert (await checked(machine, client)).stderr == expected


async def test_what_is_not_set_up_cannot_be_checked(machine: Machine) -> None:
    with pytest.raises(UsageError):
        await check_clients(None, "x", machine)
    entry_of(machine, {"command": sys.executable})
    with pytest.raises(UsageError):
        await check_clients("cursor", "another", machine)
    with pytest.raises(UsageError):
        await check_clients("windsurf", "x", machine, project=True)


async def test_a_file_that_cannot_be_read_is_told_beside_the_others(machine: Machine) -> None:
    entry_of(machine, {"command": "/no/such/lfexp-mcp"})
    path = configuration_file("vscode", machine, project=False)
    path.parent.mkdir(parents=True)
    path.write_text("{ // mine\n}", encoding="utf-8")
    checks = (await check_clients(None, "x", machine)).checks
    assert [(check.client, check.healthy) for check in checks] == [("cursor", False), ("vscode", False)]
    assert all(check.problem for check in checks)
