"""Confidence intervals, and estimates with one."""

from typing import NamedTuple

from pydantic import GetJsonSchemaHandler, JsonValue
from pydantic_core import CoreSchema


class Interval(NamedTuple):
    """A confidence interval, at 95% unless another level is named; `[low, high]` in answers."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    def within(self, margin: float) -> bool:
        """Whether every value inside is smaller than `margin` in size."""
        return -margin < self.low and self.high < margin

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, JsonValue]:
        return {"type": "array"}


class Estimate(NamedTuple):
    """A value with its 95% confidence interval; `[value, low, high]` in answers."""

    value: float
    low: float
    high: float

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, JsonValue]:
        return {"type": "array", "description": "Value, then its 95% interval."}
