"""Tools that put into Langfuse what an experiment needs, and list what is there."""

from pathlib import Path
from typing import Annotated

import anyio
from pydantic import Field, JsonValue

from lfexp_mcp.answers.catalog import DatasetAnswer, DatasetDetail, DatasetList, JudgeAnswer, JudgeList, PromptAnswer
from lfexp_mcp.errors import UnreachableError
from lfexp_mcp.services.definitions import FieldNames, HoldoutArgument, ItemProgress, NewItem, PromptMessage
from lfexp_mcp.services.requests import CollectRequest, GetDatasetRequest, ListDatasetsRequest, ListJudgesRequest
from lfexp_mcp.tools.questions import agreed, can_ask
from lfexp_mcp.tools.state import ToolContext, workspace_of

PromptLabels = Annotated[
    list[str] | None, Field(description="Of this version; `production`, which runs use, unless given.")
]
STALL_S = 50.0
"""How long making a dataset may go on without progress: several clients give up at 60 s."""


async def create_dataset(
    ctx: ToolContext,
    name: Annotated[str, Field(min_length=1, description="Made if it does not exist, else added to.")],
    request: CollectRequest,
    description: Annotated[str | None, Field(description="What the items are, and where from.")] = None,
    items: Annotated[list[NewItem] | None, Field(description="An item with a known id replaces it.")] = None,
    items_file: Annotated[
        str | None,
        Field(
            description="Absolute path of a .jsonl or .csv file (up to 1 GiB) with `input`, and optionally "
            "`expected_output`, `metadata`, `id`, as keys or columns; other keys go into the item's metadata."
        ),
    ] = None,
    fields: Annotated[
        FieldNames | None,
        Field(description='Where the file names them otherwise: `{"input": "question", "expected_output": "answer"}`.'),
    ] = None,
    metadata: Annotated[
        dict[str, JsonValue] | None,
        Field(description="The dataset's own; `judge_prompts` (a list of names) are its default judges."),
    ] = None,
    holdout: HoldoutArgument = None,
) -> DatasetAnswer:
    """Create a dataset, or add to one: given items, a file (for many), items of a run, or production traces.

    Answers with how many items this call stored and how many there are now. A broken line in the file stores nothing.
    """
    from lfexp_mcp.services.collection import fill_dataset

    reported = 0

    async def report(progress: ItemProgress) -> None:
        nonlocal reported
        stall.deadline = anyio.current_time() + STALL_S
        done = progress.checked + progress.stored
        # Progress has to increase from one notification to the next.
        if done > reported:
            reported = done
            total = None if progress.total is None else progress.checked + progress.total
            await ctx.report_progress(done, total, str(progress))

    with anyio.move_on_after(STALL_S) as stall:
        return await fill_dataset(
            await workspace_of(ctx),
            name,
            request,
            description=description,
            items=items,
            items_file=Path(items_file) if items_file else None,
            fields=fields,
            metadata=metadata,
            holdout=holdout,
            on_progress=report,
            agreed=agreed() if can_ask(ctx) else None,
        )
    raise UnreachableError(
        f"Langfuse has stored no item of dataset {name!r} for {STALL_S:.0f} s. What it stored before is kept; repeat "
        "the call, which stores no item twice. `lfexp-mcp doctor` tells about the server."
    )


async def create_judge(
    ctx: ToolContext,
    name: Annotated[str, Field(description="Starts with `judge-`; the rest is the score's name.")],
    prompt: Annotated[
        str | list[PromptMessage],
        Field(
            description="Text or chat messages with `{{input}}`, `{{output}}`, `{{expected_output}}`, `{{metadata}}`, "
            "`{{trace}}`, `{{tool_calls}}` "
            "or a key of the item's metadata; let it state the scale and ask for JSON "
            '`{"score": ..., "reasoning": "..."}`.'
        ),
    ],
    config: Annotated[
        dict[str, JsonValue] | None,
        Field(
            description="Stored with the prompt: `scale` (`0-10`, `1-5`, `percent`, `pass/fail`), `lower_is_better`, "
            "`categories`, `score_name`, `provider`, `model`, `temperature` and the like."
        ),
    ] = None,
    labels: PromptLabels = None,
) -> JudgeAnswer:
    """Create a judge, a Langfuse prompt by which a model scores outputs, or a new version of one.

    Answers with the version, the scale its replies are read on and where it was found, and the placeholders.
    """
    from lfexp_mcp.services.definitions.judges import create_judge

    return await create_judge(await workspace_of(ctx), name, prompt, config=config, labels=labels)


async def create_prompt(
    ctx: ToolContext,
    name: Annotated[str, Field(description="Not `judge-…`, which create_judge makes.")],
    prompt: Annotated[
        str | list[PromptMessage],
        Field(description="Text or chat messages with `{{input}}`, or the keys of an input that is an object."),
    ],
    config: Annotated[
        dict[str, JsonValue] | None, Field(description="`provider`, `model`, `temperature` and the like.")
    ] = None,
    labels: PromptLabels = None,
) -> PromptAnswer:
    """Create a Langfuse prompt that run_experiment runs as `task_prompt`, or a new version of one."""
    from lfexp_mcp.services.definitions.prompts import create_prompt

    return await create_prompt(await workspace_of(ctx), name, prompt, config=config, labels=labels)


async def list_datasets(ctx: ToolContext, request: ListDatasetsRequest) -> DatasetList:
    """List the datasets, newest first: names, descriptions, how many items, and the last run."""
    from lfexp_mcp.services.catalog.datasets import list_datasets

    return await list_datasets(await workspace_of(ctx), **dict(request))


async def get_dataset(ctx: ToolContext, request: GetDatasetRequest) -> DatasetDetail:
    """Look at a dataset before you run over it: items, the keys and values of their metadata with counts, its runs."""
    from lfexp_mcp.services.catalog.datasets import get_dataset

    return await get_dataset(await workspace_of(ctx), **dict(request))


async def list_judges(ctx: ToolContext, request: ListJudgesRequest) -> JudgeList:
    """List the judges (prompts named `judge-*`) with version, model, scale and where it was found; or read one."""
    from lfexp_mcp.services.catalog.judges import list_judges

    return await list_judges(await workspace_of(ctx), **dict(request))
