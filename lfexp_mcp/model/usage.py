"""What judges and prompt tasks use of models."""

from dataclasses import dataclass, fields
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What calls to one model used."""

    calls: int = 0
    """HTTP requests, failed ones included, and requests of batches."""
    retries: int = 0
    """Calls that repeated a failed one."""
    asked_again: int = 0
    """Calls made because an answer could not be used."""
    unmetered: int = 0
    """Answers without a token count."""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """Total time of the answered calls."""
    batched: int = 0
    """Those of the calls that were requests of batches."""
    batched_input_tokens: int = 0
    """Those of the input tokens that cost the price of batches, which is half the usual one."""
    batched_output_tokens: int = 0

    def __add__(self, other: "ModelUsage") -> "ModelUsage":
        return ModelUsage(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class ModelCaller:
    """A judge or prompt task, and the model that it calls."""

    name: str
    """The judge's score, or the task's prompt."""
    model: str
    role: Literal["judge", "task"] = "judge"
