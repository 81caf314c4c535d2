"""The tools' schemas on disk. `python -m tests.tools.snapshots` writes them anew, from the models and the server."""

import json
import re
from collections import Counter
from pathlib import Path

from pydantic import JsonValue
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import NullableSchema, WithDefaultSchema

from lfexp_mcp.answers.base import Answer, ErrorAnswer
from lfexp_mcp.tools.registry import OUTPUT_SCHEMAS, TOOLS, JsonObject, compact

SNAPSHOTS = Path(__file__).parent / "schemas"


class _OutputSchema(GenerateJsonSchema):
    """The schema of an answer, which leaves out what is None instead of sending null."""

    def nullable_schema(self, schema: NullableSchema) -> JsonObject:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonObject:
        return self.generate_inner(schema["schema"])


def derived_output_schemas() -> dict[str, JsonObject]:
    """Derive each tool's output schema: that of its answer or of an `ErrorAnswer`.

    The protocol asks for no schema of an error's structured content, but clients made with the TypeScript SDK hold it
    to that of the answer (https://github.com/modelcontextprotocol/typescript-sdk/issues/1943) and hide an error that
    does not match.

    For the listing to stay small, a description is given once, with the first tool that has the field, a definition
    that is used once is inlined, and nothing is `required`.
    """
    described: set[tuple[str, str]] = set()
    return {tool.name: _output_schema(tool.answer, described) for tool in TOOLS}


def _output_schema(answer: type[Answer], described: set[tuple[str, str]]) -> JsonObject:
    schema, error = (model.model_json_schema(schema_generator=_OutputSchema) for model in (answer, ErrorAnswer))
    for part in ("properties", "$defs"):
        schema[part] |= error[part]
    shown = _shortened(compact(schema), "", described)
    definitions, text = shown.pop("$defs"), json.dumps(shown)
    assert isinstance(definitions, dict)
    # A definition that is used once is shorter in its place.
    references = Counter(re.findall(r'"#/\$defs/(\w+)"', text + json.dumps(definitions)))
    once = {name: value for name, value in definitions.items() if references[name] == 1}
    kept = {name: _inlined(value, once) for name, value in definitions.items() if references[name] > 1}
    return {**_inlined_object(shown, once), "$defs": kept}


def _inlined(value: JsonValue, definitions: JsonObject) -> JsonValue:
    if isinstance(value, list):
        return [_inlined(each, definitions) for each in value]
    return _inlined_object(value, definitions) if isinstance(value, dict) else value


def _inlined_object(schema: JsonObject, definitions: JsonObject) -> JsonObject:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    definition = definitions.get(name)
    if isinstance(definition, dict):
        # What is said of the field goes before what is said of its type.
        schema = {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _shortened(schema: JsonObject, name: str, described: set[tuple[str, str]]) -> JsonObject:
    """Leave out what a client does not need; `name` is that of the field or model that the schema is of."""
    shown: JsonObject = {}
    for key, value in schema.items():
        if key == "required" or (key == "additionalProperties" and isinstance(value, bool)):
            continue
        if key == "description" and isinstance(value, str):
            if (name, value) not in described:
                described.add((name, value))
                shown[key] = value
        elif key in ("properties", "$defs") and isinstance(value, dict):
            shown[key] = {
                each: _shortened(inner, each, described)
                for each, inner in value.items()
                if isinstance(inner, dict) and each != "JsonValue"
            }
        elif key == "anyOf" and isinstance(value, list):
            # All of them are plain types here.
            shown["type"] = [each["type"] for each in value if isinstance(each, dict)]
        elif value == "#/$defs/JsonValue":
            continue
        elif isinstance(value, dict):
            shown[key] = _shortened(value, name, described)
        else:
            shown[key] = value
    return shown


def listed_tools() -> dict[str, JsonObject]:
    """Return what `tools/list` says of each tool, without the output schema."""
    return {
        tool.name: {
            "name": tool.name,
            "title": tool.title,
            "description": tool.description,
            "inputSchema": tool.parameters,
            "annotations": tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else None,
        }
        for tool in (definition.build() for definition in TOOLS)
    }


def as_text(schema: JsonValue) -> str:
    """Write a schema as it lies on disk."""
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Write the output schemas that the package ships, and the snapshots of the tools."""
    for name, schema in derived_output_schemas().items():
        (OUTPUT_SCHEMAS / f"{name}.json").write_text(as_text(schema), encoding="utf-8")
    SNAPSHOTS.mkdir(exist_ok=True)
    for name, tool in listed_tools().items():
        (SNAPSHOTS / f"{name}.json").write_text(as_text(tool), encoding="utf-8")


if __name__ == "__main__":
    main()
