"""Prompts of Langfuse: how a caller names one, which version is read, and what its messages are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Gateway, Prompt, PromptInfo, unknown_prompt
from lfexp_mcp.model import Message, PromptMessage, Role

_REFERENCE = re.compile(r"^(?P<name>.+?)(?::(?P<version>\d{1,9})|@(?P<label>[a-z0-9_.-]+))?$")
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class PromptReference:
    """A prompt, or one version of it."""

    name: str
    version: int | None = None
    label: str | None = None


def parse_reference(text: str) -> PromptReference:
    """Parse the name of a prompt with an optional version or label.

    Args:
        text: `name`, `name:version` or `name@label`, such as `judge-tone`, `judge-tone:3`, `judge-tone@production`.
    """
    match = _REFERENCE.match(text.strip())
    if match is None:
        return PromptReference(text)
    version = match["version"]
    return PromptReference(match["name"], int(version) if version else None, match["label"])


def resolve_reference(text: str, known: Mapping[str, PromptInfo]) -> PromptReference:
    """Parse a reference, unless a prompt has exactly this name, which may look like one with a version."""
    return PromptReference(text) if text in known else parse_reference(text)


async def read_prompt(gateway: Gateway, reference: PromptReference, known: Mapping[str, PromptInfo]) -> Prompt:
    """Read the version of a prompt that is meant; by default the one labelled `production`, else the latest.

    Raises:
        NotFoundError: There is no such prompt or version.
    """
    info = known.get(reference.name)
    if info is None:
        raise unknown_prompt(reference.name, known)
    label = reference.label
    if label is None and reference.version is None and "production" not in info.labels:
        label = "latest"
    return await gateway.prompts.get(reference.name, version=reference.version, label=label)


def prompt_messages(prompt: Prompt) -> tuple[Message, ...]:
    """Return the messages of a prompt; a text prompt is one user message.

    Raises:
        JudgeError: It is empty, or has a message of an unknown role.
    """
    source = (PromptMessage("user", prompt.prompt),) if isinstance(prompt.prompt, str) else prompt.prompt
    messages: list[Message] = []
    for message in source:
        role = _ROLES.get(message.role.lower())
        if role is None:
            raise JudgeError(
                f"Prompt {prompt.name!r} has a message of the role {message.role!r}: use system, user or assistant."
            )
        messages.append(Message(role, message.content))
    if not any(message.content.strip() for message in messages):
        raise JudgeError(f"Prompt {prompt.name!r} is empty: write the instructions for the model.")
    return tuple(messages)
