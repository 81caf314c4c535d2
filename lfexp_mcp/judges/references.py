"""How a prompt is named: `judge-tone`, `judge-tone@production`, `judge-tone:3`."""

import re
from dataclasses import dataclass

_REFERENCE = re.compile(r"^(?P<name>.+?)(?::(?P<version>\d{1,9})|@(?P<label>[a-z0-9_.-]+))?$")


@dataclass(frozen=True, slots=True)
class PromptReference:
    """A prompt, or one version of it."""

    name: str
    version: int | None = None
    label: str | None = None


def parse_reference(text: str) -> PromptReference:
    """Read a prompt's name with an optional version or label.

    Args:
        text: `name`, `name:version` or `name@label`. Without either, Langfuse gives the version labelled
            `production`.
    """
    match = _REFERENCE.match(text.strip())
    if match is None:
        return PromptReference(text)
    version = match["version"]
    return PromptReference(match["name"], int(version) if version else None, match["label"])
