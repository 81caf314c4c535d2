"""Entry of a worker: greet, do the slow imports, take the order, carry it out."""

import os
import sys
from contextlib import suppress
from threading import Timer

from lfexp_mcp import __version__
from lfexp_mcp.runs.protocol import Hello, Reply, WorkerCommand

SWITCH_INTERVAL = 0.001
"""Seconds; a thread that computes gives way sooner than by default, so that others answer in time."""
EXIT_PATIENCE = 5.0
"""Seconds in which the process may end by itself; threads left behind by time-outs would keep it for ever."""


def main() -> None:
    """Serve one order from standard input."""
    speaker = os.fdopen(os.dup(1), "wb", buffering=0)

    # These take most of a worker's start; a spare has done them when its order comes.
    from lfexp_mcp.worker.sdk import Sdk
    from lfexp_mcp.worker.session import carry_out

    sdk = Sdk()

    # Only now, since from its order on the run is the worker's: it has to be seen at work at once.
    speaker.write(Hello(version=__version__).model_dump_json().encode() + b"\n")
    line = sys.stdin.buffer.readline()
    if not line:
        return
    order = WorkerCommand.model_validate_json(line)
    _detach_from_input()

    def answer(reply: Reply) -> None:
        # Whoever asked may be gone; the run goes on.
        with suppress(OSError):
            speaker.write(reply.model_dump_json().encode() + b"\n")

    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        carry_out(order, answer, sdk)
    finally:
        _leave()


def _detach_from_input() -> None:
    """Put nothing in the place of standard input, so that user code that reads it gets an end and no order."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _leave() -> None:
    timer = Timer(EXIT_PATIENCE, os._exit, args=[0])
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
