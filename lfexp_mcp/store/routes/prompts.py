"""Prompts: `/api/public/v2/prompts`."""

import re
import sqlite3
import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue
from starlette.responses import Response

from lfexp_mcp.store.call import Call, Fields
from lfexp_mcp.store.deployment import PROJECT_ID
from lfexp_mcp.store.http_errors import BadRequestError, InvalidRequestError, NotFoundError
from lfexp_mcp.store.paging import Conditions, PageQuery, from_json, insert, page_meta, to_json
from lfexp_mcp.store.times import Instant, iso, now_ms

_LATEST = "latest"
_PRODUCTION = "production"
MAX_VERSION_DIGITS = 10
"""Of a version in a path."""

_UNSUITABLE = (
    (re.compile("<[^<>]*>"), "Text cannot contain HTML tags"),
    (re.compile(r"\|"), "Prompt name cannot contain '|' character"),
    (re.compile("^/"), "Name cannot start with a slash"),
    (re.compile("//"), "Name cannot contain consecutive slashes"),
    (re.compile("/$"), "Name cannot end with a slash"),
    (re.compile(r"^\s*$"), "Name cannot be empty"),
    (re.compile(r"^\s*(new|metrics|prompt-detail)\s*$"), "Prompt name is reserved"),
)


def _checked_name(name: str) -> str:
    for unsuitable, message in _UNSUITABLE:
        if unsuitable.search(name):
            raise ValueError(message)
    return name.strip()


Label = Annotated[str, Field(min_length=1, max_length=36, pattern="^[a-z0-9_.-]+$")]


class ChatMessage(Fields):
    """A message of a chat prompt."""

    role: str
    content: str


class Placeholder(Fields):
    """Stands for messages that a chat prompt is given when it is used."""

    type: Literal["placeholder"]
    name: Annotated[str, Field(pattern="^[a-zA-Z][a-zA-Z0-9_]*$")]


class PromptBody(Fields):
    """A new version of a prompt."""

    name: Annotated[str, AfterValidator(_checked_name)]
    prompt: str | list[Placeholder | ChatMessage]
    type: Literal["text", "chat"] | None = None
    config: JsonValue = None
    labels: list[Label] | None = None
    tags: list[str] | None = None
    commit_message: str | None = Field(default=None, max_length=500)


class PromptQuery(Fields):
    """Which version of a prompt to return."""

    version: int | None = Field(default=None, ge=1, le=2**31)
    label: str | None = None


class PromptsQuery(PageQuery):
    """Which prompts to list."""

    limit: int = Field(default=10, ge=1, le=100)
    name: str | None = None
    label: str | None = None
    tag: str | None = None
    from_updated_at: Instant | None = None
    to_updated_at: Instant | None = None


class LabelsBody(Fields):
    """The labels to add to a version."""

    new_labels: list[Label]


def create_prompt(call: Call) -> JsonValue:
    """Create the next version of a prompt; its labels are removed from other versions, and it becomes `latest`."""
    body = call.body(PromptBody)
    kind = body.type or "text"
    if isinstance(body.prompt, str) != (kind == "text"):
        expected = "string" if kind == "text" else "array"
        raise InvalidRequestError.at("prompt", f"Invalid input: expected {expected} for a {kind} prompt")
    with call.database.write() as connection:
        versions = _versions(connection, body.name)
        if versions and versions[-1]["type"] != kind:
            raise InvalidRequestError.at(
                "type", f"Previous versions have different prompt type. Create a new prompt for type {kind}."
            )
        labels = list(dict.fromkeys([*(body.labels or []), _LATEST]))
        tags = body.tags if body.tags is not None else _texts(versions[-1]["tags"]) if versions else []
        now = now_ms()
        _take_labels(connection, versions, labels, now)
        connection.execute("UPDATE prompts SET tags = ? WHERE name = ?", (to_json(list(tags)), body.name))
        row = insert(
            connection,
            "prompts",
            id=str(uuid.uuid4()),
            name=body.name,
            version=versions[-1]["version"] + 1 if versions else 1,
            type=kind,
            prompt=to_json(body.model_dump()["prompt"]),
            config=to_json(body.config if body.config is not None else {}),
            tags=to_json(list(tags)),
            labels=to_json(list(labels)),
            commit_message=body.commit_message,
            created_at=now,
            updated_at=now,
        )
        return _json(row)


def get_prompt(call: Call) -> JsonValue:
    """Return a version of a prompt by number or by label; by default the one labelled `production`."""
    name, query = call.path("name"), _version_query(call)
    with call.database.read() as connection:
        return _json(_version(connection, name, query.version, query.label))


