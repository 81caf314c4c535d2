"""The messages between a worker and the process that started it, each a line of JSON.

The worker writes a `Hello` to its standard output and reads its command from its standard input. To an empty line there
it says `Hello` again if what it has imported is what a new worker would import, and ends if not. It replies twice: when
it has locked the run folder, and when it has loaded the user's code and begins (or waits, see
`WorkerCommand.together`). After that, only the folder tells.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from lfexp_mcp.errors import JudgeError, LfexpError, RunExistsError, ScriptError, StateError, UsageError, WorkerError


class Hello(BaseModel):
    """The worker has started."""

    version: str
    """Of lfexp-mcp in the worker's interpreter."""


class WorkerCommand(BaseModel):
    """What the worker is asked to do."""

    run: Path | None = None
    """Folder of the run to execute."""
    scores_only: bool = False
    """Score the results that the run has, and call no task."""
    together: tuple[Path, ...] = ()
    """Folders of runs that begin together and share `max_concurrency`, this one's among them. The worker then waits,
    after its second reply, for a further line; where its input ends instead, it does not begin."""
    deliver: tuple[Path, ...] = ()
    """Folders of runs whose outboxes and scores are to be sent, executing nothing."""


ErrorKind = Literal["script", "judge", "usage", "exists", "state", "worker"]
_KINDS: dict[ErrorKind, type[LfexpError]] = {
    "script": ScriptError,
    "judge": JudgeError,
    "exists": RunExistsError,
    "usage": UsageError,
    "state": StateError,
    "worker": WorkerError,
}


class Reply(BaseModel):
    """Whether the worker goes on; after a refusal there is no further reply."""

    refused: ErrorKind | None = None
    """None where it goes on."""
    message: str = ""

    @classmethod
    def of_error(cls, error: LfexpError) -> "Reply":
        """Build the refusal that an error stands for."""
        kind: ErrorKind = next((kind for kind, known in _KINDS.items() if isinstance(error, known)), "worker")
        return cls(refused=kind, message=str(error))

    def raise_refusal(self) -> None:
        """Raise the error that the worker refused with, if any."""
        if self.refused is not None:
            raise _KINDS[self.refused](self.message)
