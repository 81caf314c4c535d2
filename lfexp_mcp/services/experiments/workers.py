"""Workers of this workspace: with which interpreter, environment and working folder they start."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio.to_thread

from lfexp_mcp.environment import process_environment
from lfexp_mcp.errors import UsageError, WorkerError
from lfexp_mcp.model import EngineOptions, ExperimentHead, Limits, RunSpec
from lfexp_mcp.runs.process import Interpreter, WorkerProcess
from lfexp_mcp.services.workspace import Workspace

REMOVED_VARIABLES = (
    "LFEXP_HTTP_TOKEN",
    "LFEXP_CALLER_KEYS",
    "LFEXP_SCRIPT_FOLDERS",
    "LANGFUSE_TRACING_ENABLED",
    "LANGFUSE_SAMPLE_RATE",
    "LANGFUSE_FLUSH_AT",
    "LANGFUSE_FLUSH_INTERVAL",
    "LANGFUSE_TRACING_ENVIRONMENT",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_SAMPLER",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
)
"""Variables that a run must not see, and those that would make it lose spans; an experiment records all."""
SPAN_QUEUE_SIZE = "1000000"
"""The SDK's queue drops its oldest span when it is full (2,048 by default)."""


PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


async def start_worker(ws: Workspace, python: Path | None, *, is_replay: bool = False) -> WorkerProcess:
    """Start a worker, or take a spare one.

    Args:
        python: The interpreter; None for the one of the settings.
        is_replay: Whether its code is to run without the keys of providers.

    Raises:
        UsageError: The call may name no interpreter.
        WorkerError: The interpreter cannot be started.
    """
    if ws.allowed_folders is not None and python not in (None, ws.settings.python):
        # Whatever program it names would be executed.
        raise UsageError("Over HTTP, `python` is that of LFEXP_PYTHON of the server. Leave it out.")
    interpreter = _interpreter(ws, python, PROVIDER_KEYS if is_replay else ())
    return await anyio.to_thread.run_sync(ws.workers.start, interpreter)


async def keep_spares(ws: Workspace) -> None:
    """Keep spare workers from now on, so that runs begin sooner; for processes that live on after a call.

    Raises:
        UsageError: The working folder has been deleted.
        WorkerError: The interpreter cannot be started.
    """
    await anyio.to_thread.run_sync(ws.workers.keep_spares, _interpreter(ws, None))
    # Otherwise built by the first run, while it waits.
    for model in (ExperimentHead, EngineOptions, Limits, RunSpec):
        model.model_rebuild()


async def replace_spares(ws: Workspace, taken_for: RunSpec) -> None:
    """Replace the spare worker that a run has taken; failures are left to the calls that need them."""
    with suppress(UsageError, WorkerError):
        replace = partial(ws.workers.replace_spares, on_cluster=taken_for.engine != "local")
        await anyio.to_thread.run_sync(replace, _interpreter(ws, None))


def _interpreter(ws: Workspace, python: Path | None, withheld: Sequence[str] = ()) -> Interpreter:
    gateway = ws.gateway
    environment = process_environment(
        {
            "LANGFUSE_PUBLIC_KEY": gateway.public_key,
            "LANGFUSE_SECRET_KEY": gateway.secret_key.get_secret_value(),
            "LANGFUSE_BASE_URL": gateway.backend.url,
            "LANGFUSE_HOST": gateway.backend.url,
            "LFEXP_HOME": str(ws.settings.home),
            "LFEXP_EMBEDDED_STORE": "true" if gateway.backend.kind == "embedded" else "false",
            "OTEL_BSP_MAX_QUEUE_SIZE": SPAN_QUEUE_SIZE,
        }
    )
    kept = {name: value for name, value in environment.items() if name not in (*REMOVED_VARIABLES, *withheld)}
    if ws.allowed_folders:
        # Of these calls, the worker opens scripts only there; over stdio, anywhere.
        kept["LFEXP_SCRIPT_FOLDERS"] = os.pathsep.join(map(str, ws.allowed_folders))
    return Interpreter.of(python or ws.settings.python, kept, working_folder())


def working_folder() -> Path:
    """Return the working folder of this process, in which runs begin.

    Raises:
        UsageError: It has been deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("The working folder of this process was deleted; start it again in another.") from None
