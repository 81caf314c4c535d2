"""A worker process: starting it, and sending it a command."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread, Timer
from typing import IO, TypeVar, cast

import anyio.to_thread
from pydantic import ValidationError

from lfexp_mcp import __version__
from lfexp_mcp.errors import LfexpError, WorkerError
from lfexp_mcp.masking import mask
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import read_run_end
from lfexp_mcp.runs.killing import describe_exit, kill_process_tree
from lfexp_mcp.runs.protocol import Hello, Reply, WorkerCommand

Message = TypeVar("Message", Hello, Reply)

OUTPUT_TAIL_BYTES = 400
ERROR_TAIL_CHARS = 1500
"""How much of a dead worker's standard error an error repeats."""
CONFIRM_PATIENCE_S = 2.0
"""How long a spare worker may take to say that it is current; starting another takes about as long."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How a worker is started. Workers of equal interpreters are interchangeable."""

    python: Path
    environment: tuple[tuple[str, str], ...]
    """The worker's whole environment, Langfuse's keys included; never shown."""
    folder: Path
    """The working folder."""

    def __repr__(self) -> str:
        return f"Interpreter({str(self.python)!r})"

    @classmethod
    def of(cls, python: Path | None, environment: Mapping[str, str], folder: Path) -> "Interpreter":
        """Build one, sorting the environment.

        Args:
            python: The interpreter; None for the one that runs this process.
            environment: The worker's environment.
            folder: Its working folder.
        """
        return cls(python or Path(sys.executable), tuple(sorted(environment.items())), folder)


