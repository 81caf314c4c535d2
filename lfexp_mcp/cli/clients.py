"""The command that sets up MCP clients."""

import sys
from typing import Annotated

import anyio
import typer

from lfexp_mcp.answers.clients import ClientName
from lfexp_mcp.cli.flags import AsJson
from lfexp_mcp.cli.output import print_answer, print_note, write_line
from lfexp_mcp.errors import UsageError
from lfexp_mcp.settings import load_settings, server_variables

NOT_DONE = 2


def setup(
    client: Annotated[ClientName | None, typer.Argument(help="The client.", show_default=False)] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Start the server by the client's entry (or each client's), list its tools.")
    ] = False,
    project: Annotated[bool, typer.Option("--project", help="The current folder's file; it gets no secret.")] = False,
    name: Annotated[str, typer.Option("--name", help="Of the server, in the client.")] = "langfuse-experiments",
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Print the entry alone, without secrets.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add this server to an MCP client's configuration, with the keys that are set here, or check that it starts."""
    from lfexp_mcp.clients import check_clients, plan_setup
    from lfexp_mcp.clients.known import Machine

    machine = Machine.this()
    if check:
        checks = anyio.run(lambda: check_clients(client, name, machine, project=project))
        print_answer(checks, as_json)
        if not all(each.healthy for each in checks.checks):
            raise typer.Exit(NOT_DONE)
        return
    if client is None:
        raise UsageError("Name the client to set up, such as `lfexp-mcp setup claude-desktop`, or pass --check.")
    settings = load_settings()
    # One key without the other is an error that the client's user would see only later.
    _ = settings.embedded
    plan = plan_setup(client, name, server_variables(settings), machine, project=project)
    answer = plan.answer
    if print_only and not as_json:
        write_line(answer.snippet)
        return
    if answer.status == "planned" and not (dry_run or print_only):
        if not yes:
            print_answer(answer, as_json)
            if as_json or not _confirmed(answer.file):
                print_note("Nothing is written. Pass --yes to write without being asked.")
                raise typer.Exit(NOT_DONE)
        answer = plan.write()
        if not yes and answer.status != "by_hand":
            # It has just been shown.
            answer = answer.model_copy(update={"snippet": "", "notes": []})
    print_answer(answer, as_json)
    if answer.status == "by_hand" and not print_only:
        raise typer.Exit(NOT_DONE)


def _confirmed(file: str) -> bool:
    """Ask whether to write; where nobody can answer, the answer is no."""
    if not sys.stdin.isatty():
        return False
    try:
        return typer.confirm(f"Write this to {file}?", err=True)
    except typer.Abort:
        return False
