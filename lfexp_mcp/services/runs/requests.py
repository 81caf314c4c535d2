"""What is asked of one run; see `services.requests`."""

import json
from hashlib import sha256
from typing import Any, Literal

from pydantic import Field, model_validator

from lfexp_mcp.services.requests import Cursor, DatasetName, PageSize, Request, RunName, ShownDetail

ResultKind = Literal["failed", "errored", "unscored", "pending"]
"""`errored`: the task raised or timed out; `failed`: that, or a score is below the pass mark; `unscored`: an evaluator
or judge failed."""
ResultOrder = Literal["slowest", "costliest", "lowest"]


class ResultFilter(Request):
    """Which results of a run are meant, and in what order."""

    which: ResultKind | None = Field(
        default=None,
        description="`failed`: errored, or a score is below the pass mark; `unscored`: a score is missing.",
    )
    score_name: str | None = Field(default=None, description="The score that `which`, `below` and `lowest` are about.")
    below: float | str | None = Field(default=None, description="Items that score lower: 0.5, `80%`, `4/5`.")
    where: str | None = Field(default=None, description="Condition on metadata, such as `level in [1, 2]`.")
    sort: ResultOrder | None = Field(default=None, description="What comes first, instead of the order of the run.")

    @model_validator(mode="after")
    def _has_one_meaning(self) -> "ResultFilter":
        if self.which is not None and self.below is not None:
            raise ValueError("pass either which or below: `failed` takes the pass mark as limit")
        if self.score_name is not None and self.which in ("errored", "pending") and self.sort != "lowest":
            raise ValueError(f"a result is {self.which} whatever the score: omit score_name")
        if self.score_name is not None and (self.which, self.below, self.sort) == (None, None, None):
            raise ValueError("score_name chooses nothing by itself: pass below, which or sort too")
        if self.where is not None:
            from lfexp_mcp.services.metadata_conditions import parse_conditions

            parse_conditions(self.where)
        if self.below is not None:
            from lfexp_mcp.scores.limits import parse_limit

            if not parse_limit(str(self.below)).value > 0:
                raise ValueError(f"no score lies below {self.below}")
        return self

    @property
    def digest(self) -> str:
        """Tells filters apart, for cursors; empty for the one that leaves all results in the order of the run."""
        asked = self.model_dump(include=set(ResultFilter.model_fields), exclude_defaults=True)
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8] if asked else ""


class _RunPage(Request):
    dataset: DatasetName
    run_name: RunName
    item_id: str | None = Field(default=None, description="Only this item, whole, with what its task did (trace).")
    limit: PageSize = 20
    cursor: Cursor = None
    wait_seconds: float = Field(
        default=0, ge=0, le=3600, description="Seconds to wait for completion; 45 is a good wait."
    )
    detail: ShownDetail = "summary"


class GetRunRequest(ResultFilter, _RunPage):
    """A run with a page of its items."""

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "GetRunRequest":
        if self.item_id is not None and (self.digest or self.cursor is not None):
            raise ValueError("an item is shown by itself: pass item_id without a filter, sort or cursor")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the service: what chooses and sorts results goes together."""
        names = ResultFilter.model_fields
        return {name: value for name, value in self if name not in names} | {"results": self}
