"""Another user of the machine, who listens at the port of a store that has ended and keeps what is sent there."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


class Thief:
    """What came in."""

    def __init__(self) -> None:
        self.received = ""
        self.requests = 0
        self.relay_to: str | None = None
        """Where to ask for the answer to a challenge: the store that runs now."""

    def heard(self, *secrets: str) -> bool:
        """Whether one of the secrets came in, be it in basic authentication."""
        words = [self.received]
        for word in self.received.split():
            try:
                words.append(base64.b64decode(word, validate=True).decode())
            except ValueError:
                continue
        return any(secret in word for secret in secrets for word in words)


@contextmanager
def thief_at(port: int) -> Iterator[Thief]:
    """Listen at a port, answering whatever would please."""
    thief = Thief()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            thief.received += f"{self.requestline}\n{self.headers}\n{body}\n"
            thief.requests += 1
            headers = {"x-lfexp-store": "any", "x-lfexp-proof": "0" * 64}
            if thief.relay_to is not None:
                asked = {"x-lfexp-challenge": self.headers.get("x-lfexp-challenge", "")}
                headers.update(httpx.get(f"{thief.relay_to}{self.path}", headers=asked, trust_env=False).headers)
            content = json.dumps({"status": "OK", "version": "4.59.0"}).encode()
            self.send_response(200)
            for name in ("x-lfexp-store", "x-lfexp-proof"):
                self.send_header(name, headers[name])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield thief
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
