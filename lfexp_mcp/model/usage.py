"""What the models called by judges and prompt tasks used."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What calls to one model used."""

    calls: int = 0
    """HTTP requests made, those that failed included."""
    retries: int = 0
    """Those of them that repeated one that had failed."""
    asked_again: int = 0
    """Those of them that asked once more because an answer could not be used."""
    unmetered: int = 0
    """Answers whose tokens the provider did not tell."""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    """Time of the calls that were answered, added up."""

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
    """A judge, or a task that is a prompt, and the model it calls."""

    name: str
    """The judge's score, or the task's prompt."""
    model: str
    role: Literal["judge", "task"] = "judge"
