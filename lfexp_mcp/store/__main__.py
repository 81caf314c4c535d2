"""Entry of the store's own process: `python -m lfexp_mcp.store --folder FOLDER`."""

import argparse
import sys
from pathlib import Path

from lfexp_mcp.errors import StoreError
from lfexp_mcp.store.server import serve


def main() -> int:
    """Serve a store folder; return the exit code."""
    parser = argparse.ArgumentParser("python -m lfexp_mcp.store", description="Serve the embedded store of lfexp-mcp.")
    parser.add_argument("--folder", type=Path, required=True, help="the store folder")
    parser.add_argument("--port", type=int, default=0, help="the port to prefer (default: any)")
    parser.add_argument("--idle-exit", type=float, default=None, help="seconds without a request after which to stop")
    parser.add_argument("--announce", type=Path, default=None, help="write a JSON file once the server listens")
    arguments = parser.parse_args()
    try:
        serve(arguments.folder, arguments.port, arguments.idle_exit, arguments.announce)
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
