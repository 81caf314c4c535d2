"""What judges and prompt tasks use of models."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What calls to one model used."""

    calls: int = 0
    """HTTP requests, failed ones included."""
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

    def __add__(self, other: "ModelUsage") -> "ModelUsage":
        return ModelUsage(
            self.calls + other.calls,
            self.retries + other.retries,
            self.asked_again + other.asked_again,
            self.unmetered + other.unmetered,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class ModelCaller:
    """A judge or prompt task, and the model that it calls."""

    name: str
    """The judge's score, or the task's prompt."""
    model: str
    role: Literal["judge", "task"] = "judge"
