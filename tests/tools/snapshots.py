"""The tools' schemas on disk. `python -m tests.tools.snapshots` writes them anew, from the models and the server."""

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DataclassSchema, ModelSchema, NullableSchema, WithDefaultSchema

from lfexp_mcp.answers.base import Answer, ToolAnswer
from lfexp_mcp.tools.registry import OUTPUT_SCHEMAS, TOOLS, JsonObject, compact

SNAPSHOTS = Path(__file__).parent / "schemas"


_ANYTHING: JsonValue = {"$ref": "#/$defs/JsonValue"}


class _OutputSchema(GenerateJsonSchema):
    """The schema of an answer, which leaves out what is None instead of sending null.

    What a model's docstring says is for those who read the code.
    """

    def nullable_schema(self, schema: NullableSchema) -> JsonObject:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonObject:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: ModelSchema) -> JsonObject:
        return {key: value for key, value in super().model_schema(schema).items() if key != "description"}

    def dataclass_schema(self, schema: DataclassSchema) -> JsonObject:
        return {key: value for key, value in super().dataclass_schema(schema).items() if key != "description"}


@dataclass
class _Listing:
    """What the output schemas before one have said, which is not said again."""

    descriptions: set[tuple[str, JsonValue]] = field(default_factory=set)
    """With the name of the field, as also here."""
    enums: set[tuple[str, str]] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    answers: dict[type[Answer], str] = field(default_factory=dict)
    """The first tool that answers with a model or with one derived from it, and how."""


def derived_output_schemas() -> dict[str, JsonObject]:
    """Derive each tool's output schema, which an `ErrorAnswer` meets as well as the tool's answer.

    The protocol asks for no schema of an error's structured content, but clients made with the TypeScript SDK hold it
    to that of the answer (https://github.com/modelcontextprotocol/typescript-sdk/issues/1943) and hide an error that
    does not match.

    For the listing to stay small, descriptions, enumerations and the fields of a model are given once, with the first
    tool that has them, a definition that is used once is inlined, and nothing is `required`. The tests hold answers to
    their models.
    """
    listing = _Listing()
    return {tool.name: _output_schema(tool.name, tool.answer, listing) for tool in TOOLS}


def _output_schema(tool: str, answer: type[Answer], listing: _Listing) -> JsonObject:
    if answer in listing.answers:
        return {"type": "object", "description": listing.answers[answer]}
    schema = answer.model_json_schema(schema_generator=_OutputSchema)
    lineage = [each for each in answer.__mro__ if issubclass(each, Answer) and each is not Answer]
    known = next((each for each in lineage if each in listing.answers), None)
    for each in lineage:
        how = f"As {tool} answers." if each is answer else f"A part of what {tool} answers."
        listing.answers.setdefault(each, how)
    if known is not None:
        for name in known.model_fields:
            del schema["properties"][name]
        if known is not ToolAnswer:
            schema["description"] = f"{listing.answers[known].removesuffix('.')}, and:"
    shown = _shortened(compact(schema), "", listing)
    definitions = shown.pop("$defs", {})
    assert isinstance(definitions, dict)
    listing.models |= {name for name, value in definitions.items() if isinstance(value, dict) and "properties" in value}
    # A definition that is used once, or is as short as a reference to it, is shorter in its place.
    references = Counter(re.findall(r'"#/\$defs/(\w+)"', json.dumps([shown, definitions])))
    once = {
        name: value
        for name, value in definitions.items()
        if references[name] == 1 or len(json.dumps(value)) <= len(json.dumps({"$ref": f"#/$defs/{name}"}))
    }
    kept = {name: _inlined(value, once) for name, value in definitions.items() if name not in once}
    return _inlined_object(shown, once) | ({"$defs": kept} if kept else {})


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


def _shortened(schema: JsonObject, name: str, listing: _Listing) -> JsonObject:
    """Leave out what a client does not need; `name` is that of the field or model that the schema is of."""
    shown: JsonObject = {}
    for key, value in schema.items():
        if key == "required" or (key == "additionalProperties" and value in (_ANYTHING, True, False)):
            continue
        if key == "description" and isinstance(value, str):
            if (name, value) not in listing.descriptions:
                listing.descriptions.add((name, value))
                shown[key] = value
        elif key == "enum":
            if (name, repr(value)) not in listing.enums:
                listing.enums.add((name, repr(value)))
                shown[key] = value
        elif key in ("properties", "$defs") and isinstance(value, dict):
            shown[key] = {
                each: _shortened(inner, each, listing)
                for each, inner in value.items()
                if isinstance(inner, dict) and each != "JsonValue" and not (key == "$defs" and each in listing.models)
            }
        elif key == "anyOf" and isinstance(value, list):
            # All of them are plain types here.
            shown["type"] = [each["type"] for each in value if isinstance(each, dict)]
        elif key == "$ref" and isinstance(value, str):
            model = value.rpartition("/")[2]
            shown |= {"type": "object"} if model in listing.models else {} if model == "JsonValue" else {key: value}
        elif isinstance(value, dict):
            shown[key] = _shortened(value, name, listing)
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


def token_count(shown: JsonValue) -> float:
    """About how many tokens something costs: a quarter of the characters of its compact JSON."""
    return len(json.dumps(shown, ensure_ascii=False, separators=(",", ":"))) / 4


def main() -> None:
    """Write the output schemas that the package ships, and the snapshots of the tools, and print what they cost."""
    outputs = derived_output_schemas()
    for name, schema in outputs.items():
        (OUTPUT_SCHEMAS / f"{name}.json").write_text(as_text(schema), encoding="utf-8")
    SNAPSHOTS.mkdir(exist_ok=True)
    tools = listed_tools()
    for name, tool in tools.items():
        (SNAPSHOTS / f"{name}.json").write_text(as_text(tool), encoding="utf-8")
    asked = {name: token_count([name, tool["description"], tool["inputSchema"]]) for name, tool in tools.items()}
    answered = {name: token_count(schema) for name, schema in outputs.items()}
    costs = [(name, asked[name], answered[name]) for name in tools]
    costs.append(("all tools", sum(asked.values()), sum(answered.values())))
    sys.stdout.writelines(f"{name:28}{given:7.0f} in{got:7.0f} out\n" for name, given, got in costs)


if __name__ == "__main__":
    main()
