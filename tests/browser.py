"""A headless Chromium, driven by the DevTools protocol over a pipe: it needs no package.

`LFEXP_TEST_CHROMIUM` names the program; else it is looked for on the path. Tests skip where there is none.
https://chromedevtools.github.io/devtools-protocol/
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S

CHROMIUM = os.environ.get("LFEXP_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or sys.platform == "win32",
    reason="there is no Chromium: install it, or name it in LFEXP_TEST_CHROMIUM",
)
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    # A sandboxed frame is then in its page's process, where the protocol reaches it without a session of its own.
    "--disable-features=IsolateSandboxedIframes",
    "--hide-scrollbars",
)


class Browser:
    """A running browser; each page is a tab of its own."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        from_browser, browser_writes = os.pipe()
        browser_reads, to_browser = os.pipe()
        # The browser reads descriptor 3 and writes descriptor 4, numbers that a shell can give it.
        redirected = f'exec "$0" "$@" 3<&{browser_reads} 4>&{browser_writes} 2>/dev/null'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(browser_reads, browser_writes),
            stdout=subprocess.DEVNULL,
        )
        os.close(browser_reads)
        os.close(browser_writes)
        self._input = os.fdopen(to_browser, "wb")
        self._output = os.fdopen(from_browser, "rb")
        self._buffer = b""
        self._next = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        """Call a method and return its result; events that come meanwhile are kept."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": params}
        self._input.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        self._input.flush()
        while True:
            received = self._receive()
            if received.get("id") == self._next:
                assert "error" not in received, (method, received["error"])
                result: dict[str, Any] = received["result"]
                return result
            self.events.append(received)

    def wait_for(self, method: str, session: str) -> None:
        """Wait for an event of a tab."""
        while not any(event["method"] == method and event.get("sessionId") == session for event in self.events):
            self.events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._output.fileno(), 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, url: str, *, width: int = 1280, scheme: str = "light") -> "Tab":
        """Open an address in a tab, and wait until it is loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Network", "Runtime", "Accessibility", "Log"):
            tab.send(f"{domain}.enable")
        tab.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        tab.send("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired", session)
        return tab

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(AssertionError, BrokenPipeError):
            self.send("Browser.close")
        self._process.wait(PATIENCE_S)
        self._input.close()
        self._output.close()


@dataclass
class Tab:
    """One page."""

    browser: Browser
    session: str

    def send(self, method: str, **params: object) -> dict[str, Any]:
        return self.browser.send(method, self.session, **params)

    def run(self, expression: str, *, in_frame: bool = False) -> Any:  # noqa: ANN401
        """Evaluate JavaScript, also where the page's policy forbids its own, and return the value.

        Args:
            expression: A promise is waited for.
            in_frame: Evaluate it in the frame of the page, of which there must be one.
        """
        where = {}
        if in_frame:
            (child,) = self.send("Page.getFrameTree")["frameTree"]["childFrames"]
            world = self.send("Page.createIsolatedWorld", frameId=child["frame"]["id"])
            where = {"contextId": world["executionContextId"]}
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, **where)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """The addresses that the tab has asked for since it was opened."""
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event["method"] == "Network.requestWillBeSent" and event.get("sessionId") == self.session
        ]

    def accessible(self) -> list[dict[str, Any]]:
        """The nodes that assistive technology is given, in order."""
        nodes: list[dict[str, Any]] = self.send("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node.get("ignored")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for the tests of a module."""
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()
