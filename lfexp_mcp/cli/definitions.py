"""Commands that create and show datasets, judges and prompts."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from lfexp_mcp.cli.experiments import in_workspace
from lfexp_mcp.cli.flags import AsJson, command, json_object
from lfexp_mcp.cli.output import print_answer, print_note
from lfexp_mcp.errors import UsageError
from lfexp_mcp.files import MAX_PROMPT_BYTES, open_regular
from lfexp_mcp.services.definitions import FieldNames, ItemProgress, NewItem
from lfexp_mcp.services.requests import CollectRequest, GetDatasetRequest, ListDatasetsRequest, ListJudgesRequest, build
from lfexp_mcp.strict_json import json_or_text

Metadata = Annotated[str | None, typer.Option("--metadata", help="A JSON object.")]
Fields = Annotated[
    str | None,
    typer.Option("--fields", help='Where the file names them otherwise: {"input": "question"}.'),
]
ItemsFile = Annotated[Path | None, typer.Option("--items-file", help="A .jsonl or .csv file of items.")]


@command
def create_dataset(
    request: CollectRequest,
    name: Annotated[str, typer.Option("--name", help="Made if it does not exist, else added to.")],
    description: Annotated[str | None, typer.Option("--description", help="What the items are.")] = None,
    items_file: ItemsFile = None,
    fields: Fields = None,
    metadata: Metadata = None,
    holdout: Annotated[
        str | None, typer.Option("--holdout", help="Items to set aside unseen: 0.3, or split=test.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a dataset, with the items of a file, of a run, or of production traces."""
    from lfexp_mcp.services.collection import fill_dataset

    names, decoded = _field_names(fields), json_object("--metadata", metadata)
    answer = in_workspace(
        lambda workspace: fill_dataset(
            workspace,
            name,
            request,
            description=description,
            items_file=items_file,
            fields=names,
            metadata=decoded,
            holdout=holdout,
            on_progress=_note_progress,
        )
    )
    print_answer(answer, as_json)


def add_items(
    dataset: Annotated[str, typer.Option("--dataset", help="Name of the dataset.")],
    input_text: Annotated[
        str | None, typer.Option("--input", help="What the task gets: text, or a JSON object or list.")
    ] = None,
    expected_output: Annotated[
        str | None, typer.Option("--expected-output", help="The reference, in the same form.")
    ] = None,
    metadata: Metadata = None,
    items_file: ItemsFile = None,
    fields: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Add one item, or the items of a file, to a dataset."""
    from lfexp_mcp.services.definitions.datasets import create_dataset

    of_one, of_file = (input_text, expected_output, metadata), (items_file, fields)
    if (input_text is None) == (items_file is None) or (any(of_one) and any(of_file)):
        raise UsageError(
            "Pass either --input, with --expected-output and --metadata, for one item, or --items-file, with --fields, "
            "for many."
        )
    items = [] if input_text is None else [_item(input_text, expected_output, metadata)]
    names = _field_names(fields)
    answer = in_workspace(
        lambda workspace: create_dataset(
            workspace, dataset, items=items, items_file=items_file, fields=names, on_progress=_note_progress
        )
    )
    print_answer(answer, as_json)


Prompt = Annotated[str | None, typer.Option("--prompt", help="The prompt's text.")]
PromptFile = Annotated[Path | None, typer.Option("--prompt-file", help="File that holds it.")]
Labels = Annotated[list[str] | None, typer.Option("--labels", help="Such as `production`.")]


def create_judge(
    name: Annotated[str, typer.Option("--name", help="Starts with `judge-`.")],
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    config: Annotated[str | None, typer.Option("--config", help="A JSON object: scale, provider, model.")] = None,
    labels: Labels = None,
    as_json: AsJson = False,
) -> None:
    """Create a judge prompt, or a new version of one."""
    from lfexp_mcp.services.definitions.judges import create_judge

    text = _prompt_text(prompt, prompt_file)
    decoded = json_object("--config", config)
    answer = in_workspace(lambda workspace: create_judge(workspace, name, text, config=decoded, labels=labels))
    print_answer(answer, as_json)


def create_prompt(
    name: Annotated[str, typer.Option("--name", help="Pass it to `run --task-prompt`.")],
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    config: Annotated[str | None, typer.Option("--config", help="A JSON object: provider, model.")] = None,
    labels: Labels = None,
    as_json: AsJson = False,
) -> None:
    """Create a prompt that is a task, or a new version of one."""
    from lfexp_mcp.services.definitions.prompts import create_prompt

    text = _prompt_text(prompt, prompt_file)
    decoded = json_object("--config", config)
    answer = in_workspace(lambda workspace: create_prompt(workspace, name, text, config=decoded, labels=labels))
    print_answer(answer, as_json)


async def _note_progress(progress: ItemProgress) -> None:
    print_note(str(progress))


def _item(input_text: str, expected_output: str | None, metadata: str | None) -> NewItem:
    return build(
        NewItem,
        input=json_or_text(input_text),
        expected_output=None if expected_output is None else json_or_text(expected_output),
        metadata=json_object("--metadata", metadata),
    )


def _field_names(fields: str | None) -> FieldNames | None:
    if fields is None:
        return None
    try:
        return TypeAdapter(FieldNames).validate_json(fields)
    except ValidationError:
        raise UsageError(
            '--fields takes a JSON object such as \'{"input": "question", "expected_output": "answer"}\'; '
            "its keys are input, expected_output and id."
        ) from None


def _prompt_text(prompt: str | None, prompt_file: Path | None) -> str:
    if (prompt is None) == (prompt_file is None):
        raise UsageError("Pass the prompt, either with --prompt or with --prompt-file.")
    if prompt_file is None:
        return prompt or ""
    try:
        with open_regular(prompt_file, "prompt file", MAX_PROMPT_BYTES) as file:
            return file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The prompt file {prompt_file} cannot be read: {error}.") from None


@command
def list_datasets(request: ListDatasetsRequest, as_json: AsJson = False) -> None:
    """List the datasets, newest first, with their items counted and their last run."""
    from lfexp_mcp.services.catalog.datasets import list_datasets

    print_answer(in_workspace(lambda workspace: list_datasets(workspace, **dict(request))), as_json)


@command
def get_dataset(request: GetDatasetRequest, as_json: AsJson = False) -> None:
    """Show a dataset: its items, the keys and values of their metadata with counts, its runs."""
    from lfexp_mcp.services.catalog.datasets import get_dataset

    print_answer(in_workspace(lambda workspace: get_dataset(workspace, **dict(request))), as_json)


@command
def list_judges(request: ListJudgesRequest, as_json: AsJson = False) -> None:
    """List the judges with version, model and scale, or show one whole (`--judge judge-tone:3`)."""
    from lfexp_mcp.services.catalog.judges import list_judges

    print_answer(in_workspace(lambda workspace: list_judges(workspace, **dict(request))), as_json)
