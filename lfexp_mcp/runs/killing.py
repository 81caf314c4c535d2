"""Ending worker processes that do not end themselves, and saying how a process ended."""

import os
import signal
import subprocess
import sys

from lfexp_mcp.runs.events import RunEnded
from lfexp_mcp.runs.folder import RunFolder

KILLED = "The run did not react to the cancel, so its process was killed; what is done is kept."


def kill_process_tree(pid: int) -> None:
    """Kill a process and those that it started."""
    if sys.platform == "win32":
        subprocess.run(  # noqa: S603
            ["taskkill", "/T", "/F", "/PID", str(pid)],  # noqa: S607
            capture_output=True,
            check=False,
        )
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def kill_worker(folder: RunFolder) -> bool:
    """Kill the process that works on a run, if any, and those that it started; return whether there was one."""
    pid = folder.worker.pid
    if pid is None or not folder.worker.is_locked():
        return False
    kill_process_tree(pid)
    return True


def record_kill(folder: RunFolder) -> None:
    """Journal that the worker was killed on request; call it when it is dead.

    Raises:
        RunExistsError: It is not dead.
    """
    with folder.worker.locked():
        journal = folder.open_journal()
        journal.append(RunEnded(status="cancelled", reason=KILLED))
        journal.close()


def describe_exit(code: int) -> str:
    """Say how a process ended: by which exit code, or killed by which signal."""
    if code >= 0:
        return f"died with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory, perhaps)" if name == "SIGKILL" else "")
