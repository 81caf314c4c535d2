"""The command `lfexp-mcp`: without arguments an MCP server over stdio, with them the shell."""

import sys


def main() -> None:
    """Serve over stdio, or run the shell's command and exit with its code."""
    if len(sys.argv) > 1:
        from lfexp_mcp.cli.app import run_command

        sys.exit(run_command(sys.argv[1:]))
    if sys.stdin.isatty():
        sys.stderr.write("lfexp-mcp serves MCP over stdio to a client now; `lfexp-mcp --help` lists the commands.\n")

    from lfexp_mcp.tools.server import serve_stdio

    serve_stdio()


if __name__ == "__main__":
    main()
