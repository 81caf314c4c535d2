"""What a project defines ahead of its runs, besides datasets: prompts, score configs, prices."""

from collections.abc import Sequence
from urllib.parse import quote

from langfuse.api import ChatMessage, CreateChatPromptRequest, CreateChatPromptType, CreateTextPromptRequest
from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, RejectedError, name_some
from lfexp_mcp.gateway import decoding
from lfexp_mcp.gateway.reader import NO_SDK_RETRIES, PAGE, Reader
from lfexp_mcp.gateway.records import (
    ModelPrice,
    Prompt,
    PromptInfo,
    PromptMessage,
    ScoreConfig,
)

HOW_TO_MAKE_A_PROMPT = "Name one that there is. A judge is made with create_judge; any other prompt in Langfuse."
"""What to do where a prompt is missing."""


class Definitions(Reader):
    """Reads and makes what a project defines besides datasets."""

    async def prompts(self) -> list[PromptInfo]:
        """Return the names, versions and labels of all prompts."""
        rows = await self._all_pages(
            "list the prompts",
            lambda page: self._api.prompts.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_prompt_info(row) for row in rows]

    async def prompt(self, name: str, *, version: int | None = None, label: str | None = None) -> Prompt:
        """Return one version of a prompt: by number, by label, or the one in production.

        Raises:
            NotFoundError: There is none; the text names the prompts nearest.
        """
        try:
            row = await self._call(
                f"read prompt {name!r}",
                lambda: self._api.prompts.get(
                    quote(name, safe=""), version=version, label=label, request_options=NO_SDK_RETRIES
                ),
            )
        except RejectedError as refused:
            if refused.status != 404:
                raise
            which = f" with version {version}" if version else f" with label {(label or 'production')!r}"
            known = {prompt.name: prompt for prompt in await self.prompts()}
            if name in known:
                raise _other_versions(known[name], which) from refused
            raise NotFoundError.of("prompt", name, known, HOW_TO_MAKE_A_PROMPT) from refused
        return decoding.decode_prompt(row)

    async def create_prompt(
        self,
        name: str,
        prompt: str | Sequence[PromptMessage],
        *,
        config: dict[str, JsonValue] | None = None,
        labels: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> Prompt:
        """Create a prompt, or a new version of the one that has the name."""
        request: CreateTextPromptRequest | CreateChatPromptRequest
        if isinstance(prompt, str):
            request = CreateTextPromptRequest(
                name=name, prompt=prompt, config=config, labels=list(labels), tags=list(tags)
            )
        else:
            request = CreateChatPromptRequest(
                type=CreateChatPromptType("chat"),
                name=name,
                prompt=[ChatMessage(role=message.role, content=message.content) for message in prompt],
                config=config,
                labels=list(labels),
                tags=list(tags),
            )
        row = await self._call(
            f"create prompt {name!r}",
            lambda: self._api.prompts.create(request=request, request_options=NO_SDK_RETRIES),
        )
        return decoding.decode_prompt(row)

    async def score_configs(self) -> list[ScoreConfig]:
        """Return the score configs that are not archived, newest first."""
        rows = await self._all_pages(
            "list the score configs",
            lambda page: self._api.score_configs.get(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_score_config(row) for row in rows if not row.is_archived]

    async def model_prices(self) -> list[ModelPrice]:
        """Return Langfuse's model table: the project's own rows first, since they win over Langfuse's."""
        rows = await self._all_pages(
            "read the model prices",
            lambda page: self._api.models.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_model(row) for row in sorted(rows, key=lambda row: row.is_langfuse_managed)]


def _other_versions(prompt: PromptInfo, which: str) -> NotFoundError:
    return NotFoundError(
        f"Prompt {prompt.name!r} exists, but not{which}. Name one that it has: "
        f"version {name_some(sorted(prompt.versions, reverse=True))}; label {name_some(sorted(prompt.labels))}."
    )
