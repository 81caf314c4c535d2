"""Spare workers, which are kept ready so that a run begins at once."""

from contextlib import suppress
from threading import Lock, Timer

from lfexp_mcp.errors import WorkerError
from lfexp_mcp.runs.process import Interpreter, WorkerProcess


class Workers:
    """Starts workers, and keeps spare ones that have done their imports and seen no user code. Thread-safe.

    Spares are processes of their own rather than forks of one: forked ones would share the state of random numbers and
    of hashes, and neither Windows nor macOS forks a process that has loaded such libraries.
    """

    SPARES = 3
    """So that runs that follow at once find one too, and the second one need not share the machine with a worker that
    starts. Each takes some 55 MB of its own, and ends after a while without use."""
    REPLACEMENT_DELAY_S = 2.0
    """How long the run that took a spare has the machine to itself, unless none is left for the next run."""
    CLUSTER_DELAY_S = 20.0
    """The same of a run on a cluster, whose nodes may be on this machine and have processes to start first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spares: list[WorkerProcess] = []
        self._wanted: Interpreter | None = None
        self._next: Timer | None = None
        """Starts the next spare."""

    def start(self, interpreter: Interpreter) -> WorkerProcess:
        """Return the oldest spare that fits, else a new process.

        Raises:
            WorkerError: The interpreter cannot be started.
        """
        with self._lock:
            spare = next((each for each in self._spares if _fits(each, interpreter)), None)
            if spare is not None:
                self._spares.remove(spare)
        if spare is None:
            return WorkerProcess(interpreter)
        spare.ask_if_current()
        return spare

    def keep_spares(self, interpreter: Interpreter) -> None:
        """Start spares of this interpreter, one after the other, and end all others.

        Raises:
            WorkerError: The interpreter cannot be started.
        """
        with self._lock:
            self._wanted = interpreter
            unfit = [each for each in self._spares if not _fits(each, interpreter)]
            self._spares = [each for each in self._spares if each not in unfit]
            is_short = len(self._spares) < self.SPARES
            if is_short:
                self._spares.append(WorkerProcess(interpreter))
            if is_short and len(self._spares) < self.SPARES:
                self._start_next_later(self.REPLACEMENT_DELAY_S)
        for spare in unfit:
            spare.dismiss()

    def replace_spares(self, interpreter: Interpreter, *, on_cluster: bool = False) -> None:
        """Have spares that were taken replaced, if any are kept: at once where none is left, else in a moment.

        Args:
            interpreter: That of the next spares.
            on_cluster: Whether the run that took one calls its code on a cluster.

        Raises:
            WorkerError: The interpreter cannot be started.
        """
        with self._lock:
            if self._wanted is None:
                return
            self._wanted = interpreter
            has_spare = any(_fits(each, interpreter) for each in self._spares)
            if has_spare and len(self._spares) < self.SPARES:
                self._start_next_later(self.CLUSTER_DELAY_S if on_cluster else self.REPLACEMENT_DELAY_S)
        if not has_spare:
            self.keep_spares(interpreter)

    def _start_next_later(self, delay_s: float) -> None:
        if self._next is None:
            self._next = Timer(delay_s, self._start_next)
            self._next.daemon = True
            self._next.start()

    def _start_next(self) -> None:
        with self._lock:
            wanted, self._next = self._wanted, None
        # The call that needs a worker reports why it cannot be started.
        with suppress(WorkerError):
            if wanted is not None:
                self.keep_spares(wanted)

    def close(self) -> None:
        """Kill the spares, and start no more."""
        with self._lock:
            self._wanted, (spares, self._spares) = None, (self._spares, [])
            if self._next is not None:
                self._next.cancel()
        for spare in spares:
            spare.dismiss()


def _fits(spare: WorkerProcess, interpreter: Interpreter) -> bool:
    return spare.interpreter == interpreter and spare.exit_code() is None
