"""Prompts."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, RejectedError, name_some
from lfexp_mcp.gateway.records import Prompt, PromptInfo
from lfexp_mcp.gateway.transport import Transport
from lfexp_mcp.model import NextStep, PromptMessage, ToolName


class Prompts:
    """Reads and makes prompts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def all(self) -> list[PromptInfo]:
        """Return the names, versions and labels of all prompts."""
        return await self._transport.all_pages("list the prompts", "/v2/prompts", PromptInfo)

    async def get(self, name: str, *, version: int | None = None, label: str | None = None) -> Prompt:
        """Return one version of a prompt: by number, by label, or the one in production.

        Raises:
            NotFoundError: There is none; the text names the nearest prompts.
        """
        path, query = f"/v2/prompts/{quote(name, safe='')}", {"version": version, "label": label}
        try:
            return await self._transport.get(f"read prompt {name!r}", path, Prompt, query)
        except RejectedError as refused:
            if refused.status != 404:
                raise
            which = f" with version {version}" if version else f" with label {(label or 'production')!r}"
            known = {prompt.name: prompt for prompt in await self.all()}
            if name in known:
                raise _other_versions(known[name], which) from refused
            raise unknown_prompt(name, known) from refused

    async def create(
        self,
        name: str,
        prompt: str | Sequence[PromptMessage],
        *,
        config: dict[str, JsonValue] | None = None,
        labels: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> Prompt:
        """Create a prompt, or a new version of the one that has the name."""
        body: dict[str, JsonValue] = {"name": name, "config": config, "labels": list(labels), "tags": list(tags)}
        if isinstance(prompt, str):
            body |= {"type": "text", "prompt": prompt}
        else:
            messages: list[JsonValue] = [{"role": message.role, "content": message.content} for message in prompt]
            body |= {"type": "chat", "prompt": messages}
        return await self._transport.post(f"create prompt {name!r}", "/v2/prompts", Prompt, body)


def _other_versions(prompt: PromptInfo, which: str) -> NotFoundError:
    see = NextStep("list_judges", {"judge": prompt.name}, "See its versions.")
    return NotFoundError(
        f"Prompt {prompt.name!r} exists, but not{which}. Name one that it has: "
        f"version {name_some(sorted(prompt.versions, reverse=True))}; label {name_some(sorted(prompt.labels))}.",
        next=[see] if prompt.name.startswith("judge-") else [],
    )


def unknown_prompt(name: str, known: Iterable[str]) -> NotFoundError:
    """Return the error of a prompt that does not exist."""
    is_judge = name.startswith("judge-")
    create: ToolName = "create_judge" if is_judge else "create_prompt"
    steps = [NextStep(create, {"name": name, "prompt": "<text>"}, "Create it.")] if name.strip() else []
    if is_judge:
        steps.append(NextStep("list_judges", {}, "See which judges there are."))
    return NotFoundError.of("prompt", name, known, next=steps)
