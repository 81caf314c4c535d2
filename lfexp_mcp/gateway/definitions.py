"""What a project defines ahead of its runs: datasets, prompts, score configs, prices."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

from langfuse.api import ChatMessage, CreateChatPromptRequest, CreateChatPromptType, CreateTextPromptRequest
from pydantic import JsonValue

from lfexp_mcp.errors import NotFoundError, RejectedError, UsageError, name_some
from lfexp_mcp.gateway import decoding
from lfexp_mcp.gateway.reader import NO_SDK_RETRIES, PAGE, Reader
from lfexp_mcp.gateway.records import (
    Dataset,
    DatasetItem,
    ModelPrice,
    Prompt,
    PromptInfo,
    PromptMessage,
    ScoreConfig,
)

HOW_TO_MAKE_A_PROMPT = "Name one that there is. A judge is made with create_judge; any other prompt in Langfuse."
"""What to do where a prompt is missing."""


class Definitions(Reader):
    """Reads and makes what a project defines."""

    async def datasets(self) -> list[Dataset]:
        """Return all datasets, newest first."""
        rows = await self._all_pages(
            "list the datasets",
            lambda page: self._api.datasets.list(page=page, limit=PAGE, request_options=NO_SDK_RETRIES),
        )
        return [decoding.decode_dataset(row) for row in rows]

    async def dataset(self, name: str) -> Dataset:
        """Return the dataset of that name.

        Raises:
            NotFoundError: There is none; the text names those nearest.
        """
        try:
            row = await self._call(
                f"read dataset {name!r}",
                lambda: self._api.datasets.get(quote(name, safe=""), request_options=NO_SDK_RETRIES),
            )
        except RejectedError as refused:
            if refused.status != 404:
                raise
            known = [dataset.name for dataset in await self.datasets()]
            raise NotFoundError.of(
                "dataset", name, known, "Make it with create_dataset, or pass the name of one that exists."
            ) from refused
        return decoding.decode_dataset(row)

    async def dataset_items(self, dataset_name: str, version: datetime | None = None) -> list[DatasetItem]:
        """Return a dataset's active items, oldest first, as they are now or were at `version`."""
        rows = await self._all_pages(
            f"read the items of dataset {dataset_name!r}",
            lambda page: self._api.dataset_items.list(
                dataset_name=dataset_name,
                version=version,
                page=page,
                limit=PAGE,
                request_options=NO_SDK_RETRIES,
            ),
        )
        return [decoding.decode_dataset_item(row) for row in reversed(rows) if row.status.value == "ACTIVE"]

    async def upsert_dataset(
        self, name: str, description: str | None = None, metadata: dict[str, JsonValue] | None = None
    ) -> Dataset:
        """Create a dataset, or change the description and metadata of the one that has the name."""
        given = {
            key: value for key, value in (("description", description), ("metadata", metadata)) if value is not None
        }
        row = await self._call(
            f"create dataset {name!r}",
            lambda: self._api.datasets.create(name=name, request_options=NO_SDK_RETRIES, **cast("Any", given)),
        )
        return decoding.decode_dataset(row)

    async def upsert_dataset_item(
        self,
        dataset_name: str,
        *,
        id: str | None,
        input: JsonValue,
        expected_output: JsonValue = None,
        metadata: dict[str, JsonValue] | None = None,
        source_trace_id: str | None = None,
    ) -> DatasetItem:
        """Create a dataset item, or replace the one that has the id.

        Raises:
            UsageError: The id belongs to another dataset of the project.
        """
        try:
            row = await self._call(
                f"store item {id!r} of dataset {dataset_name!r}",
                lambda: self._api.dataset_items.create(
                    dataset_name=dataset_name,
                    id=id,
                    input=input,
                    expected_output=expected_output,
                    metadata=metadata,
                    source_trace_id=source_trace_id,
                    request_options=NO_SDK_RETRIES,
                ),
            )
        except RejectedError as refused:
            if refused.status != 409:
                raise
            raise UsageError(
                f"Item id {id!r} belongs to another dataset of this project already. "
                "Give the item another id, or leave the id out."
            ) from refused
        return decoding.decode_dataset_item(row)

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
