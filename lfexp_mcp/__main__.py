"""The command `lfexp-mcp`: without arguments an MCP server over stdio, with them the shell."""

import sys
from pathlib import Path


def main() -> None:
    """Serve over stdio, or run the shell's command and exit with its code."""
    from lfexp_mcp.environment import asked_to_complete

    if len(sys.argv) > 1 or asked_to_complete():
        from lfexp_mcp.cli.app import run_command

        sys.exit(run_command(sys.argv[1:]))
    if sys.stdin.isatty():
        sys.stderr.write("lfexp-mcp serves MCP over stdio to a client now; `lfexp-mcp --help` lists the commands.\n")

    from lfexp_mcp.tools.server import serve_stdio

    serve_stdio()


if __name__ == "__main__":
    if sys.path[0] == str(Path(__file__).resolve().parent):
        # Run as a file, Python looks here first, where `statistics` is ours.
        del sys.path[0]
    main()
