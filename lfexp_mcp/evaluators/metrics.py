"""Evaluators of what a result took: time and money."""

import math
from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from lfexp_mcp.evaluators.base import BuiltIn, UnscoredError
from lfexp_mcp.model import MODEL_CALLS, Evaluation, Trace

ROUNDING = Decimal("1e-12")
"""What sums of prices may be off by."""


class _Metric(BuiltIn):
    """A measure of which less is better; with a limit, whether it is kept."""

    measured_in: ClassVar[str]

    @property
    def limit(self) -> float | None:
        """What it may be at most."""
        raise NotImplementedError

    @property
    def scale(self) -> str | None:
        """See `BuiltIn`."""
        return None if self.limit is None else "true/false"

    @property
    def unit(self) -> str | None:
        """See `BuiltIn`."""
        return self.measured_in if self.limit is None else None

    @property
    def lower_is_better(self) -> bool | None:
        """See `BuiltIn`."""
        return True if self.limit is None else None

    def _measured(self, value: float | None, unknown: str) -> Evaluation:
        if value is None or not math.isfinite(value) or value < 0:
            raise UnscoredError(unknown)
        if self.limit is None:
            return self.evaluation(value)
        is_kept = Decimal(repr(value)) <= Decimal(repr(self.limit)) + ROUNDING
        return self.evaluation(is_kept, f"{value:.6g} {self.measured_in} of {self.limit:g} {self.measured_in}")


class Latency(_Metric):
    """The seconds that the task took, in the attempt that succeeded; with `max_seconds`, whether they are kept."""

    evaluator: ClassVar[str] = "latency"
    main_option: ClassVar[str | None] = "max_seconds"
    measured_in: ClassVar[str] = "s"

    max_seconds: float | None = Field(default=None, gt=0)

    @property
    def limit(self) -> float | None:
        """See `_Metric`."""
        return self.max_seconds

    def __call__(self, *, seconds: float | None) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        return self._measured(seconds, "How long the task took is not known.")


class Cost(_Metric):
    """What the model calls in the task's trace cost, in USD; with `max_usd`, whether that is kept.

    The calls of evaluators and judges do not count. A task without a traced model call is unscored, since it may have
    made one that is not traced.
    """

    evaluator: ClassVar[str] = "cost"
    main_option: ClassVar[str | None] = "max_usd"
    measured_in: ClassVar[str] = "USD"

    max_usd: float | None = Field(default=None, ge=0)

    @property
    def limit(self) -> float | None:
        """See `_Metric`."""
        return self.max_usd

    def __call__(self, *, trace: Trace) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        calls = [each for each in trace.observations if each.type in MODEL_CALLS]
        if not calls:
            raise UnscoredError("The trace has no model call, so the cost is not known.")
        known = math.fsum(each.cost for each in calls if each.cost is not None)
        unknown = sorted({each.model or "a model without a name" for each in calls if each.cost is None})
        if unknown and self.max_usd is not None and known > self.max_usd:
            return self.evaluation(False, f"At least {known:.6g} USD of {self.max_usd:g} USD")
        return self._measured(
            None if unknown else known, f"The cost of calls to {', '.join(unknown[:3])} is not known."
        )
