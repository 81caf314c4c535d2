"""The Langfuse SDK in a process on a node: imported once the user's code imports it or starts a span."""

import importlib
from collections.abc import Mapping
from types import ModuleType

import wrapt

from lfexp_mcp.environment import process_environment, set_variables
from lfexp_mcp.worker.telemetry import Telemetry

READ_BY_SDK = ("LANGFUSE_", "OTEL_")
"""Beginnings of the names of variables that the SDK's client is made by."""


def open_telemetry(public_key: str) -> Telemetry:
    """Return what makes the spans of this process; as soon as anything imports the SDK, it gets its client from here.

    That is the client that it would get if it had been made now, as in a local run.
    """
    telemetry = Telemetry(public_key, lambda: importlib.import_module("langfuse"))
    at_start = _read_by_sdk()

    def set_up(_sdk: ModuleType) -> None:
        from lfexp_mcp.worker.sdk import open_client

        now = _read_by_sdk()
        set_variables({**dict.fromkeys(now), **at_start})
        try:
            open_client(telemetry)
        finally:
            set_variables({**dict.fromkeys(at_start), **now})

    wrapt.register_post_import_hook(set_up, "langfuse")
    return telemetry


def _read_by_sdk() -> Mapping[str, str]:
    return {name: value for name, value in process_environment({}).items() if name.startswith(READ_BY_SDK)}
