"""A loopback HTTP server that answers what a test has scripted, and keeps what it was asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from pydantic import JsonValue


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    body: JsonValue = None
    headers: dict[str, str] = field(default_factory=dict)
    echoes_id: bool = False
    """Whether the body is the posted score's id instead."""
    content: bytes | None = None
    """The body as it is sent, instead of the JSON one."""


STORED = Reply(200, echoes_id=True)
LOGIN_PAGE = Reply(200, "<!doctype html><title>Sign in</title>", {"content-type": "text/html"})


@dataclass
class ScriptedServer:
    """Answers in order; the last answer stays."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    requests: list[tuple[str, JsonValue]] = field(default_factory=list)

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    script = ScriptedServer(url="")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            is_json = self.headers.get("content-type") == "application/json"
            self._answer(json.loads(raw) if is_json else f"{len(raw)} bytes")

        def _answer(self, body: JsonValue) -> None:
            script.requests.append((self.path, body))
            reply = script.next_reply()
            is_page = reply.headers.get("content-type") == "text/html"
            answer = {"id": body["id"]} if reply.echoes_id and isinstance(body, dict) else reply.body
            content = (str(answer) if is_page else json.dumps(answer)).encode()
            content = content if reply.content is None else reply.content
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            # The client closes a connection over which nonsense came.
            with suppress(ConnectionError):
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
