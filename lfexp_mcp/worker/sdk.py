"""The Langfuse SDK in the worker, before the user's code is loaded."""

import sys
from functools import partial

from langfuse import Langfuse
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT
from lfexp_mcp.settings import load_settings
from lfexp_mcp.worker.telemetry import Telemetry, encode


class Sdk(Telemetry):
    """The Langfuse SDK, set up so that the user's code gets this very client.

    A spare worker creates it ahead of time, before any of the user's code is loaded.

    Attributes:
        settings: From the environment that the user's code has not changed yet.
        client: The SDK's.
    """

    def __init__(self) -> None:
        self.settings = load_settings()
        super().__init__(self.settings.langfuse_public_key or "")
        self.client = open_client(self)
        _warm_up()
        self.provider.own.encode([])


def open_client(telemetry: Telemetry) -> Langfuse:
    """Let the SDK process the spans of a process, and return the client that the user's code gets as well."""
    _list_only_loaded_modules()
    return Langfuse(
        environment=EXPERIMENT_ENVIRONMENT,
        span_exporter=telemetry.exporter,
        tracer_provider=telemetry.provider,
    )


def _list_only_loaded_modules() -> None:
    """Let `dir()` of Langfuse's lazy API modules return only what is loaded.

    Freezegun gets every name in `dir()` of every module. That would load modules with frozen dates, which Pydantic does
    not know.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "langfuse" and "__dir__" in vars(module):
            vars(module)["__dir__"] = partial(list, vars(module))


def _warm_up() -> None:
    """Start and encode one span, since the first takes many times as long as the next."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer(__name__)
    span = tracer.start_span("warm-up", attributes={"a": 1})
    span.end()
    if isinstance(span, ReadableSpan):
        encode([span])
