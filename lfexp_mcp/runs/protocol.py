"""What a worker and the process that started it say to each other, one line of JSON a message.

The worker greets on its standard output and reads its order from its standard input. It answers twice: when the run's
folder is its own, and when it has loaded the user's code and begins. From then on the folder alone speaks.
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
    """What the worker shall do."""

    run: Path | None = None
    """Folder of the run to carry out."""
    deliver: tuple[Path, ...] = ()
    """Folders of runs of which to send what waits, running nothing."""


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
    """Whether the worker goes on with the order; after a refusal there is no further answer."""

    refused: ErrorKind | None = None
    """None when it goes on."""
    message: str = ""

    @classmethod
    def of_error(cls, error: LfexpError) -> "Reply":
        """Build the refusal that says what the error says."""
        kind: ErrorKind = next((kind for kind, known in _KINDS.items() if isinstance(error, known)), "worker")
        return cls(refused=kind, message=str(error))

    def raise_refusal(self) -> None:
        """Raise the error that the worker refused with; do nothing when it did not."""
        if self.refused is not None:
            raise _KINDS[self.refused](self.message)
