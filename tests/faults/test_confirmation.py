"""A run is called completed when Langfuse shows all of it, and what it lacks is made again from the journal."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lfexp_mcp.gateway.transport import PAGE_SIZE
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.worker.confirmation import ExpectedRecords
from tests.faults.proxy import SPANS, Fault, FaultProxy, Request, no_faults
from tests.faults.test_delivery import EVALUATORS, ITEMS, TASK, assert_all_is_there, giving_up_soon, only_writes, run
from tests.waiting import until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ACCEPTED = Fault(status=202, headers={"content-type": "application/json"}, content=b'{"message": "Accepted"}')
SHOWN = "/api/public/experiment-items"
PAGES = 2
WAITING_TASK = """
    import os
    import time

    def task(*, item, **kwargs):
        while item.id == {last!r} and not os.path.exists({go!r}):
            time.sleep(0.01)
        return item.input
"""
OK = Fault(status=200, headers={"content-type": "application/json"}, content=b'{"message": "OK"}')


async def assert_results_and_scores_are_there(scene: Scene, direct: Workspace, experiment_id: str) -> None:
    items = await direct.gateway.experiments.results(experiment_id)
    assert Counter(item.item_id for item in items) == {scene.item_id(number): 1 for number in range(ITEMS)}
    assert {item.output for item in items} == {f"INPUT {number}" for number in range(ITEMS)}
    assert all(sorted(score.name for score in item.scores) == ["exact", "length"] for item in items)
    calls = (scene.folder / "task.py.calls").read_text().split()
    assert sorted(calls) == sorted(scene.item_id(number) for number in range(ITEMS))


async def test_what_a_server_acknowledged_and_lost_is_sent_again_before_the_run_is_completed(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    lost: Counter[str] = Counter()

    def lose_the_first(request: Request) -> Fault | None:
        kind = "spans" if SPANS in request.path else "scores"
        if not request.writes or lost[kind] == 1:
            return None
        lost[kind] += 1
        return OK if kind == "spans" else ACCEPTED

    proxy.faults = lose_the_first
    answer = await run(scene)
    assert lost == {"spans": 1, "scores": 1}
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    await assert_results_and_scores_are_there(scene, direct, str(answer.experiment_id))


async def test_what_langfuse_shows_while_the_last_item_runs_is_not_read_again(scene: Scene, proxy: FaultProxy) -> None:
    await scene.fill(PAGES * PAGE_SIZE)
    read: list[Request] = []

    def let_the_last_end(request: Request) -> None:
        if SHOWN in request.path:
            read.append(request)
            # The last page is read by then, with all but the last result.
            if len(read) == PAGES:
                go.touch()

    go, proxy.faults = scene.folder / "go", let_the_last_end
    task = scene.script(WAITING_TASK.format(last=scene.item_id(PAGES * PAGE_SIZE - 1), go=str(go)))
    answer = await scene.run(task, max_concurrency=20)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", PAGES * PAGE_SIZE, 0)
    assert len(read) == PAGES + 1


async def test_results_that_are_recorded_while_a_page_is_read_may_be_shown_by_it(
    scene: Scene, proxy: FaultProxy, tmp_path: Path
) -> None:
    await scene.fill(3)
    answer = await scene.run(scene.script("def task(*, item, **kwargs):\n    return item.input\n"))
    assert (answer.status, answer.succeeded) == ("completed", 3)
    folder, path = await scene.run_folder(), tmp_path / "journal"
    lines = folder.journal_path.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"event":"ended"' in line)
    path.write_bytes(b"".join(lines[:last]))
    expected = ExpectedRecords(folder.run_spec(), RunState.of(path))

    def go_on(request: Request) -> None:
        if SHOWN in request.path:
            path.write_bytes(b"".join(lines))
            expected.update()

    proxy.faults = go_on
    assert not await expected.find_missing(scene.ws.gateway)
    assert len(expected.state.ended) == 3


@pytest.mark.parametrize("fault", [Fault(status=400), Fault(delay=3600)], ids=["refused", "hanging"])
async def test_a_reading_that_fails_while_the_last_item_runs_is_made_again_at_the_end(
    scene: Scene, proxy: FaultProxy, fault: Fault
) -> None:
    await scene.fill(ITEMS)
    read: list[Request] = []

    def fail_the_first(request: Request) -> Fault | None:
        if SHOWN not in request.path:
            return None
        read.append(request)
        go.touch()
        return fault if len(read) == 1 else None

    go, proxy.faults = scene.folder / "go", fail_the_first
    task = scene.script(WAITING_TASK.format(last=scene.item_id(ITEMS - 1), go=str(go)))
    evaluators = scene.script("def exact(*, output, **kwargs):\n    return 1.0\n", "evaluators.py")
    answer = await scene.run(task, evaluator_script=evaluators, max_concurrency=3)
    assert (len(read), answer.status, answer.undelivered, answer.warnings) == (2, "completed", 0, [])


async def test_a_server_that_loses_all_leaves_the_run_undelivered_and_a_resume_mends_it(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)

    def lose(request: Request) -> Fault | None:
        return (OK if SPANS in request.path else ACCEPTED) if request.writes else None

    proxy.faults = lose
    answer = await run(scene)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("failed", ITEMS, ITEMS * 4)
    assert re.search(rf"\b{ITEMS}\b.*\b{2 * ITEMS}\b", answer.warnings[0])
    proxy.faults = no_faults
    answer = await run(scene, resume=True)
    assert (answer.status, answer.undelivered) == ("completed", 0)
    await assert_results_and_scores_are_there(scene, direct, str(answer.experiment_id))


async def test_an_outbox_that_was_deleted_costs_no_result(scene: Scene, direct: Workspace, proxy: FaultProxy) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(Fault(status=503))
    with giving_up_soon(scene):
        assert (await run(scene)).status == "failed"
    folder = await scene.run_folder()
    await until(lambda: not folder.worker.is_locked())
    shutil.rmtree(folder.outbox_path)
    proxy.faults = no_faults
    answer = await run(scene, resume=True)
    assert (answer.status, answer.undelivered) == ("completed", 0)
    await assert_results_and_scores_are_there(scene, direct, str(answer.experiment_id))


async def test_code_that_empties_the_span_processors_costs_no_result(scene: Scene, direct: Workspace) -> None:
    await scene.fill(ITEMS)
    task = (
        TASK
        + """
    from opentelemetry import trace

    trace.get_tracer_provider()._active_span_processor._span_processors = ()
"""
    )
    answer = await scene.run(scene.script(task), evaluator_script=scene.script(EVALUATORS, "ev.py"))
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    await assert_results_and_scores_are_there(scene, direct, str(answer.experiment_id))


async def test_what_a_kill_left_between_outbox_and_journal_makes_no_second_row(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(Fault(status=503))
    with giving_up_soon(scene):
        await run(scene)
    folder = await scene.run_folder()
    await until(lambda: not folder.worker.is_locked())
    lines = folder.journal_path.read_bytes().splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if b'"event":"ended"' in line)
    scored = [line for line in lines[first + 1 :] if b'"event":"scored"' in line]
    unrecorded = {lines[first], scored[0], scored[-1]}
    folder.journal_path.write_bytes(b"".join(line for line in lines if line not in unrecorded))
    (scene.folder / "task.py.calls").unlink()
    proxy.faults = no_faults
    answer = await run(scene, resume=True)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    assert len((scene.folder / "task.py.calls").read_text().split()) == 1
    (scene.folder / "task.py.calls").write_text("\n".join(scene.item_id(number) for number in range(ITEMS)))
    await assert_all_is_there(scene, direct, answer)
