"""A project in which all that is about held-out items bears a mark, and a client that looks for it."""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mcp import Client
from pydantic import JsonValue

from lfexp_mcp.model import Holdout, ItemResult, Score
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.settings import Settings
from tests.services.humans import Humans
from tests.services.recording import Recorded, record_run, record_trace
from tests.tools.conftest import Caller, text_of
from tests.waiting import PATIENCE_S

MARK = "zx9k"
"""At the beginning of every text about a held-out item, its id included."""
STAND_IN = "qj4v"
"""In the place of the mark, for what does not exist."""
HOLDOUT = Holdout(0.5, "salt")
DATASET = "questions"
OPEN, HELD = 16, 14
RAISING = 3
"""The open item whose task fails."""
TASK = """
def task(*, item, **kwargs):
    print("seen", item.input)
    if "raise" in item.input:
        raise ValueError(f"{item.input} cannot be answered")
    return item.input + "OUT"
"""
EVALUATORS = """
def right(*, input, output, expected_output, **kwargs):
    if "unjudged" in input:
        raise RuntimeError(f"{input} cannot be judged")
    value = float(sum(map(ord, input)) % 10 > 3)
    return {"name": "right", "value": value, "comment": f"{input} was answered"}

def summary(*, item_results, **kwargs):
    return {"name": "summary", "value": 1.0, "comment": " ".join(str(each.output) for each in item_results)}

EVALUATORS = [right]
RUN_EVALUATORS = [summary]
"""


def _ids(prefix: str, count: int, *, held_out: bool) -> list[str]:
    """Return ids that are on one side of the holdout."""
    matching = (f"{prefix}-{n}" for n in range(10_000) if HOLDOUT.holds(f"{prefix}-{n}") is held_out)
    return [next(matching) for _ in range(count)]


@dataclass
class World:
    """The project, a client of a server on it, and what the client may try to see."""

    ws: Workspace
    """Of someone who may see all, to make the project."""
    caller: Caller
    folder: Path
    open_ids: list[str] = field(default_factory=lambda: _ids("open", OPEN, held_out=False))
    held_ids: list[str] = field(default_factory=lambda: _ids(MARK, HELD, held_out=True))
    traces: list[str] = field(default_factory=list)
    """Of held-out items, in runs and in production."""
    observations: list[str] = field(default_factory=list)
    """Of these traces."""
    open_traces: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """What the server has answered."""

    @property
    def task(self) -> str:
        return str(self.folder / "task.py")

    @property
    def evaluators(self) -> str:
        return str(self.folder / "evaluators.py")

    @property
    def other_evaluators(self) -> str:
        """The evaluators after an edit, which are others."""
        path = self.folder / "other_evaluators.py"
        path.write_text(f"# Edited.{EVALUATORS}")
        return str(path)

    def mean_right(self, run_name: str) -> float:
        """The mean of score `right` over the open items of a run."""
        if run_name == "foreign":
            return statistics.fmean(number % 3 / 2 for number in range(OPEN))
        inputs = (_input(number) for number in range(OPEN) if number != RAISING)
        return statistics.fmean(float(sum(map(ord, each)) % 10 > 3) for each in inputs)

    async def held_results(self, run_name: str) -> list[ItemResult]:
        """What Langfuse has of a run over held-out items."""
        experiments, dataset = self.ws.gateway.experiments, await self.ws.gateway.datasets.get(DATASET)
        experiment_id = await experiments.id_of(dataset.id, run_name)
        found = (await experiments.described_results(experiment_id, held_out=True)).results
        assert found
        return sorted(found, key=lambda result: result.item_id)

    async def call(self, tool: str, **arguments: JsonValue) -> str:
        """Call a tool; return all that it said: text, structured content, progress, and files that it names."""
        self.caller.progress.clear()
        result = await self.caller.result(tool, **arguments)
        said = [text_of(result), json.dumps(result.structured_content), repr(self.caller.progress)]
        for path in _paths(result.structured_content):
            # A task's log is the reader's own, unless held-out items are in it.
            said.append(path.read_text(errors="replace") if path.suffix == ".log" else "")
        return "\n".join(said)

    async def answer(self, tool: str, **arguments: JsonValue) -> dict[str, JsonValue]:
        """Call a tool that works."""
        return await self.caller.answer(tool, **arguments)


def _paths(value: object) -> Iterator[Path]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _paths(each)
    elif isinstance(value, str) and value.startswith("/") and "\n" not in value and Path(value).is_file():
        yield Path(value)


