"""Entry point of a worker process: announce itself, take a command, carry it out."""

import os
import sys
import time
from contextlib import suppress
from threading import Timer

from lfexp_mcp import __version__
from lfexp_mcp.imports import import_httpx
from lfexp_mcp.runs.protocol import Hello, Reply, WorkerCommand

SWITCH_INTERVAL_S = 0.001
"""Shorter than Python's default, so that a thread that computes does not delay the others."""
EXIT_TIMEOUT_S = 5.0
"""After a run; threads that were left behind by time-outs may never end."""
IDLE_EXIT_S = 600.0
"""A spare worker that is not needed frees its memory."""


def main() -> None:
    """Serve one command from standard input."""
    began_ns = time.time_ns()
    speaker = os.fdopen(os.dup(1), "wb", buffering=0)

    # All this takes most of a worker's start; a spare worker has done it when its command comes.
    import_httpx()
    from lfexp_mcp.worker.isolation import close_input
    from lfexp_mcp.worker.loaded_code import LoadedCode
    from lfexp_mcp.worker.sdk import Sdk
    from lfexp_mcp.worker.session import carry_out, prepare

    sdk = Sdk()
    prepare()
    loaded = LoadedCode(began_ns)
    hello = Hello(version=__version__).model_dump_json().encode() + b"\n"

    # Not before, since a worker has to respond to a command immediately.
    speaker.write(hello)
    idle = Timer(IDLE_EXIT_S, os._exit, args=[0])
    idle.daemon = True
    idle.start()
    while (line := sys.stdin.buffer.readline()) == b"\n" and loaded.is_current():
        speaker.write(hello)
    if not line.strip():
        return
    idle.cancel()
    idle.join()
    command = WorkerCommand.model_validate_json(line)
    signal = os.fdopen(os.dup(0), "rb", buffering=0)
    close_input()

    def reply(message: Reply) -> None:
        # The run goes on even if its caller is gone.
        with suppress(OSError):
            speaker.write(message.model_dump_json().encode() + b"\n")

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        carry_out(command, reply, sdk, lambda: bool(signal.readline()))
    finally:
        timer = Timer(EXIT_TIMEOUT_S, os._exit, args=[0])
        timer.daemon = True
        timer.start()


if __name__ == "__main__":
    main()
