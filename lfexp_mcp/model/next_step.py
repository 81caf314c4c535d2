"""Advice on what to call next, as data: tools and shell render it."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, JsonValue


@dataclass(frozen=True, slots=True)
class NextStep:
    """A call that makes sense now."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tool: str
    arguments: dict[str, JsonValue]
    why: str
