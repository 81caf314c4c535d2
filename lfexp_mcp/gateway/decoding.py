"""From Langfuse's answers, parsed by the SDK or by `rows`, to our records.

Langfuse returns inputs, outputs and metadata as strings: JSON-encoded, unless they were plain strings to begin with.
An input or output that holds an object or a list is decoded; a bare number or word stays text, since `"18"` may well
have been text.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, cast

from langfuse.api import ChatMessage, Model, PromptMeta
from langfuse.api import Comment as SdkComment
from langfuse.api import Dataset as SdkDataset
from langfuse.api import Prompt as SdkPrompt
from langfuse.api import ScoreConfig as SdkScoreConfig
from pydantic import JsonValue

from lfexp_mcp.gateway.records import (
    Comment,
    CommentObject,
    Dataset,
    Experiment,
    ExperimentItem,
    ModelPrice,
    Observation,
    Prompt,
    PromptInfo,
    PromptMessage,
    ScoreConfig,
    ScoreEntry,
)
from lfexp_mcp.gateway.rows import DatasetItemRow, ExperimentItemRow, ExperimentRow, ObservationRow, ScoreRow
from lfexp_mcp.gateway.score_makers import split_maker
from lfexp_mcp.model import DatasetItem, Score, ScoreDataType, ScoreSource
from lfexp_mcp.strict_json import strict_loads

_SOURCES: dict[str, ScoreSource] = {"API": "API", "EVAL": "EVAL", "ANNOTATION": "ANNOTATION"}


def decode_text(value: JsonValue) -> JsonValue:
    """Decode an input or output: objects and lists from JSON, everything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    return _parse(value)


def decode_metadata(metadata: Mapping[str, Any] | None) -> dict[str, JsonValue]:
    """Decode metadata values, which Langfuse keeps as strings, some of them encoded twice."""
    return {key: _parse(value) if isinstance(value, str) else value for key, value in (metadata or {}).items()}


def _parse(text: str) -> JsonValue:
    try:
        return strict_loads(text)
    except (ValueError, RecursionError):
        return text


def decode_score(score: ScoreRow) -> Score | None:
    """Decode a score; None for a correction, which is a better output and no score.

    A source that a newer server may know counts as `API`, whose scores can be of anybody: it is no human's annotation.
    """
    if score.data_type == "CORRECTION":
        return None
    source = _SOURCES.get(score.source, "API")
    maker, metadata = split_maker(score.metadata or {}, source, score.author_user_id, score.config_id)
    raw = metadata.get("raw")
    return Score(
        id=score.id,
        name=score.name,
        value=score.value,
        data_type=score.data_type,
        comment=score.comment or None,
        source=source,
        raw=float(raw) if isinstance(raw, int | float) else None,
        clamped=metadata.get("clamped") is True,
        config_id=score.config_id,
        author=score.author_user_id,
        metadata=metadata,
        timestamp=score.timestamp,
        maker=maker,
    )


def decode_scores(scores: Iterable[ScoreRow] | None) -> tuple[Score, ...]:
    """Decode scores, leaving corrections out."""
    return tuple(decoded for score in scores or () if (decoded := decode_score(score)) is not None)


def decode_score_entry(score: ScoreRow) -> ScoreEntry | None:
    """Decode a score with what it belongs to; None for a correction."""
    decoded = decode_score(score)
    subject = score.subject
    if decoded is None or subject is None:
        return ScoreEntry(decoded, queue_id=score.queue_id) if decoded else None
    return ScoreEntry(
        score=decoded,
        trace_id=subject.trace_id
        if subject.kind == "observation"
        else (subject.id if subject.kind == "trace" else None),
        observation_id=subject.id if subject.kind == "observation" else None,
        session_id=subject.id if subject.kind == "session" else None,
        experiment_id=subject.id if subject.kind == "experiment" else None,
        queue_id=score.queue_id,
    )


def decode_dataset(dataset: SdkDataset) -> Dataset:
    """Decode a dataset."""
    return Dataset(
        id=dataset.id,
        name=dataset.name,
        created=dataset.created_at,
        description=dataset.description,
        metadata=dataset.metadata if isinstance(dataset.metadata, dict) else {},
    )


def decode_dataset_item(item: DatasetItemRow) -> DatasetItem:
    """Decode a dataset item; its values come as JSON already."""
    return DatasetItem(
        id=item.id,
        dataset_id=item.dataset_id,
        input=item.input,
        expected_output=item.expected_output,
        metadata=item.metadata if isinstance(item.metadata, dict) else {},
        source_trace_id=item.source_trace_id,
        updated=item.updated_at,
        created=item.created_at,
    )


