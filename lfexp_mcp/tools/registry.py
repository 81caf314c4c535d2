"""All tools of the server, with their titles, hints and schemas."""

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from mcp.types import ToolAnnotations
from pydantic import JsonValue

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.tools.definitions import create_dataset, create_judge
from lfexp_mcp.tools.experiments import (
    analyze_run,
    cancel_run,
    compare_runs,
    fetch_annotation_comments,
    get_run,
    list_runs,
    run_experiment,
)
from lfexp_mcp.tools.tool import ExperimentTool, ToolArguments

OUTPUT_SCHEMAS = Path(__file__).parent / "output_schemas"
"""A file per tool: deriving them from the answers' models takes longer than the rest of the start. A test derives them
and compares."""

JsonObject = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A function offered as a tool."""

    call: Callable[..., Awaitable[Answer]]
    title: str
    reads: bool = False
    """Whether it changes nothing."""
    destroys: bool = False
    """Whether it may overwrite or end something, itself or by the code that it runs."""
    bounded: bool = True
    """See `ExperimentTool`."""
    repeatable: bool = False
    """Whether calling it twice is the same as calling it once."""

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.call.__name__

    @property
    def answer(self) -> type[Answer]:
        """The model of its answers."""
        model: type[Answer] = inspect.signature(self.call).return_annotation
        return model

    def build(self) -> ExperimentTool:
        """Build the tool."""
        schema = json.loads((OUTPUT_SCHEMAS / f"{self.name}.json").read_text(encoding="utf-8"))
        arguments = ToolArguments.of(self.call, schema)
        return ExperimentTool(
            fn=self.call,
            name=self.name,
            title=self.title,
            description=inspect.cleandoc(self.call.__doc__ or ""),
            parameters=compact(arguments.arg_model.model_json_schema()),
            fn_metadata=arguments,
            is_async=True,
            context_kwarg="ctx",
            bounded=self.bounded,
            annotations=ToolAnnotations(
                read_only_hint=self.reads,
                destructive_hint=self.destroys,
                idempotent_hint=self.reads or self.repeatable,
                open_world_hint=True,
            ),
        )


def compact(schema: JsonObject) -> JsonObject:
    """Leave out the titles that Pydantic derives from names: a client pays for every token."""
    shown: JsonObject = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in ("properties", "$defs") and isinstance(value, dict):
            shown[key] = {name: _compacted(each) for name, each in value.items()}
        elif key in ("default", "enum", "const", "examples"):
            shown[key] = value
        else:
            shown[key] = _compacted(value)
    return shown


def _compacted(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return compact(value)
    if isinstance(value, list):
        return [_compacted(each) for each in value]
    return value


TOOLS = (
    ToolDefinition(run_experiment, "Run an experiment", destroys=True),
    ToolDefinition(get_run, "Read a run", reads=True),
    ToolDefinition(list_runs, "List runs", reads=True),
    ToolDefinition(compare_runs, "Compare runs", reads=True),
    ToolDefinition(analyze_run, "Analyze a run", reads=True),
    ToolDefinition(fetch_annotation_comments, "Read human comments", reads=True),
    ToolDefinition(cancel_run, "Cancel a run", destroys=True, repeatable=True),
    ToolDefinition(create_dataset, "Create or extend a dataset", destroys=True, repeatable=True, bounded=False),
    ToolDefinition(create_judge, "Create a judge", destroys=True),
)
"""In the order in which an agent needs them, the loop first."""
