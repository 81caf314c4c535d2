"""Commands that serve MCP or the embedded store, the demo and the doctor."""

from pathlib import Path
from typing import Annotated

import anyio
import typer
from pydantic import SecretStr

from lfexp_mcp.cli.flags import AsJson
from lfexp_mcp.cli.output import print_answer, print_note, write_line
from lfexp_mcp.errors import UsageError
from lfexp_mcp.loopback import LOOPBACK, is_loopback
from lfexp_mcp.settings import Settings, load_settings

HTTP_PORT = 8765


def serve(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP instead of stdio.")] = False,
    host: Annotated[str, typer.Option("--host", help="Address for --http; `0.0.0.0` for all.")] = LOOPBACK,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port for --http.")] = HTTP_PORT,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="No token: every local program can run code as you.")
    ] = False,
) -> None:
    """Serve MCP over stdio (as without a command), or over HTTP."""
    if not http:
        if (host, port, no_auth) != (LOOPBACK, HTTP_PORT, False):
            raise UsageError("--host, --port and --no-auth are for --http: pass it as well, or omit them.")
        from lfexp_mcp.tools.server import serve_stdio

        serve_stdio()
        return
    from lfexp_mcp.tools.http import serve_http

    if not host.strip():
        # It would stand for all addresses.
        raise UsageError("--host is empty. Pass an address, or omit it for this machine only.")
    settings = load_settings()
    known, issuer = settings.http_token, settings.oauth_issuer
    if no_auth and (known is not None or issuer is not None):
        variable = "LFEXP_HTTP_TOKEN" if known is not None else "LFEXP_OAUTH_ISSUER"
        raise UsageError(f"{variable} is set, but --no-auth was given. Unset one or omit the other.")
    # A name could be resolved to any address.
    host = LOOPBACK if host == "localhost" else host
    made = None if no_auth or known is not None or issuer is not None else _made_token(settings, host)

    def announce(url: str) -> None:
        callers = [
            *(["callers with the token"] if known or made else []),
            *([f"callers with an access token of {issuer}"] if issuer else []),
        ]
        everyone = "every program on this machine, which can run code as you"
        print_note(f"Serving MCP at {url} to {' and '.join(callers) or everyone}; Ctrl-C stops it.")
        if issuer is not None:
            print_note(f"Access tokens must name the audience {settings.oauth_audience or url}")
        if made is not None:
            print_note(f"Header: Authorization: Bearer {made.get_secret_value()}")
            print_note("The token is new with each start; set LFEXP_HTTP_TOKEN to keep one.")

    serve_http(settings, host, port, known or made, listening=announce)


def _made_token(settings: Settings, host: str) -> SecretStr:
    """Create a token to show to whoever starts the server, on the machine that it is for.

    Raises:
        UsageError: It would be seen by others, or by none who needs it.
    """
    from lfexp_mcp.tools.http import new_token

    if is_loopback(host) and settings.log_format != "json":
        return new_token()
    raise UsageError(
        f"Set LFEXP_HTTP_TOKEN to a long random text, or LFEXP_OAUTH_ISSUER, to serve on {host!r} with a log that "
        "others may read: a token made now would stand in it, and be another one after each start."
    )


def store(
    folder: Annotated[
        str | None, typer.Option("--folder", help="Store folder; by default the one that lfexp-mcp uses.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Preferred port; 0 takes any.")] = 0,
    show_secret: Annotated[bool, typer.Option("--show-secret", help="Print the secret key, too.")] = False,
) -> None:
    """Serve the embedded store in the foreground, for any Langfuse SDK on this machine."""
    from lfexp_mcp.store.keys import KEYS_NAME, folder_keys
    from lfexp_mcp.store.server import serve as serve_store

    if folder is not None and not folder.strip():
        raise UsageError("--folder is empty. Pass a folder, or omit it for the one that lfexp-mcp uses.")
    place = Path(folder) if folder is not None else load_settings().store_folder

    def announce(url: str) -> None:
        keys = folder_keys(place)
        write_line(f"LANGFUSE_HOST={url}")
        write_line(f"LANGFUSE_PUBLIC_KEY={keys.public_key}")
        if show_secret:
            write_line(f"LANGFUSE_SECRET_KEY={keys.secret_key}")
        else:
            print_note(f"The secret key is in {place / KEYS_NAME} (or pass --show-secret). Ctrl-C stops the store.")

    serve_store(place, port=port, listening=announce)


def demo(as_json: AsJson = False) -> None:
    """Show the main job in a minute: two runs and what their comparison says. No account, no model."""
    from lfexp_mcp.cli.demo import run_demo

    anyio.run(run_demo, load_settings(), as_json)


def doctor(as_json: AsJson = False) -> None:
    """Check keys, server, judges' credentials, home folder and interpreter."""
    from lfexp_mcp.services.doctor import diagnose

    diagnosis = anyio.run(diagnose, load_settings())
    print_answer(diagnosis, as_json)
    if not diagnosis.healthy:
        raise typer.Exit(2)