def list_prompts(call: Call) -> JsonValue:
    """Return a page of prompts by name, each with those of its versions and labels that match the filters."""
    query = call.query(PromptsQuery)
    conditions = Conditions()
    conditions.equal("name", query.name)
    conditions.between("updated_at", query.from_updated_at, query.to_updated_at)
    for column, value in (("labels", query.label), ("tags", query.tag)):
        if value is not None:
            conditions.add(f"EXISTS (SELECT 1 FROM json_each(prompts.{column}) AS each WHERE each.value = ?)", value)  # noqa: S608
    with call.database.read() as connection:
        rows = connection.execute(
            f"SELECT * FROM prompts {conditions.sql} ORDER BY name, version",  # noqa: S608
            conditions.parameters,
        ).fetchall()
    prompts: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        prompts.setdefault(row["name"], []).append(row)
    start = (query.page - 1) * query.limit
    data: list[JsonValue] = [_summary(versions) for versions in list(prompts.values())[start : start + query.limit]]
    meta = page_meta(query, len(prompts))
    return {"data": data, "meta": meta, "pagination": meta}


def update_labels(call: Call) -> JsonValue:
    """Add labels to a version, and remove them from other versions."""
    name, number = call.path("name"), _number(call.path("version"))
    body = call.body(LabelsBody)
    if _LATEST in body.new_labels:
        raise InvalidRequestError.at("newLabels", "Label 'latest' is always assigned to the latest prompt version")
    with call.database.write() as connection:
        row = _version(connection, name, number)
        now = now_ms()
        others = [other for other in _versions(connection, name) if other["version"] != number]
        _take_labels(connection, others, body.new_labels, now)
        labels = list(dict.fromkeys([*_texts(row["labels"]), *body.new_labels]))
        connection.execute(
            "UPDATE prompts SET labels = ?, updated_at = ? WHERE id = ?", (to_json(list(labels)), now, row["id"])
        )
        return _json(_version(connection, name, number))


def delete_prompt(call: Call) -> Response:
    """Delete the version of a number, those of a label, or all; the newest one left becomes `latest`."""
    name, query = call.path("name"), _version_query(call)
    with call.database.write() as connection:
        versions = _versions(connection, name)
        doomed = [
            row
            for row in versions
            if query.version in (None, row["version"]) and (not query.label or query.label in _texts(row["labels"]))
        ]
        if not doomed:
            raise NotFoundError("Prompt not found")
        connection.executemany("DELETE FROM prompts WHERE id = ?", [(row["id"],) for row in doomed])
        left = [row for row in versions if row not in doomed]
        if left and _LATEST not in _texts(left[-1]["labels"]):
            labels = [*_texts(left[-1]["labels"]), _LATEST]
            connection.execute("UPDATE prompts SET labels = ? WHERE id = ?", (to_json(list(labels)), left[-1]["id"]))
    return Response(status_code=204)


def _versions(connection: sqlite3.Connection, name: str) -> list[sqlite3.Row]:
    return connection.execute("SELECT * FROM prompts WHERE name = ? ORDER BY version", (name,)).fetchall()


def _version_query(call: Call) -> PromptQuery:
    query = call.query(PromptQuery)
    if query.version is not None and query.label:
        raise BadRequestError("Cannot specify both version and label")
    return query


def _number(text: str) -> int:
    """Read the version in a path.

    Raises:
        InvalidRequestError: It is not the number of a version.
    """
    number = int(text) if text.isdecimal() and len(text) <= MAX_VERSION_DIGITS else 0
    if number < 1:
        raise InvalidRequestError.at("promptVersion", "Invalid input: expected the number of a version, from 1")
    return number


def _version(connection: sqlite3.Connection, name: str, version: int | None, label: str | None = None) -> sqlite3.Row:
    label = label or _PRODUCTION
    for row in _versions(connection, name):
        if row["version"] == version or (version is None and label in _texts(row["labels"])):
            return row
    wanted = f"version {version}" if version is not None else f"label '{label}'"
    raise NotFoundError(f"Prompt not found: '{name}' with {wanted}")


def _take_labels(connection: sqlite3.Connection, versions: list[sqlite3.Row], labels: list[str], now: int) -> None:
    for row in versions:
        had = _texts(row["labels"])
        kept: list[JsonValue] = [label for label in had if label not in labels]
        if len(kept) < len(had):
            connection.execute(
                "UPDATE prompts SET labels = ?, updated_at = ? WHERE id = ?", (to_json(kept), now, row["id"])
            )


def _texts(column: str) -> list[str]:
    values = from_json(column)
    return [str(value) for value in values] if isinstance(values, list) else []


def _summary(versions: list[sqlite3.Row]) -> dict[str, JsonValue]:
    newest = versions[-1]
    return {
        "name": newest["name"],
        "type": newest["type"],
        "versions": [row["version"] for row in versions],
        "labels": sorted({label for row in versions for label in _texts(row["labels"])}),
        "tags": from_json(newest["tags"]),
        "lastUpdatedAt": iso(max(row["updated_at"] for row in versions)),
        "lastConfig": from_json(newest["config"]),
    }


def _json(row: sqlite3.Row) -> dict[str, JsonValue]:
    labels = _texts(row["labels"])
    return {
        "id": row["id"],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
        "projectId": PROJECT_ID,
        "createdBy": "API",
        "prompt": from_json(row["prompt"]),
        "name": row["name"],
        "version": row["version"],
        "type": row["type"],
        "isActive": _PRODUCTION in labels,
        "config": from_json(row["config"]),
        "tags": from_json(row["tags"]),
        "labels": labels,
        "commitMessage": row["commit_message"],
        "resolutionGraph": None,
    }
