"""Runs put into Langfuse without a worker: spans as the SDK exports them, and scores."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from langfuse import LangfuseOtelSpanAttributes as Names
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from pydantic import JsonValue

from lfexp_mcp.gateway import Dataset, status_score
from lfexp_mcp.model import PROVENANCE_KEY, JudgeMaker, Provenance, RecordedStatus, RunMaker, RunPlan, Score
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.services.workspace import Workspace

BATCH = 500


@dataclass(frozen=True, slots=True)
class Recorded:
    """One result to record."""

    item_id: str
    output: JsonValue = None
    input: JsonValue = "question"
    expected_output: JsonValue = None
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    scores: Mapping[str, float | bool | str] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False
    """As of a task that raised; its `output` then begins with `Error:`, as the SDK writes it."""
    seconds: float = 0.1
    started: datetime | None = None
    session: str | None = None
    tokens: tuple[int, int] | None = None
    """Input and output tokens of one model call within the task."""
    cost: float | None = None
    """Of that call, in USD."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What was recorded."""

    dataset: Dataset
    experiment_id: str
    traces: dict[str, str]
    """Item id to trace id, of the last result of each item."""
    observations: dict[str, str]


async def make_dataset(ws: Workspace, name: str) -> Dataset:
    return await ws.gateway.datasets.upsert(name)


async def record_run(
    ws: Workspace,
    dataset: Dataset,
    run_name: str,
    results: Sequence[Recorded],
    *,
    metadata: Mapping[str, JsonValue] | None = None,
    description: str | None = None,
    makers: Mapping[str, RunMaker] | None = None,
    mark: RecordedStatus | None = None,
) -> RecordedRun:
    """Record a run; the embedded store shows it at once.

    Args:
        ws: The workspace.
        dataset: The dataset.
        run_name: The run's name.
        results: Its results.
        metadata: Of the experiment, as the SDK takes it.
        description: Of the run.
        makers: By score name: the judges and scripts of a run of ours, whose plan names them. Without any the run is
            of others.
        mark: How a run of ours ended; None for one that got through all its items.
    """
    experiment_id = await ws.gateway.experiments.id_of(dataset.id, run_name)
    spans: list[Span] = []
    scores: list[Score] = []
    run = RecordedRun(dataset, experiment_id, {}, {})
    if makers:
        judged = tuple(name for name, maker in makers.items() if isinstance(maker, JudgeMaker))
        plan = mark.plan if mark else RunPlan(len(results), scores=judged, makers=tuple(makers.values()))
        metadata = {PROVENANCE_KEY: Provenance(plan=plan).as_json(), **(metadata or {})}
        mark = mark or RecordedStatus("completed", datetime.now(UTC), plan, len(results), makers=tuple(makers.values()))
    begun = datetime.now(UTC) - timedelta(hours=1)
    for index, result in enumerate(results):
        trace_id, task_id = secrets.token_hex(16), secrets.token_hex(8)
        run.traces[result.item_id], run.observations[result.item_id] = trace_id, task_id
        started = result.started or begun + timedelta(milliseconds=10 * index)
        shared = _experiment_attributes(result, dataset, experiment_id, run_name, task_id, metadata, description)
        spans += _spans(result, trace_id, task_id, started, shared)
        scores += [
            _made_by(
                (makers or {}).get(name),
                _score(name, value, result.comments.get(name), trace_id, task_id),
                experiment_id,
                result.item_id,
            )
            for name, value in result.scores.items()
        ]
    if mark is not None:
        scores.append(status_score(mark, experiment_id))
    for start in range(0, len(spans), BATCH):
        await ws.gateway.observations.send(_request(spans[start : start + BATCH]).SerializeToString())
    for start in range(0, len(scores), 100):
        assert await ws.gateway.scores.write(scores[start : start + 100]) == {}
    return run


def score_of(run: RecordedRun, item_id: str, name: str, value: float, maker: RunMaker) -> Score:
    """A score of a recorded result; written again, it replaces the one that this maker gave before."""
    score = _score(name, value, None, run.traces[item_id], run.observations[item_id])
    return _made_by(maker, score, run.experiment_id, item_id)


