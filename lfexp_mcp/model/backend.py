"""The Langfuse that holds the results."""

from dataclasses import dataclass
from typing import Literal

BackendKind = Literal["embedded", "cloud", "self-hosted"]


@dataclass(slots=True)
class Backend:
    """A Langfuse server; as text, what answers say of it."""

    kind: BackendKind
    url: str
    """Changes when the embedded store is started again on another port."""
    notes: tuple[str, ...] = ()
    """Of the embedded store: how to use a Langfuse account instead. Said where something is stored or not found."""

    def __str__(self) -> str:
        """The URL, and that it is the embedded store if it is."""
        return f"embedded store at {self.url}" if self.kind == "embedded" else self.url
