"""Adding our server to a client's configuration: what is to be written, and writing it."""

import importlib.metadata
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import JsonValue

from lfexp_mcp import __version__
from lfexp_mcp.answers.clients import ClientName, SetupAnswer
from lfexp_mcp.clients.configuration import FileContent, parse, read_file, replace_content, with_member
from lfexp_mcp.clients.known import CLIENTS, Client, Machine, configuration_file, is_ours, server_command
from lfexp_mcp.errors import UsageError
from lfexp_mcp.masking import mask

_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|AUTH|HEADERS", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/\s]*@")
_REFERENCE = re.compile(r"\$\{[\w:]+\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_REMOTE = {"url", "serverUrl", "httpUrl"}
"""Members of an entry that names a server by its address."""
Entry = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Setup:
    """A change of a client's configuration that is not made yet."""

    answer: SetupAnswer
    """What is known before: `planned`, `unchanged` or `by_hand`."""
    file: FileContent | None = None
    text: str = ""
    """What the file is to hold."""

    def write(self) -> SetupAnswer:
        """Make the change, if there is one to make.

        Returns:
            `created` or `updated`, or `by_hand` if the file cannot be written or has changed.
        """
        if self.answer.status != "planned" or self.file is None:
            return self.answer
        try:
            backup = replace_content(self.file, self.text)
        except UsageError as error:
            return self.answer.model_copy(update={"status": "by_hand", "problem": str(error)})
        status = "created" if self.file.content is None else "updated"
        return self.answer.model_copy(update={"status": status, "backup": str(backup) if backup else None})


def plan_setup(
    client: ClientName, name: str, variables: Mapping[str, str], machine: Machine, *, project: bool = False
) -> Setup:
    """Work out how to add our server to a client's configuration, or to bring its entry up to date.

    Args:
        variables: The environment variables that the server is to have.
        project: Whether to change the project's file, which gets no secret, instead of the user's.

    Raises:
        UsageError: Not all clients accept the name, or the client has no configuration of projects.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a server's name: use letters, digits, - and _ (at most 64).")
    known = CLIENTS[client]
    path = configuration_file(client, machine, project)
    command, arguments = this_command()
    entry: Entry = {"type": "stdio"} if known.typed else {}
    entry |= {"command": command, "args": list(arguments), **_environment(known, variables, project)}
    answer = SetupAnswer(
        client=client,
        file=str(path),
        name=name,
        status="planned",
        snippet=_snippet(known, name, entry),
        notes=_notes(known, path, variables, project),
    )

    def left(problem: str) -> Setup:
        return Setup(answer.model_copy(update={"status": "by_hand", "problem": problem}))

    try:
        file = read_file(path)
        whole = parse(file, toml=known.toml)
        current = _current_entry(whole, known.servers, name, path)
    except UsageError as error:
        return left(f"{error} Add the entry to it yourself.")
    entry = updated_entry(known, current, entry)
    answer.snippet = _snippet(known, name, entry)
    if current == entry:
        return Setup(answer.model_copy(update={"status": "unchanged"}))
    answer.notes += _replaced(current, entry, file, project)
    # The standard library reads TOML and does not write it.
    if known.toml:
        return left("Comments of a TOML file would be lost: add the lines to it yourself.")
    text = with_member(file.text, (known.servers, name), entry)
    whole[known.servers] = {**_object(whole.get(known.servers)), name: entry}
    if json.loads(text) != whole:
        raise AssertionError("the edited configuration is not the one that was meant")
    return Setup(answer, file, text)


def this_command() -> tuple[str, list[str]]:
    """Return the command that starts this installation's server, and its arguments."""
    scripts = Path(sysconfig.get_path("scripts"))
    script = scripts / ("lfexp-mcp.exe" if sys.platform == "win32" else "lfexp-mcp")
    return server_command(sys.prefix, sys.executable, script, _source(), shutil.which("uvx"))


def _source() -> str:
    """Return what was installed, as pip and uv record it (PEP 610)."""
    recorded = importlib.metadata.distribution("lfexp-mcp").read_text("direct_url.json")
    return source_of(json.loads(recorded)) if recorded else f"lfexp-mcp=={__version__}"


def source_of(direct_url: Mapping[str, JsonValue]) -> str:
    """Return an installation's origin in the form that pip and uv take.

    Args:
        direct_url: The content of `direct_url.json`.
    """
    url = str(direct_url["url"])
    vcs = direct_url.get("vcs_info")
    if isinstance(vcs, dict):
        return f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return url2pathname(urlsplit(url).path) if url.startswith("file:") else url


def is_secret(name: str, value: str) -> bool:
    """Whether a variable's value must not be shown: by its name, or by its look, as an address with a password."""
    return bool(_SECRET_NAME.search(name) or _PASSWORD.search(value)) or mask(value) != value


def _environment(client: Client, variables: Mapping[str, str], project: bool) -> Entry:
    """Return an entry's variables: secrets of a project's file, and what a client would expand, by reference.

    Codex has no references, but forwards variables of its own environment by their names.
    """
    secret = [name for name, value in variables.items() if is_secret(name, value)]
    if client.toml:
        shown: Entry = {name: value for name, value in variables.items() if name not in secret}
        return {"env": shown} | ({"env_vars": [*secret]} if secret else {})
    written: Entry = {}
    for name, value in variables.items():
        refers = client.reference and ((project and name in secret) or "$" in value)
        written[name] = client.reference % name if client.reference and refers else value
    return {"env": written}


def _current_entry(whole: Mapping[str, JsonValue], member: str, name: str, path: Path) -> Entry:
    """Return our entry as it is, empty if there is none.

    Raises:
        UsageError: There is something else under its name.
    """
    servers = whole.get(member, {})
    current = servers.get(name, {}) if isinstance(servers, dict) else None
    if not isinstance(servers, dict) or not isinstance(current, dict) or not isinstance(current.get("env", {}), dict):
        raise UsageError(f"{path} has something other than an object where {member} are.")
    if current and (_REMOTE & set(current) or not is_ours(current.get("command"), current.get("args"))):
        raise UsageError(f"{path} has another server named {name}: choose another --name.")
    return current


def _object(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def updated_entry(client: Client, current: Entry, entry: Entry) -> Entry:
    """Bring an entry up to date.

    Variables that are not set here stay, and those that it takes from elsewhere rather than holds; so do arguments of
    `uvx` for the same source, such as further packages.

    Args:
        current: The entry as it is, empty if there is none.
        entry: The entry as this installation makes it.
    """
    held = _object(current.get("env"))
    kept = {name for name, value in held.items() if client.reference and isinstance(value, str) and "$" in value}
    new = {name: value for name, value in _object(entry["env"]).items() if name not in kept}
    updated = current | entry | {"env": held | new}
    arguments, known = entry["args"], current.get("args")
    if isinstance(arguments, list) and isinstance(known, list) and arguments and "--from" in arguments:
        updated["args"] = known if set(map(str, arguments)) <= set(map(str, known)) else arguments
    return updated


def _snippet(client: Client, name: str, entry: Entry) -> str:
    """Write an entry as it stands in the client's file, without its secrets."""
    shown = _object(_shown(entry))
    if client.toml:
        lines = (f"{member} = {_toml(value)}" for member, value in shown.items())
        return "\n".join((f"[mcp_servers.{name}]", *lines))
    return json.dumps({client.servers: {name: shown}}, indent=2, ensure_ascii=False)


def _shown(value: JsonValue, name: str = "") -> JsonValue:
    """Replace secrets in an entry by the names under which it has them; references to variables are none."""
    if isinstance(value, dict):
        return {member: _shown(each, member) for member, each in value.items()}
    if isinstance(value, list):
        return [_shown(each, name) for each in value]
    if isinstance(value, str) and not _REFERENCE.fullmatch(value) and is_secret(name, value):
        return f"<{name or 'secret'}>"
    return value


def _toml(value: JsonValue) -> str:
    if isinstance(value, dict):
        members = (f"{name if _NAME.fullmatch(name) else _toml(name)} = {_toml(each)}" for name, each in value.items())
        return f"{{ {', '.join(members)} }}"
    return json.dumps(value, ensure_ascii=False, default=str)


def _notes(client: Client, path: Path, variables: Mapping[str, str], project: bool) -> list[str]:
    secret = [name for name, value in variables.items() if is_secret(name, value)]
    notes = []
    if "LANGFUSE_SECRET_KEY" not in variables:
        notes.append("No Langfuse keys are set here: without them in the entry, the server uses the embedded store.")
    if secret and (project or client.toml):
        notes.append(f"Start {client.title} with {', '.join(secret)} set: they are not written to the file.")
    if project:
        notes.append("The command is a path on this machine; others who share the project need their own.")
    # `Path.is_dir` raises where it may not look.
    if not project and not os.path.isdir(path.parent):  # noqa: PTH112
        notes.append(f"{path.parent} does not exist yet: is {client.title} installed for this user?")
    if client.title == "Claude Code" and not project:
        notes.append("A running Claude Code may write its file as it was: close it first.")
    return notes


def _replaced(current: Entry, entry: Entry, file: FileContent, project: bool) -> Sequence[str]:
    """Say what an update changes, and who can read what is written."""
    notes = [
        f"Replaces {member} {json.dumps(_shown(current[member]), ensure_ascii=False)}."
        for member in ("command", "args")
        if member in current and current[member] != entry[member]
    ]
    if file.target != file.path.absolute():
        notes.append(f"{file.path} leads to {file.target}.")
    if not project and sys.platform != "win32" and file.content is not None and file.mode & 0o077:
        notes.append(f"Other users of this machine may read {file.path}, which will hold keys.")
    return notes
