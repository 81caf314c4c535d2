"""Code of the user that replaces parts of Python: the run goes on with those it began with, or says why it ends."""

import sys

import pytest

from lfexp_mcp.answers.run import RunAnswer
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 8
EVALUATORS = """
    async def found(*, output, **kwargs):
        return 1 if output else 0

    EVALUATORS = [found]
"""
PLAIN = """
def task(*, item, **kwargs):
    return item.input
"""
ASYNC = """
import asyncio
sleep = asyncio.sleep

async def task(*, item, **kwargs):
    await sleep(0.001)
    return item.input
"""


async def run(scene: Scene, task: str) -> RunAnswer:
    await scene.fill(ITEMS)
    return await scene.run(
        scene.script(task), evaluator_script=scene.script(EVALUATORS, "evaluators.py"), max_concurrency=4
    )


async def check_all_is_there(scene: Scene, answer: RunAnswer) -> None:
    """Check that each item has one result and one score in Langfuse, under today's date."""
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    assert [(score.name, score.count) for score in answer.scores] == [("found", ITEMS)]
    stored = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert sorted(item.item_id for item in stored) == sorted(map(scene.item_id, range(ITEMS)))
    record = await scene.record()
    assert record.created is not None
    assert record.created.year > 2020
    for item in record.items:
        assert item.started is not None
        assert abs((item.started - record.created).total_seconds()) < 3600
        assert 0 <= (item.seconds or 0) < 3600
    trace_id = record.items[0].trace_id
    for observation in await scene.ws.gateway.observations.find(trace_id=trace_id):
        assert abs((observation.started - record.created).total_seconds()) < 3600


FROZEN = {
    "by freezegun": "from freezegun import freeze_time\nfreeze_time('2012-01-14').start()",
    "by hand, standing still": """
import time
for name in ("time", "monotonic", "perf_counter"):
    setattr(time, name, lambda: 1.0)
for name in ("time_ns", "monotonic_ns", "perf_counter_ns"):
    setattr(time, name, lambda: 1)
time.sleep = None
""",
    "by hand, leaping": """
import itertools, time
hours = itertools.count(0, 3600)
for name in ("time", "monotonic", "perf_counter"):
    setattr(time, name, lambda: float(next(hours)))
for name in ("time_ns", "monotonic_ns", "perf_counter_ns"):
    setattr(time, name, lambda: next(hours) * 10**9)
""",
}


@pytest.mark.parametrize("how", FROZEN)
async def test_a_task_that_freezes_time_stops_no_clock_of_the_run(scene: Scene, how: str) -> None:
    await check_all_is_there(scene, await run(scene, FROZEN[how] + PLAIN))


async def test_time_frozen_within_a_task_is_the_tasks_alone(scene: Scene) -> None:
    answer = await run(
        scene,
        """
        import time
        from freezegun import freeze_time

        @freeze_time("2012-01-14")
        def task(*, item, **kwargs):
            return time.gmtime().tm_year
        """,
    )
    await check_all_is_there(scene, answer)
    assert {item.output for item in (await scene.record()).items} == {2012}


REPLACED = {
    "names of asyncio": """
import asyncio

async def nothing(*args, **kwargs):
    return set(), set()

def broken(*args, **kwargs):
    raise RuntimeError("replaced")

for name in ("wait", "wait_for", "gather", "timeout"):
    setattr(asyncio, name, nothing)
for name in ("Event", "Lock", "Semaphore", "Future", "Runner", "run", "create_task", "get_running_loop", "wrap_future",
             "run_coroutine_threadsafe"):
    setattr(asyncio, name, broken)
""",
    "methods of its event loop": """
import asyncio
once = asyncio.BaseEventLoop.call_soon

def twice(self, callback, *args, context=None):
    once(self, callback, *args, context=context)
    return once(self, callback, *args, context=context)

def broken(*args, **kwargs):
    raise RuntimeError("replaced")

asyncio.BaseEventLoop.call_soon = twice
asyncio.BaseEventLoop.time = lambda self: 5.0
asyncio.BaseEventLoop.create_task = broken
asyncio.BaseEventLoop.call_later = broken
""",
}


@pytest.mark.parametrize("what", REPLACED)
async def test_a_replaced_asyncio_doubles_and_loses_no_result(scene: Scene, what: str) -> None:
    task = REPLACED[what] + (PLAIN if "loop" in what else ASYNC)
    await scene.fill(ITEMS)
    plain = EVALUATORS.replace("async def", "def")
    answer = await scene.run(scene.script(task), evaluator_script=scene.script(plain, "evaluators.py"))
    await check_all_is_there(scene, answer)


async def test_signals_to_the_main_thread_end_no_run(scene: Scene) -> None:
    answer = await run(
        scene,
        """
        import _thread, signal, sys

        def leave(*args):
            sys.exit(3)

        signal.signal(signal.SIGTERM, leave)

        def task(*, item, **kwargs):
            match item.metadata["number"]:
                case 1:
                    _thread.interrupt_main()
                case 2:
                    signal.raise_signal(signal.SIGINT)
                case 3:
                    signal.raise_signal(signal.SIGTERM)
            return item.input
        """,
    )
    await check_all_is_there(scene, answer)


async def test_an_interrupt_raised_in_a_task_fails_its_item_alone(scene: Scene) -> None:
    answer = await run(
        scene,
        """
        def task(*, item, **kwargs):
            if item.metadata["number"] == 1:
                raise KeyboardInterrupt
            return item.input
        """,
    )
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", ITEMS - 1, 1)
    assert answer.errors[0].error == "KeyboardInterrupt (task.py, line 4)"


async def test_a_run_that_cannot_go_on_says_what_broke_it_and_ends_well_without_it(scene: Scene) -> None:
    broken = """
import httpx

def refuse(*args, **kwargs):
    raise RuntimeError("no network in tests")

httpx.AsyncClient.send = refuse
"""
    answer = await run(scene, broken + PLAIN)
    assert answer.status == "failed"
    assert "RuntimeError: no network in tests (task.py, line 5)" in answer.warnings[0]
    assert answer.next[0].arguments["resume"] is True
    again = await scene.run(
        scene.script(PLAIN), evaluator_script=scene.script(EVALUATORS, "evaluators.py"), resume=True
    )
    await check_all_is_there(scene, again)


DEATHS = {
    "exit code 3": ("os._exit(3)", 3),
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", -11),
}


@pytest.mark.parametrize("how", DEATHS)
async def test_a_worker_that_a_task_kills_is_reported_with_how_it_died_and_what_it_printed(
    scene: Scene, how: str
) -> None:
    if sys.platform == "win32" and how == "SIGSEGV":
        pytest.skip("Windows has no such signal")
    await scene.fill(1)
    task = scene.script(f"""
        import os, signal

        def task(*, item, **kwargs):
            print("about to die", flush=True)
            {DEATHS[how][0]}
    """)
    answer = await scene.run(task)
    folder = await scene.run_folder()
    assert (answer.status, folder.worker.exit_code) == ("failed", DEATHS[how][1])
    assert answer.log == str(folder.log_path)
    assert how in answer.warnings[0]
    assert "about to die" in answer.warnings[0]
    assert answer.log in answer.warnings[0]
