"""Runs with a judge's scores, and people who label what is drawn from them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from lfexp_mcp.answers.labels import LabelsAnswer
from lfexp_mcp.gateway import Queue, QueueItem, scoring_score_id, status_score
from lfexp_mcp.model import TEN, JudgeMaker, RecordedStatus, RunMaker, RunPlan, Score
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.services.labels.reading import Labels, read_labels
from lfexp_mcp.services.labels.request_labels import request_labels
from lfexp_mcp.services.requests import LabelsRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.services.runs.scored_run import configured_scales, interpret_run
from lfexp_mcp.services.workspace import Workspace
from tests.services.humans import Humans
from tests.services.recording import Recorded, RecordedRun, make_dataset, record_run

TONE = JudgeMaker("judge-tone", 1, "openai", "gpt-5.4-mini", TEN, "prompt config")


async def judged_run(
    ws: Workspace,
    dataset: str,
    values: Sequence[float | None],
    run_name: str = "run",
    maker: RunMaker = TONE,
) -> RecordedRun:
    """Record a run whose items `i000`, `i001`, ... a judge scored `tone`; None for those that it failed to score."""
    results = [
        Recorded(f"i{n:03}", output=f"o{n}", scores={} if value is None else {"tone": value})
        for n, value in enumerate(values)
    ]
    return await record_run(ws, await make_dataset(ws, dataset), run_name, results, makers={"tone": maker})


async def score_again(ws: Workspace, run: RecordedRun, maker: RunMaker, value: float) -> None:
    """Let another maker score `tone` of all results of a run, as score_run does."""
    now = datetime.now(UTC)
    scores = [
        Score(
            score_id(run.experiment_id, item, observation, "tone", maker),
            "tone",
            value,
            "NUMERIC",
            timestamp=now,
            maker=maker,
            trace_id=run.traces[item],
            observation_id=observation,
        )
        for item, observation in run.observations.items()
    ]
    assert await ws.gateway.scores.write(scores) == {}
    plan = RunPlan(len(scores), scores=("tone",), makers=(maker,))
    ended = RecordedStatus("completed", now, plan, len(scores), makers=(maker,))
    mark = status_score(ended, run.experiment_id, scoring_score_id(run.experiment_id, plan))
    assert await ws.gateway.scores.write([mark]) == {}


async def ask(ws: Workspace, dataset: str, n: int | None = None, *, stratify: bool = False) -> LabelsAnswer:
    request = LabelsRequest(dataset=dataset, run_name="run", score_name="tone", n=n, stratify=stratify)
    return await request_labels(ws, request)


async def labels_of(ws: Workspace, dataset: str, run_name: str = "run", score: str = "tone") -> Labels:
    record = await read_run(ws, dataset, run_name)
    return (await read_labels(ws, interpret_run(record, await configured_scales(ws, record.scores))))[score]


async def queue_named(ws: Workspace, name: str) -> Queue:
    """Find a queue by its name or its page, as an answer says."""
    [found] = [queue for queue in await ws.gateway.queues.all() if queue.name == name or f"/{queue.id}/" in name]
    return found


async def queued(ws: Workspace, name: str) -> list[QueueItem]:
    """Return the items of a queue in the order in which people are shown them."""
    return [*reversed(await ws.gateway.queues.items((await queue_named(ws, name)).id))]


class Annotators:
    """People who work on one queue; `value_of` says what they give an item of the run."""

    def __init__(self, ws: Workspace, humans: Humans, run: RecordedRun, queue: str, data_type: str = "NUMERIC") -> None:
        self._ws, self._humans, self._run, self._queue, self._data_type = ws, humans, run, queue, data_type
        self._items: Mapping[str, str] = {observation: item for item, observation in run.observations.items()}

    async def label(self, value_of: Callable[[str], float], places: Sequence[int] | None = None) -> list[str]:
        """Label what is in the queue, or only what is at some places of it, and return the ids of its dataset items."""
        queue, listed = await queue_named(self._ws, self._queue), await queued(self._ws, self._queue)
        chosen = listed if places is None else [listed[place] for place in places]
        for entry in chosen:
            item = self._items[entry.object_id]
            self._humans.annotate(
                "human-tone",
                value_of(item),
                queue.score_config_ids[0],
                self._run.traces[item],
                entry.object_id,
                data_type=self._data_type,
                queue_id=queue.id,
            )
        return [self._items[entry.object_id] for entry in chosen]

    async def skip(self, places: Sequence[int]) -> None:
        """Mark what is at some places as looked at, without a label."""
        queue, listed = await queue_named(self._ws, self._queue), await queued(self._ws, self._queue)
        for place in places:
            self._humans.complete(queue.id, listed[place].id)
