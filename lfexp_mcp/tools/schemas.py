"""The schemas that the tools publish.

A tool's output schema lies beside this module as a file: deriving all of them from the answers' models takes longer
than everything else at start. A test derives them and holds the files to it.
"""

import json
from pathlib import Path

from pydantic import JsonValue

FOLDER = Path(__file__).parent / "output_schemas"

JsonObject = dict[str, JsonValue]


def output_schema(tool: str) -> JsonObject:
    """Read the output schema of a tool."""
    schema: JsonObject = json.loads((FOLDER / f"{tool}.json").read_text(encoding="utf-8"))
    return schema


def compact(schema: JsonObject) -> JsonObject:
    """Leave out the titles that Pydantic makes of names: a client pays for every token, and the names are there."""
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
