"""Names that complete what a person has typed of one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.judges.discovery import JUDGE_PREFIX
from lfexp_mcp.services.catalog.datasets import run_name_of
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import Workspace

NamedKind = Literal["dataset", "run", "judge"]
MAX_NAMES = 100
"""Values that a completion of MCP may have."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that contain what was typed, those that begin with it first."""

    values: list[str]
    total: int | None
    """None if there are more than were read."""


async def complete_name(ws: Workspace, kind: NamedKind, typed: str, dataset: str | None = None) -> Names:
    """Complete the name of a dataset, a run or a judge, upper and lower case alike.

    Args:
        typed: What has been typed of the name.
        dataset: The run's dataset; without one no run can be found.

    Raises:
        BackendError: Langfuse did not answer.
    """
    if kind == "dataset":
        return _matching((each.name for each in await ws.gateway.datasets.all()), typed)
    if kind == "judge":
        known = sorted(each.name for each in await ws.gateway.prompts.all())
        return _matching((name for name in known if name.startswith(JUDGE_PREFIX)), typed)
    try:
        return await _complete_run(ws, dataset or "", typed)
    except (NotFoundError, UsageError):
        return Names([], 0)


async def _complete_run(ws: Workspace, dataset: str, typed: str) -> Names:
    newest = await list_runs(ws, dataset, MAX_NAMES)
    names, is_all = [run.name for run in newest.runs], newest.next_cursor is None
    if typed and not is_all:
        found, further = await ws.gateway.experiments.search((await ws.gateway.datasets.get(dataset)).id, typed)
        names, is_all = [*names, *map(run_name_of, found)], further is None
    matching = _matching(names, typed)
    return matching if is_all else Names(matching.values, None)


def _matching(names: Iterable[str], typed: str) -> Names:
    wanted = typed.casefold()
    containing = [name for name in dict.fromkeys(names) if wanted in name.casefold()]
    containing.sort(key=lambda name: not name.casefold().startswith(wanted))
    return Names(containing[:MAX_NAMES], len(containing))
