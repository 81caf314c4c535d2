"""Every error that lfexp-mcp raises on purpose.

Each message says what failed, with the name concerned; `next` holds the calls that help. The tools turn one into an
error result, the shell into lines and an exit code.

    LfexpError
    ├── UsageError                 the call cannot be carried out as asked
    │   ├── ConfirmationError      the user has to agree first, or did not
    │   ├── NotFoundError          no such dataset, run, item or judge
    │   ├── CursorError            a cursor is not one of the list asked for
    │   ├── RunExistsError         the run name has items already, or is running
    │   ├── ScriptError            a task or evaluator script cannot be used
    │   ├── JudgeError             a judge or a prompt as task, or its model, cannot be used
    │   └── DataFileError          a file of dataset items cannot be read
    ├── BackendError               Langfuse did not do what it was asked
    │   ├── UnreachableError       no answer, or none in time
    │   ├── CredentialsError       keys missing, half given or refused
    │   ├── RateLimitError         still too many requests after waiting
    │   ├── SizeError              a request is too large for the server or a proxy before it
    │   └── RejectedError          the server refused the request as wrong
    ├── ProviderError              a model's provider gave no usable answer
    │   ├── ModelRefusedError      its key, name or account is refused: no further call would be answered
    │   └── JudgeReplyError        a judge's reply states no score
    ├── BudgetError                a run's max_cost does not cover the next call to a model
    ├── WorkerError                the process of a run could not start or died
    ├── StateError                 the runs' folder on disk cannot be used
    ├── UnreadError                a run is too long to be read within the time of the call
    ├── BusyError                  the server has no room for another caller
    └── StoreError                 the embedded store cannot be opened or started
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfexp_mcp.model import NextStep


class LfexpError(Exception):
    """Base of all errors below; its text is meant for the user.

    Attributes:
        next: The calls that help, the most useful one first.

    Example:
        raise NotFoundError(
            f"Dataset {name!r} does not exist.", next=[NextStep("create_dataset", {"name": name}, "Create it.")]
        )
    """

    def __init__(self, message: str, *, next: Sequence[NextStep] = ()) -> None:
        super().__init__(message)
        self.next = tuple(next)

    @property
    def code(self) -> str:
        """What kind of error it is, for programs: the class's name as `run_exists` or `not_found`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__.removesuffix("Error")).lower()


class UsageError(LfexpError):
    """The call cannot be carried out as asked: its arguments have to change."""


class ConfirmationError(UsageError):
    """The user has to agree to something first, or did not; nothing was done.

    Attributes:
        question: What the user is asked.
        notice: What a caller is told who may go ahead although the user cannot be asked; None if nobody may.
    """

    def __init__(
        self, message: str, question: str = "", *, notice: str | None = None, next: Sequence[NextStep] = ()
    ) -> None:
        super().__init__(message, next=next)
        self.question = question
        self.notice = notice


class NotFoundError(UsageError):
    """Something that the call names does not exist.

    Attributes:
        name: The name that was asked for; None where the error is not about one name.
        near: The names that may be meant, the nearest first.
    """

    name: str | None = None
    near: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, kind: str, name: str, known: Iterable[str], advice: str = "", *, next: Sequence[NextStep] = ()
    ) -> NotFoundError:
        """Build the error with the names nearest to the one asked for, or with the first few if none is near.

        Args:
            kind: What was looked for, such as `dataset`.
            known: The names that exist, those first that are likeliest to be meant, such as the newest.
            advice: What to do about it besides, a full sentence.
        """
        names = list(known)
        # Of many that are numbered alike, none is likelier than the others to be meant.
        numbered = {each for each in names if _without_numbers(each) == _without_numbers(name)}
        candidates = [each for each in names if each not in numbered] if len(numbered) > PROPOSED_AT_MOST else names
        near = difflib.get_close_matches(name, candidates, n=PROPOSED_AT_MOST, cutoff=LIKENESS)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There is {name_some(names)}."
        error = cls(f"There is no {kind} named {name!r}. {hint} {advice}".rstrip(), next=next)
        error.name, error.near = name, tuple(near)
        return error


LIKENESS = 0.7
"""RatioMetric of `difflib` from which a name may be meant: a slip of one or two letters, not one number for another."""
PROPOSED_AT_MOST = 3
NAMED_AT_MOST = 5


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def name_some(names: Sequence[object]) -> str:
    """Name the first few of what exists, and count the rest: `'a', 'b' and 7 more`, or `none`."""
    named = ", ".join(map(repr, names[:NAMED_AT_MOST])) or "none"
    rest = len(names) - NAMED_AT_MOST
    return f"{named} and {rest} more" if rest > 0 else named


class CursorError(UsageError):
    """A cursor is not one of the list asked for; without it, the list is shown from its start."""


class RunExistsError(UsageError):
    """The run name already has items in Langfuse, or the run is running."""


class ScriptError(UsageError):
    """A task or evaluator script is missing, does not load, or lacks what it must define."""


class JudgeError(UsageError):
    """A judge, or a prompt that is the task, cannot be used: its config, its placeholders, its model's key or price."""


class DataFileError(UsageError):
    """A file of dataset items cannot be read; the text names the line."""


class BackendError(LfexpError):
    """Langfuse did not do what it was asked."""


class UnreachableError(BackendError):
    """Langfuse gave no answer, or none in time."""


class CredentialsError(BackendError):
    """The keys of Langfuse are missing, half given or refused."""


class RateLimitError(BackendError):
    """Langfuse still answered 429 after the waits it asked for.

    Attributes:
        retry_after: Seconds that its last answer asked to wait.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SizeError(BackendError):
    """A request is too large for the server, or for a proxy before it."""


class RejectedError(BackendError):
    """Langfuse refused a request as wrong.

    Attributes:
        status: The HTTP status of the answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ProviderError(LfexpError):
    """A model's provider gave no usable answer."""


class ModelRefusedError(ProviderError):
    """The key, the model, the account or a declared parameter is refused, so that every further call would be, too."""


class JudgeReplyError(ProviderError):
    """A judge's reply states no score on its scale; the text quotes its beginning."""


class BudgetError(LfexpError):
    """A run's `max_cost` does not cover the next call to a model: the run stops, and can be resumed with more."""


class WorkerError(LfexpError):
    """The process of a run could not be started, or died."""


class StateError(LfexpError):
    """The folder that keeps the runs cannot be written or read."""


class BusyError(LfexpError):
    """The server has no room for another caller with keys of its own."""


class UnreadError(LfexpError):
    """A run of this machine is too long to be read within the time of the call; the next call reads on."""


class StoreError(LfexpError):
    """The embedded store cannot be opened or started."""
