"""What arrives when the way to the store goes wrong, beside the SDK's own experiments."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from tests.benchmarks.runners import Bench
from tests.benchmarks.scripts import NESTED_TASK, TWO_EVALUATORS
from tests.benchmarks.table import Row
from tests.faults.killing import survive_kills
from tests.faults.proxy import SPANS, Fault, FaultProxy, Judgement, Request, no_faults
from tests.worker.scene import Scene

ITEMS = 500
SPANS_AN_ITEM = 15
SCORES_AN_ITEM = 2
CONCURRENCY = 50
OUTAGE = 20.0
KILLS = 20


async def arrivals(bench: Bench) -> AsyncIterator[Row]:
    """500 items with nested spans through three faults."""
    cases: list[tuple[str, Callable[[], Judgement], bool]] = [
        ("one write in three answered 500", _every_third_500, False),
        ("every export takes 0.5 s", lambda: _slow_exports, False),
        (f"server gone for {OUTAGE:.0f} s", lambda: no_faults, True),
    ]
    for name, faults, outage in cases:
        found = [await _run_through(bench, runner, faults(), outage) for runner in ("our_run", "sdk_run")]
        whole = f"{ITEMS}/{ITEMS * SPANS_AN_ITEM}/{ITEMS * SCORES_AN_ITEM}"
        ours, sdk = found
        yield Row(f"{name}: items/spans/scores", ours, f"SDK {sdk}", "", whole, ours == whole)


def _every_third_500() -> Judgement:
    writes: Counter[str] = Counter()

    def judge(request: Request) -> Fault | None:
        writes[request.path] += 1
        return Fault(status=500) if request.writes and writes[request.path] % 3 == 0 else None

    return judge


def _slow_exports(request: Request) -> Fault | None:
    return Fault(delay=0.5) if SPANS in request.path else None


async def _run_through(bench: Bench, runner: str, faults: Judgement, outage: bool) -> str:
    dataset = await bench.dataset(ITEMS)
    task, evaluators = bench.script("nested", NESTED_TASK), bench.script("two", TWO_EVALUATORS)
    with FaultProxy(bench.store.base_url) as proxy:
        proxy.faults = faults
        async with anyio.create_task_group() as group:
            if outage:
                group.start_soon(_take_away, proxy)
            figures = await bench.run(runner, dataset, task, evaluators, max_concurrency=CONCURRENCY, url=proxy.url)
    return await _count(bench, figures.experiment_id)


async def _take_away(proxy: FaultProxy) -> None:
    while not any(SPANS in request.path for request in proxy.requests):  # noqa: ASYNC110 - nobody tells of it
        await anyio.sleep(0.05)
    await anyio.to_thread.run_sync(proxy.go_away)
    await anyio.sleep(OUTAGE)
    await anyio.to_thread.run_sync(proxy.come_back)


async def _count(bench: Bench, experiment_id: str) -> str:
    """Items, spans and scores that the store has of a run; what is there twice counts as missing."""
    results = await bench.gateway.experiments.results(experiment_id)
    once = [item for item, count in Counter(result.item_id for result in results).items() if count == 1]
    spans = sum([len(await bench.gateway.observations.find(trace_id=result.trace_id)) for result in results])
    scores = sum(len(result.scores) for result in results)
    return f"{len(once)}/{spans}/{scores}"


async def kills(bench: Bench) -> AsyncIterator[Row]:
    """The worker killed twenty times over."""
    scene = Scene(bench.ws, Path(bench.folder) / "killed")
    await scene.fill(ITEMS)
    survived = await survive_kills(scene, KILLS, max_concurrency=5, longest=0.3)
    results = await bench.gateway.experiments.results(str(survived.answer.experiment_id))
    once = sum(count == 1 for count in Counter(result.item_id for result in results).values())
    again, in_flight = survived.called_again, survived.in_flight
    yield Row(
        f"{survived.kills} SIGKILLs, each with resume: items once / run again",
        f"{once} / {again.total()}",
        f"in flight at the kills: {in_flight.total()}",
        "",
        f"{ITEMS} / only those in flight",
        once == ITEMS and again <= in_flight and survived.kills == KILLS and survived.answer.status == "completed",
    )