async def build_world(ws: Workspace, settings: Settings, client: Client, folder: Path) -> World:
    """Make the project: runs of ours and of the SDK over all items, what people say of them, and then the holdout."""
    world = World(ws, Caller(client), folder)
    (folder / "task.py").write_text(TASK)
    (folder / "evaluators.py").write_text(EVALUATORS)
    await ws.gateway.datasets.upsert(DATASET, "Questions", {"owner": "us"})
    await _store_items(world)
    run = {"dataset": DATASET, "task_script": world.task, "evaluator_script": world.evaluators}
    await world.answer("run_experiment", run_name="old", wait_seconds=PATIENCE_S, **run)
    await _record_others(world)
    old = await ws.gateway.datasets.get(DATASET)
    for result in await ws.gateway.experiments.results(await ws.gateway.experiments.id_of(old.id, "old")):
        (world.traces if MARK in result.item_id else world.open_traces).append(result.trace_id or "")
    _let_people_comment(world, settings)
    await ws.gateway.datasets.upsert(DATASET, holdout=HOLDOUT)
    await world.answer("run_experiment", run_name="new", wait_seconds=PATIENCE_S, **run)
    return world


def _input(number: int) -> str:
    return f"question {number}{' raise' if number == RAISING else ''}"


async def _store_items(world: World) -> None:
    dataset_items = world.ws.gateway.dataset_items
    for number, item_id in enumerate(world.open_ids):
        metadata: dict[str, JsonValue] = {"lang": "de" if number % 2 else "en", "split": "train"}
        await dataset_items.upsert(
            DATASET,
            id=item_id,
            input=_input(number),
            expected_output=f"answer {number}",
            metadata=metadata,
        )
    for number in range(3):
        await record_trace(world.ws, f"asked in production {number}", "answered")
    for number, item_id in enumerate(world.held_ids):
        how = {1: " raise", 2: " unjudged"}.get(number % 7, "")
        trace = await record_trace(world.ws, f"{MARK}in{number}", f"{MARK}production") if number < 3 else None
        world.traces += [trace] if trace else []
        await dataset_items.upsert(
            DATASET,
            id=item_id,
            input=f"{MARK}in{number} Zürich{how}",
            expected_output=f"{MARK}expected{number}",
            metadata={"lang": f"{MARK}lang", f"{MARK}key": f"{MARK}value", "split": f"{MARK}split"},
            source_trace_id=trace,
        )


async def _record_others(world: World) -> None:
    """Runs as the SDK makes them, over the whole dataset, one with a name that says so."""
    dataset = await world.ws.gateway.datasets.get(DATASET)
    for name in ("foreign", "foreign2"):
        results = [
            Recorded(item_id, f"answer {number}", f"question {number}", scores={"right": number % 3 / 2, "cost": 1.0})
            for number, item_id in enumerate(world.open_ids)
        ]
        results += [
            Recorded(
                item_id,
                f"Error: {MARK}out{number}" if number == 4 else f"{MARK}out{number}",
                f"{MARK}in{number}",
                f"{MARK}expected{number}",
                {"lang": f"{MARK}lang"},
                {"right": 0.377713, f"{MARK}score": f"{MARK}label", "cost": 73.0},
                {"right": f"{MARK}reason"},
                failed=number == 4,
                session=f"{MARK}session" if number < 3 else None,
                tokens=(777_777, 777_777),
                cost=771.7,
            )
            for number, item_id in enumerate(world.held_ids)
        ]
        run = await record_run(world.ws, dataset, name, results, description="By the SDK.")
        world.traces += [run.traces[item_id] for item_id in world.held_ids]
        world.observations += [run.observations[item_id] for item_id in world.held_ids[:5]]
        whole = Score(name, f"{MARK}whole", 0.377713, "NUMERIC", f"{MARK}worst", experiment_id=run.experiment_id)
        assert await world.ws.gateway.scores.write([whole]) == {}


def _let_people_comment(world: World, settings: Settings) -> None:
    humans = Humans(settings)
    config = humans.config("human", 0, 1)
    for trace in (*world.traces[:5], *world.traces[-4:]):
        humans.annotate("human", 0.377713, config, trace, comment=f"{MARK}annotated")
        humans.comment("TRACE", trace, f"{MARK}commented")
    for observation in world.observations:
        humans.comment("OBSERVATION", observation, f"{MARK}observed")
    humans.comment("SESSION", f"{MARK}session", f"{MARK}in session")
    for trace in world.open_traces[:3]:
        humans.annotate("human", 1.0, config, trace, comment="well said")
        humans.comment("TRACE", trace, "as it should be")
    humans.queue("review", [config], [*world.traces[:5], *world.open_traces[:2]])
    humans.close()
