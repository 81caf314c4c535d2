"""What processes of ours import before anything else, so that they start sooner."""

import importlib
import sys


def import_httpx() -> None:
    """Import httpx without its command line.

    httpx imports that, with rich, pygments and click, wherever they are installed: a tenth of a worker's start.
    """
    if "httpx" in sys.modules:
        return
    # None makes the import fail, as it does where rich is not installed; httpx then goes without.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("httpx")
    finally:
        del sys.modules["httpx._main"]
