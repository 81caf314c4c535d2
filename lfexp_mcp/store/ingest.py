"""Ingestion: from spans to observations, experiments and experiment items."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import TypeAlias

from pydantic import JsonValue

from lfexp_mcp.store.database import SqlValue
from lfexp_mcp.store.observations import Generation
from lfexp_mcp.store.otlp import Span
from lfexp_mcp.store.times import now_ms, parse_ms
from lfexp_mcp.store.usage import ModelPrices, cost, load_prices, match_model, numbers, read_usage, with_total
from lfexp_mcp.strict_json import strict_loads

_EXPERIMENT = "langfuse.experiment."

Row: TypeAlias = tuple[SqlValue, ...]
Prices: TypeAlias = Callable[[], list[ModelPrices]]


def ingest(connection: sqlite3.Connection, spans: Sequence[Span]) -> None:
    """Store spans; a span that was stored before is replaced.

    Args:
        connection: A connection in a write transaction.
        spans: The spans of one request.
    """
    # The model definitions are read only if a span of the request has a model.
    prices, now = cache(partial(load_prices, connection)), now_ms()
    connection.executemany(_INSERT_OBSERVATION, [_observation(span, prices, now) for span in spans])
    items = [_experiment_item(span) for span in spans if _is_experiment_item(span)]
    connection.executemany(_INSERT_ITEM, items)
    connection.executemany(_INSERT_EXPERIMENT, _experiments(spans))


_OBSERVATION_COLUMNS = (
    "trace_id", "id", "parent_id", "is_root", "type", "name", "start_time", "end_time", "level",
    "status_message", "version", "environment", "user_id", "session_id", "trace_name", "release", "tags",
    "public", "input", "output", "metadata", "origin", "generation", "total_cost", "created_at", "updated_at",
)  # fmt: skip
_ITEM_COLUMNS = (
    "trace_id", "id", "start_time", "experiment_id", "experiment_name", "item_id", "dataset_id",
    "item_version", "expected_output", "item_metadata", "experiment_metadata", "description",
)  # fmt: skip


def _upsert(table: str, columns: Sequence[str], kept: Sequence[str]) -> str:
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in kept)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "  # noqa: S608
        f"ON CONFLICT (trace_id, id) DO UPDATE SET {changes}"
    )


_INSERT_OBSERVATION = _upsert("observations", _OBSERVATION_COLUMNS, ("trace_id", "id", "created_at"))
_INSERT_ITEM = _upsert("experiment_items", _ITEM_COLUMNS, ("trace_id", "id"))
_INSERT_EXPERIMENT = """
    INSERT INTO experiments (id, name, dataset_id, metadata, start_time, end_time, last_time, last_trace_id, last_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        name = iif(excluded.last_time >= last_time, excluded.name, name),
        dataset_id = iif(excluded.last_time >= last_time, excluded.dataset_id, dataset_id),
        metadata = iif(excluded.last_time >= last_time, excluded.metadata, metadata),
        start_time = min(start_time, excluded.start_time),
        end_time = max(end_time, excluded.end_time),
        last_trace_id = iif(excluded.last_time >= last_time, excluded.last_trace_id, last_trace_id),
        last_id = iif(excluded.last_time >= last_time, excluded.last_id, last_id),
        last_time = max(last_time, excluded.last_time)
"""


def _text(attributes: Mapping[str, JsonValue], name: str) -> str:
    value = attributes.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text_or_none(attributes: Mapping[str, JsonValue], name: str) -> str | None:
    return _text(attributes, name) if name in attributes else None


def _observation(span: Span, prices: Prices, now: int) -> Row:
    attributes = span.attributes
    level = _text(attributes, "langfuse.observation.level") or ("ERROR" if span.failed else "DEFAULT")
    is_root = span.parent_id is None or any(
        _true(attributes.get(name)) for name in ("langfuse.internal.as_root", "langfuse.internal.is_app_root")
    )
    trace_name = _text_or_none(attributes, "langfuse.trace.name") or (span.name if is_root else None)
    generation, total_cost = _generation(span, prices)
    return (
        span.trace_id,
        span.id,
        span.parent_id,
        is_root,
        _text(attributes, "langfuse.observation.type").upper() or "SPAN",
        span.name,
        span.start_time,
        span.end_time,
        level,
        _text(attributes, "langfuse.observation.status_message") or span.status_message,
        _text(attributes, "langfuse.version"),
        _environment(span),
        _text(attributes, "user.id"),
        _text(attributes, "session.id"),
        trace_name,
        _text(attributes, "langfuse.release"),
        _tags(attributes.get("langfuse.trace.tags")),
        _true(attributes.get("langfuse.trace.public")),
        _text_or_none(attributes, "langfuse.observation.input"),
        _text_or_none(attributes, "langfuse.observation.output"),
        _metadata(attributes),
        span.origin,
        generation,
        total_cost,
        now,
        now,
    )


def _true(value: JsonValue) -> bool:
    return value is True or value == "true"


def _environment(span: Span) -> str:
    return (
        _text(span.attributes, "langfuse.environment")
        or _text(span.resource, "deployment.environment.name")
        or _text(span.resource, "deployment.environment")
        or "default"
    )


def _tags(value: JsonValue) -> str:
    tags = _decoded(value)
    return json.dumps(tags if isinstance(tags, list) else [], ensure_ascii=False)


def _decoded(value: JsonValue) -> JsonValue:
    """Decode an attribute that the SDK wrote as JSON; anything else stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        return strict_loads(value)
    except ValueError:
        return value


def _metadata(attributes: Mapping[str, JsonValue]) -> str:
    found: dict[str, JsonValue] = {}
    for name, value in attributes.items():
        prefix, _, key = name.partition(".metadata")
        if prefix in ("langfuse.observation", "langfuse.trace") and key[:1] in ("", "."):
            decoded = _decoded(value)
            if key:
                found[key[1:]] = decoded
            elif isinstance(decoded, dict):
                found.update(decoded)
            else:
                found["metadata"] = decoded
        elif not name.startswith("langfuse.") and name not in ("user.id", "session.id"):
            found[f"attributes.{name}"] = value
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _generation(span: Span, prices: Prices) -> tuple[str | None, float | None]:
    """Read model, prompt, usage and cost as one JSON object, and the total cost; None for spans without any."""
    attributes = span.attributes
    model = _text(attributes, "langfuse.observation.model.name")
    usage = read_usage(_members(attributes.get("langfuse.observation.usage_details")))
    costs = with_total(numbers(_members(attributes.get("langfuse.observation.cost_details"))))
    prompt = _text(attributes, "langfuse.observation.prompt.name")
    completion = attributes.get("langfuse.observation.completion_start_time")
    if not (model or usage or costs or prompt or completion):
        return None, None
    matched = match_model(prices(), model, span.start_time) if model else None
    if matched and usage and not costs:
        costs = cost(matched.tier.prices, usage)
    version = attributes.get("langfuse.observation.prompt.version")
    content = Generation(
        model=model,
        parameters=_decoded(attributes.get("langfuse.observation.model.parameters")),
        usage=usage,
        costs=costs,
        model_id=matched.id if matched else None,
        tier_id=matched.tier.id if matched else None,
        tier_name=matched.tier.name if matched else None,
        prices=matched.tier.prices if matched else {},
        prompt=prompt,
        prompt_version=version if isinstance(version, int) else None,
        completion_start=_moment(_decoded(completion)),
    )
    return content.model_dump_json(by_alias=True), costs.get("total")


def _moment(value: JsonValue) -> int | None:
    try:
        return parse_ms(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _members(value: JsonValue) -> dict[str, JsonValue]:
    decoded = _decoded(value)
    return decoded if isinstance(decoded, dict) else {}


def _is_experiment_item(span: Span) -> bool:
    return (
        f"{_EXPERIMENT}id" in span.attributes
        and span.attributes.get(f"{_EXPERIMENT}item.root_observation_id") == span.id
    )


def _experiment_item(span: Span) -> Row:
    attributes = span.attributes
    return (
        span.trace_id,
        span.id,
        span.start_time,
        _text(attributes, f"{_EXPERIMENT}id"),
        _text(attributes, f"{_EXPERIMENT}name"),
        _text(attributes, f"{_EXPERIMENT}item.id"),
        _text_or_none(attributes, f"{_EXPERIMENT}dataset.id"),
        _text_or_none(attributes, f"{_EXPERIMENT}item.version"),
        _text_or_none(attributes, f"{_EXPERIMENT}item.expected_output"),
        _text_or_none(attributes, f"{_EXPERIMENT}item.metadata"),
        _text_or_none(attributes, f"{_EXPERIMENT}metadata"),
        _text(attributes, f"{_EXPERIMENT}description"),
    )


def _experiments(spans: Iterable[Span]) -> list[Row]:
    """Summarise the spans of each experiment: the newest span tells its name and metadata."""
    members: dict[str, list[Span]] = {}
    for span in spans:
        if experiment := _text(span.attributes, f"{_EXPERIMENT}id"):
            members.setdefault(experiment, []).append(span)
    rows: list[Row] = []
    for experiment, found in members.items():
        newest = max(found, key=lambda span: (span.start_time, span.trace_id, span.id))
        rows.append((
            experiment,
            _text(newest.attributes, f"{_EXPERIMENT}name"),
            _text_or_none(newest.attributes, f"{_EXPERIMENT}dataset.id"),
            _text_or_none(newest.attributes, f"{_EXPERIMENT}metadata"),
            min(span.start_time for span in found),
            max(span.end_time or span.start_time for span in found),
            newest.start_time,
            newest.trace_id,
            newest.id,
        ))  # fmt: skip
    return rows
