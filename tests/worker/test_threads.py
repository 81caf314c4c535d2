"""The threads that call sync code."""

import threading
from functools import partial

import anyio
import pytest

from lfexp_mcp.worker.threads import Threads
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.anyio


async def test_calls_run_at_once_each_in_a_thread_and_threads_are_used_again() -> None:
    threads, together = Threads(), threading.Barrier(5)
    used: set[int] = set()

    def call(number: int) -> int:
        together.wait(PATIENCE_S)
        used.add(threading.get_ident())
        return number

    for _ in range(20):
        results: list[int] = []

        async def one(number: int, results: list[int] = results) -> None:
            results.append(await threads.run(partial(call, number)))

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(one, number)
        assert sorted(results) == [0, 1, 2, 3, 4]
    assert len(used) == 5
    threads.close()


async def test_ten_thousand_results_that_come_while_the_loop_is_busy_all_arrive() -> None:
    threads, total = Threads(), 0

    async def some() -> None:
        nonlocal total
        for number in range(500):
            result = await threads.run(partial(int, number))
            total += result

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(some)
    assert total == 20 * sum(range(500))
    threads.close()


async def test_a_call_that_is_abandoned_goes_on_and_takes_no_thread_of_others() -> None:
    threads, may_end, ended = Threads(), threading.Event(), threading.Event()

    def hang() -> None:
        may_end.wait(PATIENCE_S)
        ended.set()

    with anyio.move_on_after(0.01) as scope:
        await threads.run(hang)
    assert scope.cancelled_caught
    assert await threads.run(lambda: "next") == "next"
    assert not ended.is_set()
    threads.close()
    may_end.set()
    await until(ended.is_set)


async def test_closed_threads_end_after_what_they_are_in() -> None:
    threads, before, may_end = Threads(), set(threading.enumerate()), threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(threads.run, partial(may_end.wait, PATIENCE_S))
        await threads.run(int)
        own = set(threading.enumerate()) - before
        assert len(own) == 2
        threads.close()
        await until(lambda: sum(thread.is_alive() for thread in own) == 1)
        may_end.set()
    await until(lambda: not any(thread.is_alive() for thread in own))
