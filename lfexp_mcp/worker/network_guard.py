"""Keep the code of a replay off the network, below the libraries that it uses.

An audit hook (PEP 578) sees each connection that Python makes in this process and its forks, and cannot be removed.
What a child program or a C library connects to by itself is not seen.
"""

import socket
import sys
from contextlib import suppress
from urllib.parse import urlsplit

from lfexp_mcp.loopback import is_loopback

_NAMING = {"socket.getaddrinfo", "socket.gethostbyname"}
_CONNECTING = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class NetworkError(RuntimeError):
    """The code of a replay tried to reach another machine. No `OSError`, upon which clients try again."""


class NetworkGuard:
    """Refuses connections to other machines than Langfuse's.

    Attributes:
        refused: The hosts that were to be reached, each time.
    """

    def __init__(self, langfuse_url: str) -> None:
        self.refused: list[str] = []
        host = urlsplit(langfuse_url).hostname or ""
        self._allowed = {host, "localhost", ""}
        with suppress(OSError):
            self._allowed |= {str(found[4][0]) for found in socket.getaddrinfo(host, None)}

    def install(self) -> None:
        """Refuse from now on, until the process ends."""
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _NAMING:
            host = arguments[0]
        elif event in _CONNECTING:
            address = arguments[1]
            # An address of a Unix socket is a text.
            host = address[0] if isinstance(address, tuple) else None
        else:
            return
        name = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
        if name in self._allowed or is_loopback(name):
            return
        self.refused.append(name)
        raise NetworkError(f"A replay reaches no other machine, and the code tried to reach {name!r}.")
