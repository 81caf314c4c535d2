"""The server as a process that serves HTTP, and an authorization server on loopback whose tokens it accepts."""

import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx
import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from mcp import Client
from mcp.client.extension import ClientExtension
from mcp.client.session import ElicitationFnT
from mcp.client.streamable_http import streamable_http_client
from pydantic import JsonValue

from lfexp_mcp.store.process import StoreConnection
from tests.serving import free_port
from tests.waiting import PATIENCE_S, wait_until

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
AUDIENCE = "https://lfexp.example.com/mcp"
HEADERS = {"Accept": "application/json, text/event-stream"}
INITIALIZE: dict[str, JsonValue] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


@dataclass
class Issuer:
    """An authorization server, of which only the key set is served."""

    url: str
    keys: dict[str, PrivateKey]
    published: dict[str, JsonValue]
    audience: str = AUDIENCE
    asked: int = 0
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    """Answers in place of the key set."""
    closing: Event = field(default_factory=Event)

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/jwks"

    def publish(self, *kids: str) -> None:
        """Publish the public keys of these names."""
        self.published = {"keys": [public_jwk(self.keys[kid], kid) for kid in kids]}

    def claims(self, **changes: JsonValue) -> dict[str, JsonValue]:
        """Return claims that are accepted, with changes; None leaves one out."""
        now = int(time.time())
        valid: dict[str, JsonValue] = {
            "iss": self.url,
            "aud": self.audience,
            "sub": "alice",
            "client_id": "agent",
            "iat": now,
            "exp": now + 600,
            "scope": "experiments",
        }
        return {name: value for name, value in (valid | changes).items() if value is not None}

    def token(self, kid: str = "rsa", algorithm: str = "RS256", **changes: JsonValue) -> str:
        """Sign claims; see `claims`."""
        return jwt.encode(self.claims(**changes), self.keys[kid], algorithm=algorithm, headers={"kid": kid})


def public_jwk(key: PrivateKey, kid: str) -> dict[str, JsonValue]:
    """Return the public key as a key set holds it."""
    numbers = key.public_key()
    if isinstance(numbers, rsa.RSAPublicKey):
        written = jwt.algorithms.RSAAlgorithm.to_jwk(numbers, as_dict=True)
    elif isinstance(numbers, ec.EllipticCurvePublicKey):
        written = jwt.algorithms.ECAlgorithm.to_jwk(numbers, as_dict=True)
    else:
        written = jwt.algorithms.OKPAlgorithm.to_jwk(numbers, as_dict=True)
    return {**written, "kid": kid, "use": "sig"}


def unsigned(header: dict[str, JsonValue], claims: dict[str, JsonValue], signature: bytes = b"") -> str:
    """Write a token with any header and signature."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@contextmanager
def serving_issuer() -> Iterator[Issuer]:
    """Serve an issuer with keys of each kind."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            if issuer.answer is not None:
                issuer.answer(self)
                return
            answer_with(self, 200, json.dumps(issuer.published).encode())

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    keys: dict[str, PrivateKey] = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "next": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "ed": ed25519.Ed25519PrivateKey.generate(),
        "small": rsa.generate_private_key(65537, 1024),
    }
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}", keys, {})
    issuer.publish("rsa", "ec", "ed", "small")
    Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield issuer
    issuer.closing.set()
    server.shutdown()
    server.server_close()


def answer_with(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Answer a request to the issuer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@dataclass
class HttpServer:
    """The server's process, and how to reach it."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    http: httpx.Client

    @asynccontextmanager
    async def calling(
        self, token: str, *extensions: ClientExtension, asks: ElicitationFnT | None = None
    ) -> AsyncIterator[Client]:
        """Connect a client with a token, whose user answers questions by `asks`."""
        given = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=given, timeout=PATIENCE_S) as http,
            Client(
                streamable_http_client(self.url, http_client=http), extensions=extensions, elicitation_callback=asks
            ) as client,
        ):
            yield client

    def post(self, token: str | None = None, message: JsonValue = None, **headers: str) -> httpx.Response:
        """Send a message, by default one that begins a session."""
        sent = HEADERS | headers | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return self.http.post(self.url, json=message or INITIALIZE, headers=sent)


@contextmanager
def serving_tokens(issuer: Issuer, folder: Path, store: StoreConnection, **variables: str) -> Iterator[HttpServer]:
    """Run the server for callers with tokens of an issuer."""
    given = {
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
        "LANGFUSE_HOST": store.base_url,
        "LFEXP_HTTP_URL": issuer.audience,
        "LFEXP_OAUTH_ISSUER": issuer.url,
        "LFEXP_OAUTH_JWKS_URL": issuer.jwks_url,
    }
    with serving_http(folder, **given, **variables) as server:
        yield server


@contextmanager
def serving_http(folder: Path, *arguments: str, **variables: str) -> Iterator[HttpServer]:
    """Run `lfexp-mcp serve --http` until it is no longer needed."""
    port, log = free_port(), folder / "server.log"
    environment = {**os.environ, "LFEXP_HOME": str(folder / "home"), **variables}
    command = [sys.executable, "-m", "lfexp_mcp", "serve", "--http", "--port", str(port), *arguments]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr, env=environment, cwd=folder)
    try:
        wait_until(lambda: process.poll() is not None or b"Serving MCP at" in log.read_bytes())
        assert process.poll() is None, log.read_text()
        with httpx.Client(timeout=PATIENCE_S) as http:
            yield HttpServer(process, f"http://127.0.0.1:{port}/mcp", log, http)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
