"""Listening: on loopback, only processes of this machine can connect."""

import ipaddress
import socket
import sys

LOOPBACK = "127.0.0.1"
_BACKLOG = 128
"""Connections that may wait to be accepted, Linux's limit before 5.4."""


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached only from this machine; a name may be resolved to any."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen_on(host: str, port: int) -> socket.socket:
    """Open a listening socket, for servers that would otherwise end the process on a failure to bind, as uvicorn does.

    Args:
        port: The port; 0 for any that is free.

    Raises:
        OSError: The port cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol must be named: asyncio turns Nagle's delay, 40 ms per answer, off only for sockets that name TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Otherwise the connections of a server that has just stopped would block its port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
