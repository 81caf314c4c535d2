"""What built-in evaluators have in common: options, a maker, a score."""

import hashlib
import json
from collections.abc import Callable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.model import BuiltInMaker, Evaluation

MAX_OPTION_CHARS = 200
"""Of an option as its maker records it with every score; a longer one is recorded by its hash."""


class UnscoredError(LfexpError):
    """An evaluator cannot score an item: its reference is missing, or cannot be compared with."""


class BuiltIn(BaseModel):
    """A built-in evaluator; its fields are its options.

    It is called as an evaluator of a script is, with the arguments that it names, and raises an `UnscoredError` if
    there is nothing to score an item by. Outputs are scored as they are stored: as JSON.

    Attributes:
        evaluator: Its name in a run's `evaluators`.
        version: Of what it computes: scores of two versions are not pooled.
        main_option: The option that is meant where none is named, as in `regex:^A`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    evaluator: ClassVar[str]
    version: ClassVar[int] = 1
    main_option: ClassVar[str | None] = None
    __call__: ClassVar[Callable[..., Evaluation]]

    score_name: str | None = Field(default=None, min_length=1, max_length=200)
    """Name of the score; defaults to the evaluator's name."""

    @property
    def scale(self) -> str | None:
        """The scale of its scores, as an evaluator of a script declares it; so are the next two."""
        return "true/false"

    @property
    def unit(self) -> str | None:
        """The unit of scores without a scale."""
        return None

    @property
    def lower_is_better(self) -> bool | None:
        """The direction of scores without a scale."""
        return None

    @property
    def takes_trace(self) -> bool:
        """Whether it looks at the trace, if it names that argument."""
        return True

    @property
    def name(self) -> str:
        """The name of its scores."""
        return self.score_name or self.evaluator

    @property
    def maker(self) -> BuiltInMaker:
        """Who makes its scores: other options are another maker."""
        given = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"score_name"})
        options = {name: _recorded(value) for name, value in given.items()}
        text = json.dumps(options, ensure_ascii=False, sort_keys=True) if options else None
        return BuiltInMaker(self.evaluator, self.version, text)

    def evaluation(self, value: float | bool, comment: str | None = None) -> Evaluation:
        """Return its score of one item."""
        return Evaluation(self.name, value, "BOOLEAN" if isinstance(value, bool) else "NUMERIC", comment)


def _recorded(value: JsonValue) -> JsonValue:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= MAX_OPTION_CHARS:
        return value
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def require(expected_output: JsonValue) -> JsonValue:
    """Return an item's expected output.

    Raises:
        UnscoredError: It has none.
    """
    if expected_output is None:
        raise UnscoredError("The item has no expected_output.")
    return expected_output
