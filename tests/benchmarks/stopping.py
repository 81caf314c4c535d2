"""What a stopping rule promises: how much it saves, and that it shows what a whole run would show."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lfexp_mcp.gateway import SpooledItems
from lfexp_mcp.model import (
    DatasetItem,
    ExperimentHead,
    Look,
    Provenance,
    RecordedStatus,
    RunPlan,
    RunSpec,
    Score,
)
from lfexp_mcp.runs.baseline import write_baseline
from lfexp_mcp.runs.events import ItemEnded, ItemScored, WorkerAccepted
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.outbox import Outbox
from lfexp_mcp.scripts import load_task
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments.early_stopping import StoppableRun, make_stoppable
from lfexp_mcp.services.requests import CompareRequest, RunRequest
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.worker.early_stopping import EarlyStopping
from lfexp_mcp.worker.isolation import RunLog
from lfexp_mcp.worker.loading import LoadedRun
from lfexp_mcp.worker.pending import PendingItem
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.stopping import Stop
from tests.benchmarks.runners import Bench
from tests.benchmarks.stored import CHECK, SCORE, item_id, record
from tests.benchmarks.table import Row
from tests.services.recording import make_dataset
from tests.statistics.stopped import SHOWN, End, Stopping, decided, end_of, rule_of, stopped_runs

ITEMS = 500
DISCORDANT = 0.12
EFFECTS = ((0.0, 0.3), (-0.05, 0.25), (-0.08, 0.5))
"""True differences, and the least share of the items that is saved."""
COUNTED_RUNS = 40_000
STORED_RUNS = 200
BASELINE, RUN = "v00", "v01"
PAIRS = {1: (0.0, 1.0), -1: (1.0, 0.0), 0: (1.0, 1.0)}
"""(baseline, run) by outcome."""


async def stopping(bench: Bench, stored: int = STORED_RUNS) -> AsyncIterator[Row]:
    """Of runs of 500 items, 12% of which differ, what a stopping rule saves, and finds of what a whole run would.

    Args:
        bench: The store.
        stored: Runs of each true difference that go through the services, beside those whose looks are only counted.
    """
    for delta, least in EFFECTS:
        found = stopped_runs(delta, DISCORDANT, COUNTED_RUNS, rule_of(ITEMS))
        yield _row(delta, least, f"{COUNTED_RUNS} runs counted", found)
    for delta, least in EFFECTS:
        found = Stopping.of([end async for end in stored_runs(bench.ws, delta, DISCORDANT, ITEMS, stored)])
        yield _row(delta, least, f"{stored} runs in the store", found)


def _row(delta: float, least: float, runs: str, found: Stopping) -> Row:
    saved, lost = 1 - found.items, found.shown_whole - found.shown
    over = found.shown - 0.05 - 3 * found.shown_error if delta == 0 else lost - 0.02 - 3 * found.lost_error
    return Row(
        f"stopping, true difference {delta:+.2f}, {runs}",
        f"saved {saved:.3f} +-{found.items_error:.3f}, shown {found.shown:.4f} +-{found.shown_error:.4f}",
        f"whole run {found.shown_whole:.4f}",
        f"{lost:.4f} +-{found.lost_error:.4f}",
        f">= {least} saved, <= {'0.05 shown' if delta == 0 else '0.02 lost'}",
        saved + 3 * found.items_error >= least and over <= 0,
    )


async def stored_runs(
    ws: Workspace, delta: float, discordant: float, items: int, runs: int, seed: int = 1
) -> AsyncIterator[End]:
    """Runs whose baseline is in the store, each with its looks on a journal and its comparison by `compare_runs`.

    The rule is made by the service that begins a run; its looks are those that a worker takes, at the journal as it is
    then; and the results that the run has in the end are in the store, where another machine compares them. The looks
    have to decide what `decide` does by the counts, and the comparison has to say what they said.
    """
    rng, shares = np.random.default_rng(seed), [(discordant + delta) / 2, (discordant - delta) / 2, 1 - discordant]
    with TemporaryDirectory() as name:
        for run in range(runs):
            outcomes = rng.choice([1, -1, 0], p=shares, size=items).tolist()
            folder = RunFolder(Path(name) / str(run))
            simulated = await _SimulatedRun.begin(ws, folder, f"stopping-{seed}-{delta}-{items}-{run}", outcomes)
            yield await simulated.end()


class _JournalRecorder(Recorder):
    """Records looks; results are journaled without spans."""

    def __init__(self, journal: JournalWriter, outbox: Outbox) -> None:
        self._journal = journal
        self._outbox = outbox


class _NoLog(RunLog):
    """Leaves the output of this process where it is."""

    def __init__(self) -> None:
        pass


@dataclass(frozen=True)
class _SimulatedRun:
    """A run whose results are known before it begins."""

    ws: Workspace
    folder: RunFolder
    outcomes: dict[str, int]
    """1 for a win, -1 for a loss, by item id."""
    prepared: StoppableRun
    plan: RunPlan

    @classmethod
    async def begin(cls, ws: Workspace, folder: RunFolder, dataset: str, outcomes: Sequence[int]) -> "_SimulatedRun":
        """Record the baseline, and write the run's folder as the service that begins runs does."""
        by_item = {item_id(number): outcome for number, outcome in enumerate(outcomes)}
        made = await make_dataset(ws, dataset)
        await record(ws, dataset, BASELINE, {each: PAIRS[one][0] for each, one in by_item.items()}, CHECK, None)
        script = folder.path.with_suffix(".py")
        script.write_text("def task(*, item, **kwargs): ...\n")
        run_spec = RunSpec(
            created=datetime.now(UTC),
            project_id=await ws.gateway.project_id(),
            base_url=ws.gateway.backend.url,
            dataset_id=made.id,
            dataset_name=dataset,
            dataset_version=made.created,
            item_count=len(by_item),
            experiments=(ExperimentHead(id=await ws.gateway.experiments.id_of(made.id, RUN), name=RUN),),
            task_script=script,
            working_folder=folder.path.parent,
        )
        request = RunRequest(
            dataset=dataset, run_name=RUN, task_script=script, compare_with=BASELINE, stop_when="decided"
        )
        items = [DatasetItem(each, input="question") for each in by_item]
        prepared = await make_stoppable(ws, request, run_spec, SpooledItems(items))
        folder.write_run_spec(prepared.run_spec, prepared.items)
        write_baseline(folder, prepared.values)
        return cls(ws, folder, by_item, prepared, RunPlan.of(prepared.run_spec, (CHECK,)))

    async def end(self) -> End:
        """Journal the results in the order of the run until a look stops it, and compare what there is then."""
        stop, done = Stop(), 0
        early, journal = self._early_stopping(stop)
        for pending in await early.begin([PendingItem(item, 0) for item in self.prepared.items]):
            self._journal(journal, pending.item.id)
            await early.count(pending)
            done += 1
            if stop.status is not None:
                break
        journal.close()
        looks = tuple(self.folder.read_state().looks)
        ended = self._expected(looks)
        assert done == round(ended.items * len(self.outcomes))
        status = RecordedStatus(
            stop.status or "completed", datetime.now(UTC), self.plan, done, makers=(CHECK,), looks=looks
        )
        ran = {item.id: PAIRS[self.outcomes[item.id]][1] for item in self.prepared.items[:done]}
        dataset = self.prepared.run_spec.dataset_name
        await record(self.ws, dataset, RUN, ran, CHECK, status)
        [line] = (await compare_runs(self.ws, CompareRequest(dataset=dataset, runs=[BASELINE, RUN]))).scores
        assert (line.verdict in SHOWN, line.pairs) == (ended.shown, done)
        assert looks[-1].verdict in (line.verdict, None)
        return ended

    def _early_stopping(self, stop: Stop) -> tuple[EarlyStopping, JournalWriter]:
        """What a worker has that takes the looks of this run."""
        run_spec, outbox = self.prepared.run_spec, Outbox(self.folder.outbox_path)
        state, journal = self.folder.read_state(), self.folder.open_journal()
        provenance = Provenance(plan=self.plan)
        journal.append(WorkerAccepted(pid=1, provenance=provenance))
        assert run_spec.task_script is not None
        task = load_task(run_spec.task_script)
        loaded = LoadedRun(
            self.folder, run_spec, state, task, [], [], self.plan, provenance, journal, outbox,
            _NoLog(),
        )  # fmt: skip
        return EarlyStopping(loaded, _JournalRecorder(journal, outbox), stop), journal

    def _journal(self, journal: JournalWriter, item: str) -> None:
        """Journal a result with its score."""
        value = PAIRS[self.outcomes[item]][1]
        observation, now = f"{int(item[-4:]):016x}", datetime.now(UTC)
        score = Score(f"{item}-score", SCORE, value, "NUMERIC", maker=CHECK, observation_id=observation)
        journal.append(
            ItemEnded(
                item_id=item,
                status="succeeded",
                trace_id=observation * 2,
                root_id=observation,
                observation_id=observation,
                started=now,
                seconds=0.1,
            ),
            ItemScored(item_id=item, evaluators=(SCORE,), scores=(score,)),
        )

    def _expected(self, looks: Sequence[Look]) -> End:
        """How the run has to end by its counts; the looks taken have to be those."""
        rule = self.prepared.run_spec.stopping
        assert rule is not None
        by_count = rule_of(len(self.outcomes))
        assert (rule.sizes, rule.rise, rule.fall, rule.min_delta) == (
            by_count.sizes, by_count.rise, by_count.fall, by_count.min_delta
        )  # fmt: skip
        order = [self.outcomes[item.id] for item in self.prepared.items]
        counts = [(order[:size].count(1), order[:size].count(-1)) for size in rule.sizes]
        for look, at_look in zip(looks, counts, strict=False):
            assert (look.wins, look.losses) == at_look
            assert look.verdict == decided(by_count, look.number, *at_look)
        return end_of(counts, by_count)
