"""The server's log on stderr: plain lines for people, or a JSON object a line for what collects logs."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mcp.types import CallToolResult

from lfexp_mcp.reports.untrusted import paragraph

if TYPE_CHECKING:
    from lfexp_mcp.settings import LogFormat

_OURS = logging.getLogger("lfexp_mcp")
_calls = logging.getLogger("lfexp_mcp.call")


def log_to_stderr(log_format: "LogFormat" = "text") -> None:
    """Log to stderr, which clients keep as the server's log; the SDK would draw boxes.

    Lines for people hold warnings and errors, JSON each request and each call of a tool as well. Neither holds
    arguments or answers of a call, nor headers.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if log_format == "json":
        _OURS.setLevel(logging.INFO)


class _LineFormatter(logging.Formatter):
    """Removes terminal escapes from records, which may quote a client."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return paragraph(super().format(record))


class _JsonFormatter(logging.Formatter):
    """Writes a record as an object: `time` (UTC), `level`, `logger`, `message`, and the fields that it adds."""

    def format(self, record: logging.LogRecord) -> str:
        written: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            written["exception"] = self.formatException(record.exc_info)
        return json.dumps(written)


@contextmanager
def logged_call(tool: str, request: Mapping[str, str | None]) -> Iterator[list[object]]:
    """Log a call of a tool, with fields of its request, when it has ended; what it returned is put into the list."""
    started, returned = time.monotonic(), list[object]()
    outcome = "raised"
    try:
        yield returned
        (result,) = returned
        if isinstance(result, CallToolResult):
            outcome = "error" if result.is_error else "answer"
        else:
            outcome = type(result).__name__
    finally:
        seconds = round(time.monotonic() - started, 3)
        fields = {"tool": tool, "outcome": outcome, "seconds": seconds, **request}
        _calls.info("%s: %s", tool, outcome, extra={"fields": fields})
