"""Time-outs while the process is stopped, of which its event loop only sees that its clock has jumped."""

import asyncio
from collections.abc import Callable
from threading import Event

import anyio
import pytest

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.worker.running_time import MAX_PART_S, PARTS, RunningTime, running_for_at_most
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, UserCode, UserLoop
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.anyio

Skip = Callable[[float], None]


@pytest.fixture
async def skip(monkeypatch: pytest.MonkeyPatch) -> Skip:
    """Let the event loop find that so many seconds have passed."""
    loop, passed = asyncio.get_running_loop(), [0.0]
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed[0])

    def let_pass(seconds: float) -> None:
        passed[0] += seconds

    return let_pass


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_item_is_not_timed_out_by_hours_in_which_its_worker_was_stopped(skip: Skip, *, is_async: bool) -> None:
    code, begun, released = UserCode(1, UserLoop()), Event(), Event()
    found: list[CallResult[object]] = []

    def task() -> str:
        begun.set()
        released.wait(PATIENCE_S)
        return "done"

    async def async_task() -> str:
        return await asyncio.to_thread(task)

    async def call() -> None:
        function: Callable[[], object] = async_task if is_async else task
        found.append(await code.call(function, lambda value: value, is_async=is_async, timeout=PATIENCE_S))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await until(begun.is_set)
        skip(3600)
        # The waits that are over are noticed first.
        for _ in range(5):
            await asyncio.sleep(0)
        released.set()
    assert found == [Returned("done")]


async def test_a_time_that_is_run_through_is_over(skip: Skip) -> None:
    code, released = UserCode(1, UserLoop()), Event()

    async def pass_time() -> None:
        for _ in range(PARTS):
            skip(6.0)
            await asyncio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(pass_time)
        result = await code.call(
            lambda: released.wait(PATIENCE_S), lambda value: value, is_async=False, timeout=PARTS * 5.0
        )
    released.set()
    assert isinstance(result, Raised)
    assert result.error == "TimeoutError: no result within 50 s"


@pytest.mark.parametrize(("seconds", "stops"), [(50.0, 9), (600.0, 119)])
async def test_each_stop_ends_one_of_the_waits_of_a_limit(skip: Skip, seconds: float, stops: int) -> None:
    went_on = False
    with running_for_at_most(seconds):
        for _ in range(stops):
            skip(MAX_PART_S * 10)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        went_on = True
    assert went_on


async def test_what_is_done_in_time_is_not_given_up_and_without_a_limit_nothing_is() -> None:
    with running_for_at_most(PATIENCE_S):
        done = 1
    with running_for_at_most(None):
        done += 1
    with running_for_at_most(0.001):
        await anyio.sleep_forever()
    assert done == 2


def test_of_a_long_interval_only_a_part_counts_as_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(CLOCK, "monotonic", lambda: now[0])
    ran = RunningTime()
    for passed in (0.2, 4.0, 7200.0, 0.2):
        now[0] += passed
        ran.seconds()
    assert ran.seconds() == pytest.approx(0.2 + 4.0 + MAX_PART_S + 0.2)
