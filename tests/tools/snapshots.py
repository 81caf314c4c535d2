"""The tools' schemas on disk. `python -m tests.tools.snapshots` writes them anew, from the models and the server."""

import json
from pathlib import Path

from pydantic import JsonValue

from lfexp_mcp.tools.catalogue import OFFERS
from lfexp_mcp.tools.schemas import FOLDER, JsonObject, answer_schema

SNAPSHOTS = Path(__file__).parent / "schemas"


def derived_output_schemas() -> dict[str, JsonObject]:
    """Derive each tool's output schema from its answer's model."""
    return {offer.call.__name__: answer_schema(offer.answer) for offer in OFFERS}


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
        for tool in (offer.tool() for offer in OFFERS)
    }


def as_text(schema: JsonValue) -> str:
    """Write a schema as it lies on disk."""
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Write the output schemas that the package ships, and the snapshots of the tools."""
    for name, schema in derived_output_schemas().items():
        (FOLDER / f"{name}.json").write_text(as_text(schema), encoding="utf-8")
    SNAPSHOTS.mkdir(exist_ok=True)
    for name, tool in listed_tools().items():
        (SNAPSHOTS / f"{name}.json").write_text(as_text(tool), encoding="utf-8")


if __name__ == "__main__":
    main()
