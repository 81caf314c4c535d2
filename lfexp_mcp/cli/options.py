"""Flags that several commands take."""

import json
from typing import Annotated, Literal

import typer
from pydantic import JsonValue

from lfexp_mcp.errors import UsageError

Dataset = Annotated[str, typer.Option("--dataset", help="Name of the dataset.")]
RunName = Annotated[str, typer.Option("--run-name", help="Name of the run.")]
ScoreName = Annotated[str | None, typer.Option("--score-name", help="Only this score.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on from a previous page.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="Entries to show.")]
DetailName = Literal["summary", "full"]
Detail = Annotated[DetailName, typer.Option("--detail", help="`full` cuts no text.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the model that the MCP tool returns.")]


def json_object(flag: str, text: str | None) -> dict[str, JsonValue] | None:
    """Read a flag that takes a JSON object.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    try:
        value: JsonValue = json.loads(text)
    except ValueError as error:
        raise UsageError(f'{flag} is no JSON ({error}). Pass an object such as \'{{"key": "value"}}\'.') from None
    if not isinstance(value, dict):
        raise UsageError(f'{flag} is no JSON object. Pass one such as \'{{"key": "value"}}\'.')
    return value


def json_or_text(text: str) -> JsonValue:
    """Read an object or list as JSON, and anything else as the text that it is."""
    if text.lstrip().startswith(("{", "[")):
        try:
            value: JsonValue = json.loads(text)
        except ValueError:
            return text
        return value
    return text