class WorkerProcess:
    """A worker process, from its start until it executes its command; after that, the run folder tells about it."""

    def __init__(self, interpreter: Interpreter) -> None:
        """Start the process, detached, so that it outlives this one.

        Raises:
            WorkerError: The interpreter cannot be started.
        """
        self.interpreter = interpreter
        self._command: WorkerCommand | None = None
        self._is_asked = self._is_dismissed = False
        self._taken, self._begun = _answer(), _answer()
        self._start()

    def _start(self) -> None:
        interpreter = self.interpreter
        # A file, not a pipe: nobody reads it while the worker starts, and a full pipe would block the worker.
        self._stderr = TemporaryFile()  # noqa: SIM115 - closed with the pipes
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [str(interpreter.python), "-P", "-m", "lfexp_mcp.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=dict(interpreter.environment),
                cwd=interpreter.folder,
                start_new_session=sys.platform != "win32",
                creationflags=_creation_flags(),
            )
        except (OSError, ValueError) as error:
            # A path with NUL is a ValueError.
            self._stderr.close()
            reason = error.strerror if isinstance(error, OSError) else error
            raise WorkerError(
                f"The interpreter {str(interpreter.python)!r} cannot be started ({reason or error}). "
                "Pass another one as `python`, or set LFEXP_PYTHON."
            ) from error
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the code that the process ended with, None while it lives."""
        return self._process.poll()

    def ask_if_current(self) -> None:
        """Ask a spare worker whether what it has imported is what a new one would import; `give` hears the answer."""
        self._is_asked = True
        # One that has died gives no answer.
        with suppress(OSError):
            self._stdin.write(b"\n")
            self._stdin.flush()

    async def give(self, command: WorkerCommand) -> None:
        """Send the worker its command; from then on it goes on whatever becomes of this call and this process.

        A spare worker that is not current, or does not say so in time, is replaced by a new one before.

        Raises:
            LfexpError: The error that the worker refused with, as when another one has the run folder.
            WorkerError: It died, or is of another version.
        """
        await anyio.to_thread.run_sync(self._give, command, abandon_on_cancel=True)
        await asyncio.wrap_future(self._taken)

    async def begin(self) -> None:
        """Wait until the worker has loaded the user's code and begins; cancelling the wait stops nothing.

        Raises:
            LfexpError: The user's code cannot be used; the error is the one that the worker refused with.
            WorkerError: It died.
        """
        await asyncio.wrap_future(self._begun)

    def release(self) -> None:
        """Let a worker that waits for others begin; see `WorkerCommand.together`."""
        # One that has died is seen by its folder.
        with suppress(OSError, ValueError):
            self._stdin.write(b"\n")
            self._stdin.close()

    def dismiss(self) -> None:
        """Kill the process, unless it has a command; one that still waits for others ends by itself."""
        if self._command is not None:
            if self._command.together:
                self._stdin.close()
            return
        self._is_dismissed = True
        self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            kill_process_tree(self._process.pid)
            self._process.wait()
        self._close_pipes()

    def _read_hello(self) -> Hello:
        hello = self._confirmation() if self._is_asked else None
        is_refused = self._is_asked and hello is None
        # While the run was prepared, as a run over a large dataset is, it may have ended as one that nobody needs.
        if (is_refused or self._process.poll() == 0) and not self._is_dismissed:
            self._end()
            self._start()
            hello = None
        return hello or self._read(Hello)

    def _confirmation(self) -> Hello | None:
        """Read the answer of a spare worker that is current; None if it is not, or does not say so in time."""
        with suppress(WorkerError):
            self._read(Hello)
            impatience = Timer(CONFIRM_PATIENCE_S, kill_process_tree, args=[self._process.pid])
            impatience.start()
            try:
                return self._read(Hello)
            finally:
                impatience.cancel()
        return None

    def _give(self, command: WorkerCommand) -> None:
        hello = self._read_hello()
        if hello.version != __version__:
            raise WorkerError(
                f"{self.interpreter.python} has lfexp-mcp {hello.version}, but this is {__version__}. "
                "Install the same lfexp-mcp there, from the source that this one was installed from."
            )
        try:
            self._stdin.write(command.model_dump_json().encode() + b"\n")
            self._command = command
            if command.together:
                self._stdin.flush()
            else:
                self._stdin.close()
        except OSError as error:
            raise self._death() from error
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Read the worker's replies, then wait for its exit code, which nobody else would collect."""
        for answer in (self._taken, self._begun):
            try:
                self._read(Reply).raise_refusal()
            except LfexpError as error:
                answer.set_exception(error)
                break
            answer.set_result(None)
        if self._command is None or not self._command.together:
            self._close_pipes()
        code = self._process.wait()
        self._close_pipes()
        if code and self._command is not None and self._command.run is not None:
            # The folder may be gone, or another worker's by now.
            with suppress(LfexpError, OSError):
                _record_death(RunFolder(self._command.run), self.pid, code)

    def _read(self, message: type[Message]) -> Message:
        line = self._stdout.readline()
        if not line:
            raise self._death()
        try:
            return message.model_validate_json(line)
        except ValidationError as error:
            raise WorkerError(
                f"{self.interpreter.python} answered something unexpected; is its lfexp-mcp of version {__version__}?"
            ) from error

    def _death(self) -> WorkerError:
        code = self._process.wait()
        self._stderr.seek(0)
        stderr = self._stderr.read().decode("utf-8", "replace").strip()
        if self._command is not None and self._command.run is not None:
            log = RunFolder(self._command.run).log_path
            return WorkerError(
                f"The worker {describe_exit(code)} while it loaded the scripts. {_last_output(log)}"
                "Fix them, then run again."
            )
        if "No module named lfexp_mcp" in stderr or "No module named 'lfexp_mcp'" in stderr:
            return WorkerError(
                f"lfexp-mcp is not installed for {self.interpreter.python}. Install the same "
                f"lfexp-mcp there ({__version__}), from the source that this one was installed from."
            )
        return WorkerError(
            f"The worker ({self.interpreter.python}) {describe_exit(code)} before it took its command: "
            f"{stderr[-ERROR_TAIL_CHARS:] or 'no output'}"
        )

    def _close_pipes(self) -> None:
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()


def _record_death(folder: RunFolder, pid: int, code: int) -> None:
    """Record in a run folder how its worker died, unless the worker recorded why it gave up."""
    is_newest = folder.worker.pid == pid and not folder.worker.is_locked()
    if is_newest and folder.worker.exit_reason is None and read_run_end(folder.journal_path) is None:
        reason = f"The worker {describe_exit(code)} before the run's end. {_last_output(folder.log_path)}"
        folder.worker.record_exit(reason.rstrip(), pid, code)


def _last_output(log: Path) -> str:
    """Quote the end of the run's log, with its path."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - OUTPUT_TAIL_BYTES, 0))
            tail = " ".join(mask(file.read().decode(errors="ignore")).split())
    except OSError:
        return ""
    return f"Its last output: {tail!r}; all of it is in {log}. " if tail else ""


def _answer() -> "Future[None]":
    """A future that a cancelled wait does not cancel."""
    answer: Future[None] = Future()
    answer.set_running_or_notify_cancel()
    return answer


def _creation_flags() -> int:
    if sys.platform == "win32":
        return subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return 0
