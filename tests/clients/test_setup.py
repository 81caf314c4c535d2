"""Adding the server to the configurations of clients, in every state that they may be in."""

import json
import os
import stat
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from lfexp_mcp.answers.clients import ClientName, SetupAnswer
from lfexp_mcp.clients import Setup, plan_setup
from lfexp_mcp.clients.configuration import MAX_BYTES, with_member
from lfexp_mcp.clients.known import CLIENTS, Machine, configuration_file
from lfexp_mcp.clients.setup import this_command, updated_entry
from lfexp_mcp.errors import UsageError
from tests.clients.conftest import KEYS
from tests.reports.models import json_values

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "existing_files.jsonl").read_text(encoding="utf-8").splitlines()
]
"""Files as they may be found, and as they have to be afterwards; null: refused."""
JSON_CLIENTS = [name for name, client in CLIENTS.items() if not client.toml]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="permissions and pipes are other ones there")
REAL_COMMAND = json.dumps(this_command()[0])[1:-1]


def plan(
    machine: Machine,
    client: ClientName = "cursor",
    variables: Mapping[str, str] | None = None,
    *,
    name: str = "x",
    project: bool = False,
) -> Setup:
    return plan_setup(client, name, variables or {}, machine, project=project)


def existing(machine: Machine, content: str | bytes, client: ClientName = "cursor") -> Path:
    path = configuration_file(client, machine, project=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def entry_in(path: Path, client: ClientName = "cursor", name: str = "x") -> dict[str, JsonValue]:
    found = json.loads(path.read_text(encoding="utf-8"))[CLIENTS[client].servers][name]
    assert isinstance(found, dict)
    return found


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refused(machine: Machine, path: Path) -> SetupAnswer:
    """Hold a client's configuration to be left alone, and return why it is."""
    before = files_in(path.parent)
    answer = plan(machine).write()
    assert (answer.status, answer.backup) == ("by_hand", None)
    assert answer.problem is not None
    assert json.loads(answer.snippet)["mcpServers"]["x"]["command"] == this_command()[0]
    assert files_in(path.parent) == before
    return answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_file_keeps_all_that_is_not_ours(machine: Machine, case: dict[str, str | None]) -> None:
    before = (case["before"] or "").replace("COMMAND", REAL_COMMAND)
    path = existing(machine, before)
    if case["after"] is None:
        refused(machine, path)
        return
    after = case["after"].replace("COMMAND", REAL_COMMAND)
    answer = plan(machine).write()
    assert path.read_bytes() == after.encode()
    assert answer.status == ("unchanged" if before == after else "updated")
    assert (answer.backup is None) is (before == after)
    assert plan(machine).write().status == "unchanged"


@pytest.mark.parametrize("client", JSON_CLIENTS)
def test_a_client_without_a_file_gets_one_that_is_private(machine: Machine, client: ClientName) -> None:
    setup = plan(machine, client, KEYS)
    path = configuration_file(client, machine, project=False)
    assert setup.answer.status == "planned"
    assert not path.exists()
    answer = setup.write()
    assert (answer.status, answer.backup, Path(answer.file)) == ("created", None, path)
    entry = entry_in(path, client)
    assert entry.get("type") == ("stdio" if client in ("vscode", "claude-code") else None)
    assert (entry["command"], entry["args"], entry["env"]) == (*this_command(), KEYS)
    assert list(path.parent.iterdir()) == [path]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("project", [False, True])
def test_no_secret_is_ever_shown(machine: Machine, client: ClientName, project: bool) -> None:
    if project and CLIENTS[client].project_file is None:
        return
    variables = KEYS | {"OPENAI_BASE_URL": "https://me:hunter2@proxy.example"}
    setup = plan(machine, client, variables, project=project)
    for answer in (setup.answer, setup.write(), plan(machine, client, variables, project=project).answer):
        shown = answer.model_dump_json()
        assert not any(secret in shown for secret in ("1f6d", "82c4", "hunter2"))
        assert "langfuse.example" in shown


@pytest.mark.parametrize("client", [name for name in JSON_CLIENTS if CLIENTS[name].project_file])
def test_a_projects_file_refers_to_secrets_and_holds_none(machine: Machine, client: ClientName) -> None:
    answer = plan(machine, client, KEYS, project=True).write()
    path = Path(answer.file)
    assert machine.project in path.parents
    reference = CLIENTS[client].reference
    assert reference is not None
    assert entry_in(path, client)["env"] == {
        "LANGFUSE_HOST": "https://langfuse.example",
        "LANGFUSE_PUBLIC_KEY": reference % "LANGFUSE_PUBLIC_KEY",
        "LANGFUSE_SECRET_KEY": reference % "LANGFUSE_SECRET_KEY",
    }
    assert any("LANGFUSE_SECRET_KEY" in note for note in answer.notes)
    assert plan(machine, client, KEYS, project=True).write().status == "unchanged"


def test_a_value_that_the_client_would_expand_is_referred_to(machine: Machine) -> None:
    variables = {"OPENAI_API_KEY": "a$HOME"}
    assert entry_in(Path(plan(machine, "cursor", variables).write().file))["env"] == {
        "OPENAI_API_KEY": "${env:OPENAI_API_KEY}"
    }
    desktop = plan(machine, "claude-desktop", variables).write()
    assert entry_in(Path(desktop.file))["env"] == variables


def test_a_second_call_brings_the_entry_up_to_date(machine: Machine) -> None:
    path = Path(plan(machine, "cursor", KEYS).write().file)
    assert plan(machine, "cursor", KEYS).write().status == "unchanged"
    first = path.read_bytes()
    answer = plan(machine, "cursor", {"LANGFUSE_HOST": "https://new.example", "LFEXP_KEEP_RUNS": "5"}).write()
    assert answer.status == "updated"
    assert entry_in(path)["env"] == KEYS | {"LANGFUSE_HOST": "https://new.example", "LFEXP_KEEP_RUNS": "5"}
    assert answer.backup is not None
    assert Path(answer.backup).read_bytes() == first
    again = plan(machine, "cursor", {"LFEXP_KEEP_RUNS": "6"}).write()
    assert again.backup not in (None, answer.backup)
    assert Path(answer.backup).read_bytes() == first


def test_what_an_entry_holds_besides_is_not_shown_if_it_is_secret(machine: Machine) -> None:
    besides = {"headers": {"Authorization": "Bearer abc"}, "apiKey": "abc", "oauth": {"clientSecret": ["abc"]}}
    entry = {"command": "/old/lfexp-mcp", "args": ["--token=sk-abc12345"], **besides, "env": {"A_KEY": "${B:-abc}"}}
    path = existing(machine, json.dumps({"mcpServers": {"x": entry}}))
    answer = plan(machine).write()
    assert answer.status == "updated"
    assert "abc" not in answer.model_dump_json()
    assert {name: entry_in(path)[name] for name in besides} == besides


@pytest.mark.parametrize(
    ("client", "held", "kept"),
    [
        ("cursor", "${env:OTHER}", True),
        ("gemini-cli", "$OPENAI_API_KEY", True),
        ("claude-code", "${OTHER:-none}", True),
        ("claude-desktop", "sk-$old", False),
        ("cursor", "sk-old", False),
    ],
)
def test_a_reference_that_the_client_knows_stays(machine: Machine, client: ClientName, held: str, kept: bool) -> None:
    entry = {"command": "lfexp-mcp", "env": {"OPENAI_API_KEY": held}}
    path = existing(machine, json.dumps({"mcpServers": {"x": entry}}), client)
    plan(machine, client, {"OPENAI_API_KEY": "sk-new"}).write()
    assert entry_in(path)["env"] == {"OPENAI_API_KEY": held if kept else "sk-new"}


@pytest.mark.parametrize(
    ("current", "args"),
    [
        (["--from", "/src", "--with", "pandas", "lfexp-mcp"], ["--from", "/src", "--with", "pandas", "lfexp-mcp"]),
        (["--from", "/old", "--with", "pandas", "lfexp-mcp"], ["--from", "/src", "lfexp-mcp"]),
        ([], ["--from", "/src", "lfexp-mcp"]),
    ],
)
def test_packages_that_were_added_for_uvx_stay_while_the_source_does(
    current: list[JsonValue], args: list[JsonValue]
) -> None:
    entry: dict[str, JsonValue] = {"command": "/bin/uvx", "args": ["--from", "/src", "lfexp-mcp"], "env": {}}
    found = updated_entry(CLIENTS["cursor"], {"command": "uvx", "args": current}, entry)
    assert found == {"command": "/bin/uvx", "args": args, "env": {}}


@pytest.mark.slow
@given(
    value=st.dictionaries(st.sampled_from(["mcpServers", "a", "é{"]), json_values, max_size=3),
    servers=st.dictionaries(st.sampled_from(["x", "y", ""]), json_values, max_size=3),
    indent=st.sampled_from([None, 0, 1, 4, "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    ascii=st.booleans(),
)
def test_any_object_gets_the_member_and_keeps_its_text(
    value: dict[str, JsonValue],
    servers: dict[str, JsonValue],
    indent: int | str | None,
    newline: str,
    ascii: bool,
) -> None:
    whole = {**value, "mcpServers": servers}
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii).replace("\n", newline)
    entry: dict[str, JsonValue] = {"command": "c", "args": [], "env": {"A": "}"}}
    changed = with_member(text, ("mcpServers", "x"), entry)
    assert json.loads(changed) == {**whole, "mcpServers": {**servers, "x": entry}}
    assert list(json.loads(changed)) == list(whole)
    assert with_member(changed, ("mcpServers", "x"), entry) == changed


def test_two_names_are_two_entries(machine: Machine) -> None:
    for name in ("x", "y_2-b"):
        plan(machine, name=name).write()
    path = configuration_file("cursor", machine, project=False)
    assert list(json.loads(path.read_text(encoding="utf-8"))["mcpServers"]) == ["x", "y_2-b"]


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-a", 'a"b', "a\nb", "x" * 65, "é"])
def test_a_name_that_some_client_refuses_is_refused(machine: Machine, name: str) -> None:
    with pytest.raises(UsageError):
        plan(machine, name=name)


def test_codex_gets_lines_to_add_since_toml_would_lose_its_comments(machine: Machine) -> None:
    path = configuration_file("codex", machine, project=False)
    answer = plan(machine, "codex", KEYS).write()
    assert answer.status == "by_hand"
    assert not path.exists()
    command, arguments = this_command()
    assert tomllib.loads(answer.snippet)["mcp_servers"]["x"] == {
        "command": command,
        "args": arguments,
        "env": {"LANGFUSE_HOST": "https://langfuse.example"},
        "env_vars": ["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"],
    }
    existing(machine, f"# mine\n{answer.snippet}\nstartup_timeout_sec = 30\n", "codex")
    assert plan(machine, "codex", KEYS).write().status == "unchanged"
    assert plan(machine, "codex", KEYS | {"LFEXP_KEEP_RUNS": "5"}).write().status == "by_hand"
    existing(machine, answer.snippet + '\n[mcp_servers.x.tools]\n"a.b" = 2026-11-28\n', "codex")
    changed = plan(machine, "codex", {"LFEXP_KEEP_RUNS": "5"}).answer
    assert tomllib.loads(changed.snippet)["mcp_servers"]["x"]["tools"] == {"a.b": "2026-11-28"}
    existing(machine, "[mcp_servers.x]\nurl = 'http://127.0.0.1:9'\n", "codex")
    assert "url" not in plan(machine, "codex", KEYS).write().snippet
    existing(machine, "not toml", "codex")
    assert plan(machine, "codex", KEYS).write().status == "by_hand"


@pytest.mark.parametrize("content", [b'{"a": "\xff"}', '{"a": 1}'.encode("utf-16"), b"\x00" * 100, b"[" * 100_000])
def test_what_is_not_text_or_nested_without_end_is_refused(machine: Machine, content: bytes) -> None:
    refused(machine, existing(machine, content))


def test_a_huge_file_is_refused_before_it_is_read(machine: Machine) -> None:
    path = existing(machine, "{}")
    with path.open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    answer = plan(machine).write()
    assert answer.status == "by_hand"
    assert path.stat().st_size == MAX_BYTES + 1


def test_a_large_file_is_edited_in_place(machine: Machine) -> None:
    history = json.dumps({"projects": {str(number): {"history": ["é" * 50] * 20} for number in range(1_000)}})
    path = existing(machine, history)
    plan(machine).write()
    text = path.read_text(encoding="utf-8")
    assert text.startswith(history[:-1])
    assert entry_in(path)["command"] == this_command()[0]


def test_a_file_that_changes_while_the_user_is_asked_is_left_as_it_is(machine: Machine) -> None:
    path = existing(machine, "{}")
    setup = plan(machine)
    path.write_text('{"a": 1}', encoding="utf-8")
    assert setup.write().status == "by_hand"
    assert files_in(path.parent) == {"mcp.json": b'{"a": 1}'}
    path.unlink()
    assert setup.write().status == "by_hand"
    assert files_in(path.parent) == {}


def test_a_file_that_appears_while_the_user_is_asked_is_left_as_it_is(machine: Machine) -> None:
    setup = plan(machine)
    path = existing(machine, '{"a": 1}')
    assert setup.write().status == "by_hand"
    assert files_in(path.parent) == {"mcp.json": b'{"a": 1}'}


def test_a_folder_in_the_files_place_is_refused(machine: Machine) -> None:
    path = configuration_file("cursor", machine, project=False)
    path.mkdir(parents=True)
    assert plan(machine).write().status == "by_hand"


def test_a_file_in_the_folders_place_is_refused(machine: Machine) -> None:
    machine.home.mkdir()
    (machine.home / ".cursor").touch()
    assert plan(machine).write().status == "by_hand"


def test_a_read_only_file_is_left_to_who_made_it_so(machine: Machine) -> None:
    path = existing(machine, "{}")
    path.chmod(0o444)
    refused(machine, path)
    path.chmod(0o644)


@posix_only
def test_a_file_keeps_its_permissions_and_its_copy_is_private(machine: Machine) -> None:
    path = existing(machine, "{}")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    before = path.stat()
    answer = plan(machine, "cursor", KEYS).write()
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert answer.backup is not None
    assert stat.S_IMODE(Path(answer.backup).stat().st_mode) == 0o600
    assert any(str(path) in note for note in answer.notes)


@posix_only
def test_a_link_stays_one(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "cursor.json"
    target.parent.mkdir()
    target.write_text("{}", encoding="utf-8")
    path = existing(machine, "")
    path.unlink()
    path.symlink_to(os.path.relpath(target, path.parent))
    answer = plan(machine).write()
    assert path.is_symlink()
    assert entry_in(target)["command"] == this_command()[0]
    assert answer.backup is not None
    assert Path(answer.backup).parent == path.parent
    assert list(target.parent.iterdir()) == [target]


@posix_only
def test_a_link_to_nothing_a_pipe_and_a_loop_are_refused(machine: Machine, tmp_path: Path) -> None:
    path = existing(machine, "")
    path.unlink()
    path.symlink_to(tmp_path / "gone.json")
    assert plan(machine).write().status == "by_hand"
    assert not (tmp_path / "gone.json").exists()
    path.unlink()
    os.mkfifo(path)
    assert plan(machine).write().status == "by_hand"
    path.unlink()
    path.symlink_to(path)
    assert plan(machine).write().status == "by_hand"
    assert path.is_symlink()


@posix_only
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_refused(machine: Machine) -> None:
    path = existing(machine, "{}")
    path.parent.chmod(0o500)
    assert plan(machine).write().status == "by_hand"
    path.parent.chmod(0o700)
    path.chmod(0o200)
    assert plan(machine).write().status == "by_hand"
    path.chmod(0o600)
    assert path.read_text(encoding="utf-8") == "{}"
