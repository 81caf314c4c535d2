"""Langfuse's answers as they are sent, and their conversion to `lfexp_mcp.model`.

Langfuse returns inputs, outputs and metadata as strings. The SDK writes a string as it is and any other value as JSON,
and Langfuse does not say which it was: the string `18` and the number 18 are the same text, as are an empty string and
None. There is no right way to read such a text back, so objects and lists are decoded and everything else stays text.
The journal of a run on this machine holds the values as the task returned them, and is preferred where there is one.

Answers are parsed here rather than by the SDK's client, which takes a second to import and 10 ms for each result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter
from pydantic.alias_generators import to_camel

from lfexp_mcp.gateway.score_metadata import split_maker
from lfexp_mcp.model import Content, DatasetItem, ItemResult, Score, ScoreSource
from lfexp_mcp.strict_json import finite_number, strict_loads

WIRE = ConfigDict(alias_generator=to_camel)
"""Fields are camelCase in Langfuse's JSON."""


def decode_value(value: JsonValue) -> JsonValue:
    """Decode an input or output: objects and lists from JSON, everything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    return _parse(value)


def _decode_metadata(metadata: object) -> object:
    """Decode metadata values, which Langfuse keeps as strings, some of them encoded twice."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        return metadata
    return {key: _parse(value) if isinstance(value, str) else value for key, value in metadata.items()}


def _parse(text: str) -> JsonValue:
    try:
        return strict_loads(text)
    except ValueError:
        return text


Value = Annotated[JsonValue, AfterValidator(decode_value)]
"""An input or output."""
Metadata = Annotated[dict[str, JsonValue], BeforeValidator(_decode_metadata)]
"""Metadata whose values come as strings."""
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(lambda value: value if isinstance(value, dict) else {})]
"""Metadata or a config that comes as JSON; empty where it is not an object."""
TextOrNone = Annotated[str | None, AfterValidator(lambda text: text or None)]
"""A text that Langfuse leaves empty where there is none."""


class _Row(BaseModel):
    model_config = WIRE | ConfigDict(frozen=True)


_SOURCES: dict[str, ScoreSource] = {"EVAL": "EVAL", "ANNOTATION": "ANNOTATION"}


class _Subject(_Row):
    kind: str
    id: str
    trace_id: str | None = None


class ScoreRow(_Row):
    """A score, with those of its fields that were asked for."""

    id: str
    name: str
    data_type: Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT", "CORRECTION"]
    value: bool | float | str
    source: str
    timestamp: datetime | None = None
    comment: TextOrNone = None
    config_id: str | None = None
    author_user_id: str | None = None
    queue_id: str | None = None
    metadata: dict[str, JsonValue] | None = None
    subject: _Subject | None = None

    def score(self) -> Score | None:
        """Convert; None for a correction, which is a better output rather than a score.

        A source that this version does not know reads as `API`, never as a human's annotation.
        """
        if self.data_type == "CORRECTION":
            return None
        source = _SOURCES.get(self.source, "API")
        maker, metadata = split_maker(self.metadata or {}, source)
        subject = {f"{self.subject.kind}_id": self.subject.id} if self.subject else {}
        return Score(
            id=self.id,
            name=self.name,
            value=self.value,
            data_type=self.data_type,
            comment=self.comment,
            source=source,
            raw=finite_number(metadata.get("raw")),
            clamped=metadata.get("clamped") is True,
            config_id=self.config_id,
            author=self.author_user_id,
            metadata=metadata,
            timestamp=self.timestamp,
            maker=maker,
            trace_id=self.subject.trace_id if self.subject and self.subject.trace_id else subject.get("trace_id"),
            observation_id=subject.get("observation_id"),
            session_id=subject.get("session_id"),
            experiment_id=subject.get("experiment_id"),
            queue_id=self.queue_id,
        )


def read_scores(rows: Iterable[ScoreRow]) -> tuple[Score, ...]:
    """Convert scores, leaving corrections out."""
    return tuple(score for row in rows if (score := row.score()) is not None)