async def record_trace(ws: Workspace, input: str, output: str) -> str:
    """Record a trace of production; return its id."""
    trace_id, now = secrets.token_hex(16), datetime.now(UTC)
    content = {Names.OBSERVATION_TYPE: "span", Names.OBSERVATION_INPUT: input, Names.OBSERVATION_OUTPUT: output}
    span = _span("answer", trace_id, secrets.token_hex(8), None, now, now, content)
    await ws.gateway.observations.send(_request([span]).SerializeToString())
    return trace_id


def _score(name: str, value: float | bool | str, comment: str | None, trace_id: str, observation_id: str) -> Score:
    return Score(
        id=secrets.token_hex(8),
        name=name,
        value=value if isinstance(value, str) else float(value),
        data_type="CATEGORICAL" if isinstance(value, str) else "BOOLEAN" if isinstance(value, bool) else "NUMERIC",
        trace_id=trace_id,
        observation_id=observation_id,
        comment=comment,
    )


def _made_by(maker: RunMaker | None, score: Score, experiment_id: str, item_id: str) -> Score:
    if maker is None:
        return score
    identity = score_id(experiment_id, item_id, score.observation_id or "", score.name, maker)
    return replace(score, id=identity, maker=maker)


def _experiment_attributes(
    result: Recorded,
    dataset: Dataset,
    experiment_id: str,
    run_name: str,
    task_id: str,
    metadata: Mapping[str, JsonValue] | None,
    description: str | None,
) -> dict[str, str]:
    attributes = {
        Names.ENVIRONMENT: "sdk-experiment",
        Names.EXPERIMENT_ID: experiment_id,
        Names.EXPERIMENT_NAME: run_name,
        Names.EXPERIMENT_DATASET_ID: dataset.id,
        Names.EXPERIMENT_ITEM_ID: result.item_id,
        Names.EXPERIMENT_ITEM_ROOT_OBSERVATION_ID: task_id,
        Names.EXPERIMENT_METADATA: json.dumps(metadata or {}),
    }
    if result.metadata:
        attributes[Names.EXPERIMENT_ITEM_METADATA] = json.dumps(result.metadata)
    if result.expected_output is not None:
        attributes[Names.EXPERIMENT_ITEM_EXPECTED_OUTPUT] = _text(result.expected_output)
    if description:
        attributes[Names.EXPERIMENT_DESCRIPTION] = description
    if result.session:
        attributes[Names.TRACE_SESSION_ID] = result.session
    return attributes


def _spans(result: Recorded, trace_id: str, task_id: str, started: datetime, shared: Mapping[str, str]) -> list[Span]:
    root_id = secrets.token_hex(8)
    own = {
        **shared,
        Names.OBSERVATION_TYPE: "span",
        Names.OBSERVATION_INPUT: _text(result.input),
        Names.OBSERVATION_OUTPUT: _text(result.output),
        Names.OBSERVATION_LEVEL: "ERROR" if result.failed else "DEFAULT",
        f"{Names.OBSERVATION_METADATA}.dataset_id": shared[Names.EXPERIMENT_DATASET_ID],
        f"{Names.OBSERVATION_METADATA}.dataset_item_id": result.item_id,
        f"{Names.OBSERVATION_METADATA}.experiment_run_name": shared[Names.EXPERIMENT_NAME],
    }
    ended = started + timedelta(seconds=result.seconds)
    spans = [
        _span("experiment-item-run", trace_id, root_id, None, started, ended, own),
        _span("experiment-item-task", trace_id, task_id, root_id, started, ended, own),
    ]
    if result.tokens is not None:
        usage = json.dumps({"input": result.tokens[0], "output": result.tokens[1]})
        call = {**shared, Names.OBSERVATION_TYPE: "generation", Names.OBSERVATION_USAGE_DETAILS: usage}
        if result.cost is not None:
            call[Names.OBSERVATION_COST_DETAILS] = json.dumps({"total": result.cost})
        spans.append(_span("call", trace_id, secrets.token_hex(8), task_id, started, ended, call))
    return spans


def _span(
    name: str,
    trace_id: str,
    span_id: str,
    parent_id: str | None,
    started: datetime,
    ended: datetime,
    attributes: Mapping[str, str],
) -> Span:
    return Span(
        name=name,
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
        parent_span_id=bytes.fromhex(parent_id) if parent_id else b"",
        start_time_unix_nano=int(started.timestamp() * 1e9),
        end_time_unix_nano=int(ended.timestamp() * 1e9),
        attributes=[KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items()],
    )


def _request(spans: Sequence[Span]) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=list(spans))])])


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