def decode_experiment(experiment: ExperimentRow) -> Experiment:
    """Decode the head of a run."""
    return Experiment(
        id=experiment.id,
        name=experiment.name,
        created=experiment.start_time,
        ended=experiment.end_time,
        item_count=experiment.item_count,
        dataset_id=experiment.dataset_id,
        description=experiment.description or None,
        metadata=decode_metadata(experiment.metadata),
        scores=decode_scores(experiment.scores),
    )


def decode_experiment_item(item: ExperimentItemRow) -> ExperimentItem:
    """Decode one result of a run; an expected output that was never set comes as an empty string."""
    return ExperimentItem(
        observation_id=item.id,
        trace_id=item.trace_id,
        item_id=item.experiment_item_id,
        experiment_id=item.experiment_id,
        started=item.start_time,
        ended=item.end_time,
        failed=_task_failed(item),
        input=decode_text(item.input),
        output=decode_text(item.output),
        expected_output=None if item.expected_output == "" else decode_text(item.expected_output),
        item_metadata=decode_metadata(item.experiment_item_metadata),
        description=item.experiment_description or None,
        scores=decode_scores(item.scores),
    )


def _task_failed(item: ExperimentItemRow) -> bool:
    """Whether the task raised, as the SDK's `run_experiment` notes it: the level alone may be the task's own doing."""
    return item.level == "ERROR" and isinstance(item.output, str) and item.output.startswith("Error:")


def decode_observation(observation: ObservationRow) -> Observation:
    """Decode one observation."""
    return Observation(
        id=observation.id,
        trace_id=observation.trace_id or "",
        type=observation.type,
        started=observation.start_time,
        name=observation.name,
        parent_id=observation.parent_observation_id,
        level=observation.level,
        environment=observation.environment,
        session_id=observation.session_id or None,
        input=decode_text(observation.input),
        output=decode_text(observation.output),
        metadata=decode_metadata(observation.metadata),
        seconds=_seconds(observation.start_time, observation.end_time),
        model=observation.model or None,
        usage={kind: float(count) for kind, count in (observation.usage_details or {}).items()},
        cost=observation.total_cost or None,
    )


def _seconds(start: datetime, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if end else None


def decode_prompt_info(prompt: PromptMeta) -> PromptInfo:
    """Decode a prompt's name and versions."""
    return PromptInfo(
        name=prompt.name,
        type=cast("Literal['text', 'chat']", prompt.type.value),
        versions=tuple(prompt.versions),
        labels=tuple(prompt.labels),
    )


def decode_prompt(prompt: SdkPrompt) -> Prompt:
    """Decode one version of a prompt; placeholders for whole messages are left out."""
    config = prompt.config if isinstance(prompt.config, dict) else {}
    if prompt.type == "text":
        return Prompt(
            name=prompt.name,
            version=prompt.version,
            type="text",
            text=prompt.prompt,
            config=config,
            labels=tuple(prompt.labels),
        )
    messages = tuple(
        PromptMessage(role=message.role, content=message.content)
        for message in prompt.prompt
        if isinstance(message, ChatMessage)
    )
    return Prompt(
        name=prompt.name,
        version=prompt.version,
        type="chat",
        messages=messages,
        config=config,
        labels=tuple(prompt.labels),
    )


def decode_score_config(config: SdkScoreConfig) -> ScoreConfig:
    """Decode a score config."""
    return ScoreConfig(
        id=config.id,
        name=config.name,
        data_type=cast("ScoreDataType", config.data_type.value),
        min_value=config.min_value,
        max_value=config.max_value,
        categories=tuple((category.label, category.value) for category in config.categories or ()),
    )


def decode_comment(comment: SdkComment) -> Comment:
    """Decode a comment."""
    return Comment(
        id=comment.id,
        object_type=cast("CommentObject", comment.object_type.value),
        object_id=comment.object_id,
        content=comment.content,
        author=comment.author_user_id,
        created=comment.created_at,
    )


def decode_model(model: Model) -> ModelPrice:
    """Decode a row of the model table."""
    prices = {kind: price.price for kind, price in model.prices.items()}
    return ModelPrice(
        model_name=model.model_name,
        match_pattern=model.match_pattern,
        input_price=prices.get("input", model.input_price),
        output_price=prices.get("output", model.output_price),
    )
