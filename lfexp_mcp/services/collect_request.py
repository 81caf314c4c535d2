"""What `create_dataset` is to collect: items of a run, or production traces."""

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from lfexp_mcp.model import ItemChoice
from lfexp_mcp.services.item_choice import is_condition, parse_choice
from lfexp_mcp.services.requests import Request
from lfexp_mcp.services.run_requests import DEFAULT_SAMPLE_SIZE, MAX_SAMPLE_SIZE
from lfexp_mcp.services.trace_filter import TracesArgument

WORDS_FOR_RESULTS: Mapping[str, Literal["failed", "errored"]] = {
    "failing": "failed",
    "failed": "failed",
    "failures": "failed",
    "errored": "errored",
    "errors": "errored",
}


class CollectRequest(Request):
    """What to collect into a dataset: items of a run, or production traces; without either, nothing."""

    dataset: str | None = Field(default=None, description="Of `from_run`.")
    from_run: str | None = Field(default=None, description="Copy this run's items, linked to its traces.")
    only: JsonValue = Field(
        default=None,
        description='Which of them: `failing` (score below 0.7, or error), `errored`, `{"score": "tone", "below": '
        '"3/5"}`, or as `items` of run_experiment.',
    )
    traces: TracesArgument = Field(
        default=None,
        description="Copy the newest production traces with all of: `name`, `tags`, `user`, `session`, `environment`, "
        "`where` (on metadata: `plan=pro`), `since`, `until`, `score` and `below`, `has_comment` (true), `level` "
        '("ERROR", of any observation).',
    )
    sample_size: int = Field(default=DEFAULT_SAMPLE_SIZE, ge=1, le=MAX_SAMPLE_SIZE, description="How many `traces`.")

    @property
    def collects(self) -> bool:
        """Whether anything is to be collected."""
        return self.from_run is not None or self.traces is not None

    @property
    def choice(self) -> ItemChoice:
        """Which items of the run.

        Raises:
            ValueError: `only` cannot be read.
        """
        only = self.only.strip() if isinstance(self.only, str) else self.only
        if isinstance(only, str) and (only.startswith(("{", "[")) or only.isdecimal()):
            only = json.loads(only)
        word = only.casefold() if isinstance(only, str) else None
        if only is None or word in ("all", "*"):
            return ItemChoice()
        if word is not None and word in WORDS_FOR_RESULTS:
            only = {"which": WORDS_FOR_RESULTS[word]}
        if isinstance(only, dict):
            if only.get("run", self.from_run) != self.from_run:
                raise ValueError(f"it is about run {only['run']!r}, and from_run names {self.from_run!r}")
            by_result = only.keys() & {"which", "score", "below"}
            return parse_choice({**only, "run": self.from_run} if by_result else only) or ItemChoice()
        if isinstance(only, str) and not is_condition(only):
            words = ", ".join(f"`{word}`" for word in WORDS_FOR_RESULTS)
            raise ValueError(f"{only!r} is not {words}, `all`, a condition on metadata or a list of ids")
        return parse_choice(only) or ItemChoice()

    @model_validator(mode="after")
    def _fits_together(self) -> "CollectRequest":
        if self.from_run is not None and self.traces is not None:
            raise ValueError("pass either from_run or traces: items come from one of them")
        if self.from_run is not None and not self.dataset:
            raise ValueError("from_run: name the dataset of the run too, as `dataset`")
        if self.from_run is None and (self.dataset is not None or self.only is not None):
            raise ValueError("dataset and only are about a run: name it as `from_run`")
        if self.traces is None and self.sample_size != DEFAULT_SAMPLE_SIZE:
            raise ValueError("sample_size needs traces; `only` takes a number of a run's items")
        try:
            _ = self.choice
        except (ValueError, RecursionError) as error:
            raise ValueError(f"only: {error}") from None
        return self