_SCORE_ROWS = TypeAdapter(tuple[ScoreRow, ...])
Scores = Annotated[
    tuple[Score, ...], BeforeValidator(lambda rows: read_scores(_SCORE_ROWS.validate_python(rows or ())))
]
"""Scores embedded in something else, without corrections."""


class DatasetItemRow(_Row):
    """One item of a dataset; its values come as JSON."""

    id: str
    dataset_id: str
    status: str = "ACTIVE"
    input: JsonValue = None
    expected_output: JsonValue = None
    metadata: JsonObject = {}
    source_trace_id: str | None = None
    created_at: datetime
    updated_at: datetime

    def item(self) -> DatasetItem:
        """Convert."""
        return DatasetItem(
            id=self.id,
            dataset_id=self.dataset_id,
            input=self.input,
            expected_output=self.expected_output,
            metadata=self.metadata,
            source_trace_id=self.source_trace_id,
            updated=self.updated_at,
            created=self.created_at,
        )


class _ShownScore(_Row):
    id: str


class ShownItemRow(_Row):
    """That one result of a run is there, with which scores."""

    id: str
    trace_id: str
    experiment_item_id: str
    scores: tuple[_ShownScore, ...] = ()


class ExperimentItemRow(_Row):
    """One result of a run, with those of its fields that were asked for."""

    id: str
    trace_id: str
    start_time: datetime
    end_time: datetime | None = None
    level: str | None = None
    experiment_id: str
    experiment_item_id: str
    experiment_dataset_id: str | None = None
    input: Value = None
    output: JsonValue = None
    expected_output: JsonValue = None
    # A default that can be changed would be copied for each row.
    experiment_item_metadata: Metadata = Field(default_factory=dict)
    experiment_description: TextOrNone = None
    scores: tuple[ScoreRow, ...] = ()

    def result(self, repeat: int = 0, scores: Sequence[Score] | None = None) -> ItemResult:
        """Convert.

        A failed task has the level `ERROR` and the output `Error: ` with the reason, as the SDK's `run_experiment`
        records it; the level alone does not count, since a task may set it. An expected output that was never set comes
        as an empty string.

        Args:
            repeat: Which repetition of the run it is of, from 0.
            scores: Instead of its own, if Langfuse has sent only some of them.
        """
        error = None
        if self.level == "ERROR" and isinstance(self.output, str) and self.output.startswith("Error:"):
            error = self.output.removeprefix("Error: ") or "The task failed without a message."
        return ItemResult(
            item_id=self.experiment_item_id,
            status="failed" if error else "succeeded",
            content=Content(
                input=self.input,
                output=None if error else decode_value(self.output),
                expected_output=None if self.expected_output == "" else decode_value(self.expected_output),
                metadata=self.experiment_item_metadata,
            ),
            error=error,
            trace_id=self.trace_id,
            observation_id=self.id,
            started=self.start_time,
            seconds=(self.end_time - self.start_time).total_seconds() if self.end_time else None,
            scores=read_scores(self.scores) if scores is None else tuple(scores),
            repeat=repeat,
        )

    def result_like(self, known: ItemResult, scores: Sequence[Score] | None) -> ItemResult:
        """Return a known result of this observation with the scores that this row has; equal ones are not held twice.

        Args:
            scores: Instead of the row's own, if Langfuse has sent only some of them.
        """
        known_scores = known.scores
        own = {score.id: score for score in known_scores}
        given = self.scores if scores is None else scores
        found = (_score_like(own.get(one.id), one) for one in given)
        kept = tuple(score for score in found if score is not None)
        return known if kept == known_scores else replace(known, scores=kept)


def _score_like(known: Score | None, given: ScoreRow | Score) -> Score | None:
    """Return a known score if it is equal, else the given one by its maker, which Langfuse does not list."""
    if known is not None and (known.data_type, known.value) == (given.data_type, given.value):
        return known
    score = given if isinstance(given, Score) else given.score()
    if known is None or score is None or score.maker.origin != "api":
        return score
    return replace(score, maker=known.maker)
