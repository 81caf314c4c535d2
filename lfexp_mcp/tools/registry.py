"""All tools of the server, with their titles, hints and schemas."""

import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from mcp.types import ToolAnnotations
from pydantic import JsonValue

from lfexp_mcp.answers.base import Answer, ChartedAnswer
from lfexp_mcp.tools.definitions import (
    create_dataset,
    create_judge,
    create_prompt,
    get_dataset,
    list_datasets,
    list_judges,
)
from lfexp_mcp.tools.experiments import (
    analyze_run,
    cancel_run,
    check_judge,
    compare_runs,
    confirm_run,
    fetch_annotation_comments,
    get_run,
    judge_pairs,
    list_runs,
    request_labels,
    run_experiment,
    score_run,
)
from lfexp_mcp.tools.pages import VIEW_META
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
    whole_by: str | None = None
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
        parameters = arguments.arg_model.model_json_schema()
        parameters.get("$defs", {}).pop("JsonValue", None)
        return ExperimentTool(
            fn=self.call,
            name=self.name,
            title=self.title,
            description=inspect.cleandoc(self.call.__doc__ or ""),
            parameters=compact(parameters),
            fn_metadata=arguments,
            is_async=True,
            context_kwarg="ctx",
            bounded=self.bounded,
            whole_by=self.whole_by,
            meta=VIEW_META if issubclass(self.answer, ChartedAnswer) else None,
            annotations=ToolAnnotations(
                read_only_hint=self.reads,
                destructive_hint=self.destroys,
                idempotent_hint=self.reads or self.repeatable,
                open_world_hint=True,
            ),
        )


_NULL: JsonValue = {"type": "null"}
_ANYTHING = "#/$defs/JsonValue"


def compact(schema: JsonObject) -> JsonObject:
    """Leave out what nobody needs to make a call, since a client pays for every token.

    These are the titles that Pydantic derives from names, that an optional argument may also be null, and that a JSON
    value may be anything.
    """
    members = schema.get("anyOf")
    if isinstance(members, list) and _NULL in members:
        rest = [member for member in members if member != _NULL]
        only = rest[0] if len(rest) == 1 and isinstance(rest[0], dict) else {"anyOf": rest}
        others = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
        schema = {**others, **only}
    return {key: _compacted(key, value) for key, value in schema.items() if not _says_nothing(key, value)}


def _says_nothing(key: str, value: JsonValue) -> bool:
    if key == "additionalProperties":
        return value == {"$ref": _ANYTHING}
    return (key == "title" and isinstance(value, str)) or (key, value) in (("$ref", _ANYTHING), ("$defs", {}))


def _compacted(key: str, value: JsonValue) -> JsonValue:
    if key in ("default", "enum", "const", "examples"):
        return value
    if isinstance(value, dict) and key in ("properties", "$defs"):
        return {name: _compacted("", each) for name, each in value.items()}
    if isinstance(value, dict):
        return compact(value)
    return [_compacted("", each) for each in value] if isinstance(value, list) else value


TOOLS = (
    ToolDefinition(run_experiment, "Run an experiment", destroys=True),
    ToolDefinition(score_run, "Score a run again", destroys=True, repeatable=True),
    ToolDefinition(get_run, "Read a run", reads=True, whole_by="item_id"),
    ToolDefinition(list_runs, "List runs", reads=True),
    ToolDefinition(compare_runs, "Compare runs", reads=True),
    ToolDefinition(judge_pairs, "Let a judge compare outputs", destroys=True, repeatable=True),
    ToolDefinition(confirm_run, "Confirm a run on held-out items", destroys=True, repeatable=True),
    ToolDefinition(analyze_run, "Analyze a run", reads=True),
    ToolDefinition(fetch_annotation_comments, "Read human comments", reads=True),
    ToolDefinition(request_labels, "Ask people for labels", destroys=True, repeatable=True),
    ToolDefinition(check_judge, "Check a judge for drift", destroys=True, repeatable=True),
    ToolDefinition(cancel_run, "Cancel a run", destroys=True, repeatable=True),
    ToolDefinition(create_dataset, "Create or extend a dataset", destroys=True, repeatable=True, bounded=False),
    ToolDefinition(create_judge, "Create a judge", destroys=True),
    ToolDefinition(create_prompt, "Create a prompt", destroys=True),
    ToolDefinition(list_datasets, "List datasets", reads=True),
    ToolDefinition(get_dataset, "Look at a dataset", reads=True),
    ToolDefinition(list_judges, "List judges", reads=True, whole_by="judge"),
)
"""In the order in which an agent needs them, the loop first."""
