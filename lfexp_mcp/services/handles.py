"""Handles: what a client holds of a run that a tool began, to ask for its answer later.

A handle says which runs it is about, and nothing of how they stand: their folders tell. Only the answer of a run that
has ended is kept with it, so that it stays the same when the run goes on after that. It is a file of its own, since
the folders of a confirmation are deleted once it has answered.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from lfexp_mcp.answers.base import Answer, with_notices
from lfexp_mcp.answers.comparison import ConfirmAnswer
from lfexp_mcp.answers.run import RunAnswer, SweepAnswer
from lfexp_mcp.disk import make_folder_durably, write_durably
from lfexp_mcp.errors import BackendError, LfexpError, NotFoundError, StateError, UnreadError
from lfexp_mcp.model import Progress
from lfexp_mcp.runs.sources import changed_sources
from lfexp_mcp.services.background import Job
from lfexp_mcp.services.confirmation import read_confirmation
from lfexp_mcp.services.experiments.cancel_run import cancel_run, runs_of
from lfexp_mcp.services.experiments.together import progress_of_all
from lfexp_mcp.services.next_steps import list_runs_step
from lfexp_mcp.services.requests import ConfirmRequest, build
from lfexp_mcp.services.runs.local_runs import catch_up
from lfexp_mcp.services.runs.run_answer import describe_journal
from lfexp_mcp.services.sweeps import describe_sweep
from lfexp_mcp.services.workspace import Workspace

LIFETIME = timedelta(days=7)
"""From its creation; a batch of a provider takes up to a day. The run itself stays."""
MAX_HANDLES = 1_000
"""Of one owner."""
LAUNCH_PATIENCE_S = 40.0
"""How long workers may take to have the runs: a call ends after 45 s."""
READ_PATIENCE_S = 20.0
"""How long a look waits for the answer of runs that have ended; a later one finds it."""
CANCEL_PATIENCE_S = 2.0
"""A cancellation is acknowledged before the runs have ended, which have a grace period."""

JsonObject = dict[str, JsonValue]
HandledTool = Literal["run_experiment", "score_run", "confirm_run"]
HandleStatus = Literal["running", "completed", "cancelled"]
Render = Callable[[Answer | LfexpError], JsonObject]
"""Turns an answer, or an error, into what the tool would have returned."""

_ID = re.compile(r"[0-9a-f]{40}")


class HandleEnd(BaseModel):
    """How what a handle is about has ended."""

    model_config = ConfigDict(frozen=True)

    status: HandleStatus
    at: datetime
    result: JsonObject
    """What the tool would have returned."""


class Handle(BaseModel):
    """The file of a handle."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str | None
    """Who may use it; None for whoever has its id."""
    tool: HandledTool
    arguments: JsonObject
    """Of the call."""
    dataset: str
    run_name: str
    """By which cancel_run stops it."""
    experiment_ids: tuple[str, ...]
    """Of its runs, whose folders these name."""
    created: datetime
    notices: tuple[str, ...] = ()
    """What went ahead because the user could not be asked."""
    end: HandleEnd | None = None

    @property
    def is_over(self) -> bool:
        """Whether its lifetime is."""
        return datetime.now(UTC) >= self.created + LIFETIME


async def create_handle(
    ws: Workspace,
    owner: str | None,
    tool: HandledTool,
    arguments: JsonObject,
    dataset: str,
    run_name: str,
    variants: Sequence[str] = (),
    notices: Sequence[str] = (),
) -> Handle | None:
    """Make a handle of runs that a call has launched, as soon as workers have them.

    Args:
        owner: Who called.
        tool: The tool that was called.
        arguments: Of the call.
        run_name: By which cancel_run stops the runs.
        variants: Their names, if they are those of a sweep.
        notices: What went ahead because the user could not be asked, which the answer is to tell.

    Returns:
        The handle; None if no worker has them in time, or there is no room for another one.

    Raises:
        LfexpError: One of the runs could not be launched.
        StateError: The handle cannot be written.
    """
    names = [*variants] or (runs_of(ws, dataset, run_name) if tool == "confirm_run" else [run_name])
    deadline = anyio.current_time() + LAUNCH_PATIENCE_S
    for name in names:
        launch = ws.launches.find(dataset, name)
        if launch is not None and not await launch.wait(deadline - anyio.current_time()):
            return None
    found = await ws.gateway.datasets.get(dataset)
    ids = [await ws.gateway.experiments.id_of(found.id, name) for name in names]
    if not ids or not all(ws.runs.folder(each).has_started() for each in ids) or not _has_room(_folder(ws, owner)):
        return None
    handle = Handle(
        id=secrets.token_hex(20),
        owner=owner,
        tool=tool,
        arguments=arguments,
        dataset=dataset,
        run_name=run_name,
        experiment_ids=tuple(ids),
        created=datetime.now(UTC),
        notices=tuple(notices),
    )
    _write(ws, handle)
    return handle


def find_equal_run(ws: Workspace, owner: str | None, arguments: JsonObject) -> Handle | None:
    """Return the owner's handle of an equal `run_experiment` whose runs go on, with the code that is on disk now."""
    for handle in _handles(_folder(ws, owner)):
        if (handle.tool, handle.arguments) != ("run_experiment", arguments) or handle.end is not None or handle.is_over:
            continue
        folders = [ws.runs.folder(each) for each in handle.experiment_ids]
        # Code that cannot be compared is not taken for the same.
        with suppress(StateError):
            if any(folder.is_running() for folder in folders) and not any(map(changed_sources, folders)):
                return handle
    return None


