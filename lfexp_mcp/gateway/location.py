"""Where Langfuse is."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from lfexp_mcp.answers.base import Backend, BackendKind
from lfexp_mcp.errors import CredentialsError


@dataclass(slots=True)
class Location:
    """Where Langfuse is while a gateway is open.

    Attributes:
        url: Without a slash at its end. The embedded store's changes when the store comes back at another port.
    """

    kind: BackendKind
    url: str
    note: str | None = None

    def backend(self) -> Backend:
        """Describe it as answers do."""
        return Backend(kind=self.kind, url=self.url, note=self.note)


def parse_location(url: str) -> Location:
    """Read the address of a Langfuse server.

    A user and password in it, a query and a fragment are left out: requests carry Langfuse's keys in their place, and
    answers show the address.

    Raises:
        CredentialsError: It is none.
    """
    host = host_of(url)
    if host is None:
        raise CredentialsError(
            f"LANGFUSE_HOST (or LANGFUSE_BASE_URL) is {url.rpartition('@')[2]!r}, which is not an address. "
            "Set it to one such as https://cloud.langfuse.com or http://localhost:3000."
        )
    cloud = host == "langfuse.com" or host.endswith(".langfuse.com")
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return Location("cloud" if cloud else "self-hosted", bare.rstrip("/"))


def host_of(url: str) -> str | None:
    """Return the host of an HTTP address; None for what is none, be it for its port or the form of its host."""
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or not host:
            return None
        host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        return None
    return host
