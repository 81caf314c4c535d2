"""Judges that left results of a run unscored although they have a newer version."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import anyio

from lfexp_mcp.errors import BackendError, NotFoundError
from lfexp_mcp.model import JudgeMaker, RunRecord
from lfexp_mcp.services.workspace import Workspace

PATIENCE_S = 2.0
"""How long Langfuse may take per judge."""


@dataclass(frozen=True, slots=True)
class OutdatedJudge:
    """A judge of a run that has a newer version."""

    name: str
    version: int
    """The run's."""
    latest: int

    @property
    def reference(self) -> str:
        """The newer version, as `judges` names it."""
        return f"{self.name}:{self.latest}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return (
            f"Judge {self.name!r} scored in version {self.version}; its latest version is {self.latest}. "
            f"score_run with {self.reference!r} among its `judges` scores all results with that one."
        )


async def outdated_judges_of(ws: Workspace, record: RunRecord) -> list[OutdatedJudge]:
    """Find the judges of a run that left results unscored and have a newer version.

    Langfuse is asked only about judges that left results unscored; if it does not answer in time, there are none.
    """
    unscored = {missing.name for item in record.items for missing in item.unscored}.difference(record.older_scores)
    judges = record.plan.judges if record.plan and unscored else {}
    return await find_outdated(ws, (judge for score, judge in judges.items() if score in unscored))


async def find_outdated(ws: Workspace, judges: Iterable[JudgeMaker]) -> list[OutdatedJudge]:
    """Find which of some judges have a newer version."""
    found = []
    for judge in judges:
        with suppress(BackendError, NotFoundError), anyio.move_on_after(PATIENCE_S):
            latest = (await ws.gateway.prompts.get(judge.prompt, label="latest")).version
            if judge.version is not None and latest > judge.version:
                found.append(OutdatedJudge(judge.prompt, judge.version, latest))
    return found