def find_handle(ws: Workspace, handle_id: str, owner: str | None) -> Handle:
    """Return a handle of its owner.

    Raises:
        NotFoundError: There is none of this id, it is somebody else's, or its lifetime is over.
    """
    # Those of an earlier version lie together, whoever owns them.
    folders = dict.fromkeys([_folder(ws, owner), _folder(ws, None)]) if _ID.fullmatch(handle_id) else ()
    found = (_read(folder / f"{handle_id}.json") for folder in folders)
    handle = next((each for each in found if each is not None), None)
    if handle is None or handle.owner != owner:
        raise NotFoundError("There is no task of this id. list_runs finds the run, and get_run reads it.")
    if handle.is_over:
        step = list_runs_step(handle.dataset)
        raise NotFoundError("The task has expired. The run is kept: get_run reads it.", next=[step])
    return handle


async def follow_handle(ws: Workspace, handle: Handle, render: Render) -> tuple[Handle, str | None]:
    """Look how the runs of a handle stand; the first look after their end reads the answer, and keeps it.

    Args:
        render: Makes the result of the answer.

    Returns:
        The handle, and how far it is if it goes on.
    """
    if handle.end is not None:
        return handle, None
    folders = [ws.runs.folder(each) for each in handle.experiment_ids]
    running = [folder for folder in folders if folder.has_started()]
    if any(folder.is_running() for folder in running):
        for folder in running:
            await catch_up(ws.replays.of(folder), anyio.current_time() + 1)
        progress = progress_of_all(ws, running)
        # How many failed is not told of held-out items.
        return handle, str(Progress(progress.done, progress.total))
    work = partial(_conclude, ws, handle, render)
    try:
        ended = await ws.background.do(("handle", handle.id), work, READ_PATIENCE_S)
    except (BackendError, UnreadError, StateError) as error:
        return handle, f"It has ended, and its answer cannot be read yet: {error}"
    return (handle, "It has ended, and its answer is being read.") if isinstance(ended, Job) else (ended, None)


async def cancel_handle(ws: Workspace, handle: Handle) -> None:
    """Cancel the runs of a handle, unless it has its answer already; those that are stubborn are killed later."""
    if handle.end is None and any(ws.runs.folder(each).has_started() for each in handle.experiment_ids):
        key = ("cancel", handle.id)
        await ws.background.do(key, lambda _: cancel_run(ws, handle.dataset, handle.run_name), CANCEL_PATIENCE_S)


def last_change(ws: Workspace, handle: Handle) -> datetime:
    """Tell when something happened last."""
    if handle.end is not None:
        return handle.end.at
    times = [handle.created.timestamp()]
    for each in handle.experiment_ids:
        with suppress(OSError):
            times.append(ws.runs.folder(each).journal_path.stat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC)


async def _conclude(ws: Workspace, handle: Handle, render: Render, _job: Job) -> Handle:
    try:
        status, answer = await _describe(ws, handle)
        if status == "running":
            return handle
        result = render(with_notices(answer, handle.notices))
    except (BackendError, UnreadError, StateError):
        raise
    except LfexpError as error:
        status, result = "completed", render(error)
    ended = handle.model_copy(update={"end": HandleEnd(status=status, at=datetime.now(UTC), result=result)})
    _write(ws, ended)
    return ended


async def _describe(ws: Workspace, handle: Handle) -> tuple[HandleStatus, Answer]:
    """Answer as the tool would have, had its call waited until now."""
    answer: RunAnswer | ConfirmAnswer
    if handle.tool == "confirm_run":
        names = ConfirmRequest.model_fields.keys()
        asked = {name: value for name, value in handle.arguments.items() if name in names}
        answer = await read_confirmation(ws, build(ConfirmRequest, **asked))
        return _status(answer.status), answer
    folders = [ws.runs.find(each) for each in handle.experiment_ids]
    known = [folder for folder in folders if folder is not None]
    if len(known) < len(folders):
        raise NotFoundError(
            "The folder of the run was deleted: get_run reads what Langfuse has of it.",
            next=[list_runs_step(handle.dataset)],
        )
    if handle.arguments.get("variants") is not None:
        answer = await describe_sweep(ws, handle.run_name, known)
    else:
        answer = await describe_journal(ws, known[0])
    if handle.tool == "score_run":
        return _status(answer.scoring), answer
    return _status(answer.status), SweepAnswer(**dict(answer))


def _status(ended: str | None) -> HandleStatus:
    return "cancelled" if ended == "cancelled" else "running" if ended == "running" else "completed"


def _folder(ws: Workspace, owner: str | None) -> Path:
    """Return the folder of an owner's handles, so that nobody takes up the room of another."""
    folder = ws.settings.home / "handles"
    return folder if owner is None else folder / owner


def _has_room(folder: Path) -> bool:
    """Whether there is room for a handle, once files that were last written a lifetime ago are deleted.

    None is read: one whose run has ended keeps its place for as long after its lifetime as the run took.
    """
    kept, now = 0, time.time()
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime <= now - LIFETIME.total_seconds():
                path.unlink()
            else:
                kept += 1
    return kept < MAX_HANDLES


def _handles(folder: Path) -> Iterator[Handle]:
    for path in folder.glob("*.json"):
        handle = _read(path)
        if handle is not None:
            yield handle


def _read(path: Path) -> Handle | None:
    try:
        return Handle.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(ws: Workspace, handle: Handle) -> None:
    folder = _folder(ws, handle.owner)
    try:
        make_folder_durably(folder)
        write_durably(folder / f"{handle.id}.json", [handle.model_dump_json().encode()])
    except OSError as error:
        raise StateError(f"The task of run {handle.run_name!r} cannot be written: {error}.") from error
