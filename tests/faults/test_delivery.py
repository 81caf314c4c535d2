"""Nothing is lost between a run and Langfuse, whatever goes wrong on the way."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.journal import read_run_end
from lfexp_mcp.services.experiments import preparation
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.experiments.maintenance import deliver_pending
from lfexp_mcp.services.workspace import Workspace
from tests.faults.proxy import SPANS, Fault, FaultProxy, Judgement, Request, no_faults
from tests.faults.wrong_answers import WRONG_ANSWERS
from tests.waiting import until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 30
STEPS = 5
TASK = f"""
    import time
    from langfuse import get_client

    def task(*, item, **kwargs):
        with open(__file__ + ".calls", "a") as calls:
            calls.write(item.id + "\\n")
        for step in range({STEPS}):
            with get_client().start_as_current_observation(name="step", input=step):
                time.sleep(0.01)
        return item.input.upper()
"""
EVALUATORS = """
    def exact(*, output, expected_output, **kwargs):
        return float(output == expected_output)

    def length(*, output, **kwargs):
        return float(len(output))
"""


async def run(scene: Scene, **arguments: Any) -> RunAnswer:  # noqa: ANN401
    return await scene.run(
        scene.script(TASK), evaluator_script=scene.script(EVALUATORS, "ev.py"), max_concurrency=3, **arguments
    )


async def assert_all_is_there(scene: Scene, direct: Workspace, answer: RunAnswer) -> None:
    """Every item, span and score is in the store, each once."""
    items = await direct.gateway.experiments.results(str(answer.experiment_id))
    assert Counter(item.item_id for item in items) == {scene.item_id(number): 1 for number in range(ITEMS)}
    assert {item.output for item in items} == {f"INPUT {number}" for number in range(ITEMS)}
    for item in items:
        assert sorted(score.name for score in item.scores) == ["exact", "length"]
        spans = await direct.gateway.observations.find(trace_id=item.trace_id)
        assert Counter(span.name for span in spans) == {
            "experiment-item-run": 1,
            "experiment-item-task": 1,
            "step": STEPS,
            "experiment-item-evaluation": 1,
            "exact": 1,
            "length": 1,
        }
    calls = (scene.folder / "task.py.calls").read_text().split()
    assert sorted(calls) == sorted(scene.item_id(number) for number in range(ITEMS))


@contextmanager
def giving_up_soon(scene: Scene) -> Iterator[None]:
    """Let runs wait for half a second only for a server that takes nothing."""
    patient = scene.ws
    settings = patient.settings.model_copy(update={"delivery_patience": 0.5})
    scene.ws = replace(patient, settings=settings)
    yield
    scene.ws = patient


def only_writes(fault: Fault, every: int = 1) -> Judgement:
    """Let every so-many-th write go wrong."""
    writes = 0

    def judge(request: Request) -> Fault | None:
        nonlocal writes
        if not request.writes:
            return None
        writes += 1
        return fault if writes % every == 0 else None

    return judge


@pytest.mark.parametrize(
    ("fault", "every"),
    [
        (Fault(status=500), 3),
        (Fault(status=503), 2),
        (Fault(status=429, headers={"Retry-After": "1"}), 3),
        (Fault(close=True), 2),
        (Fault(forget_answer=True), 2),
        (Fault(delay=0.5), 1),
    ],
    ids=["500", "503", "429", "closed", "answer lost", "slow"],
)
async def test_everything_arrives_once_though_writes_go_wrong(
    scene: Scene, direct: Workspace, proxy: FaultProxy, fault: Fault, every: int
) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(fault, every)
    answer = await run(scene)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    await assert_all_is_there(scene, direct, answer)


async def test_everything_arrives_though_every_kind_of_wrong_answer_passes(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    answers = itertools.cycle(WRONG_ANSWERS.values())
    ends = time.monotonic() + 600.0

    def answer_wrongly(request: Request) -> Fault | None:
        nonlocal ends
        if not request.writes or time.monotonic() > ends:
            return None
        ends = min(ends, time.monotonic() + 2.0)
        return next(answers)

    proxy.faults = answer_wrongly
    answer = await run(scene)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", ITEMS, 0)
    await assert_all_is_there(scene, direct, answer)


async def test_a_refusal_that_only_passed_is_mended_by_a_resume(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(Fault(status=400, message="no such tenant"))
    answer = await run(scene)
    assert any("no such tenant" in warning for warning in answer.warnings)
    proxy.faults = no_faults
    answer = await run(scene, resume=True)
    assert (answer.status, answer.undelivered) == ("completed", 0)
    assert not any("no such tenant" in warning for warning in answer.warnings)
    await assert_all_is_there(scene, direct, answer)


async def test_everything_arrives_though_the_server_is_gone_for_a_while(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)

    async def take_away() -> None:
        folder = await scene.run_folder()
        await until(lambda: folder.has_started() and len(folder.read_state().ended) > 5)
        await anyio.to_thread.run_sync(proxy.go_away)
        await until(lambda: folder.read_state().executed)
        await anyio.to_thread.run_sync(proxy.come_back)

    async with anyio.create_task_group() as group:
        group.start_soon(take_away)
        answer = await run(scene)
    assert answer.status == "completed"
    await assert_all_is_there(scene, direct, answer)


async def until_delivered(scene: Scene, direct: Workspace) -> None:
    await deliver_pending(scene.ws)
    folder = await scene.run_folder()
    await until(lambda: folder.status() == "completed")


async def test_a_run_whose_server_stays_away_says_what_waits_and_the_next_start_sends_it(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(Fault(status=500))
    with giving_up_soon(scene):
        answer = await run(scene)
    assert (answer.status, answer.succeeded) == ("failed", ITEMS)
    assert answer.undelivered == ITEMS * (2 + STEPS + 5) + 1, "the last one is how the run stands"
    assert any(step.arguments.get("resume") for step in answer.next)
    assert await direct.gateway.experiments.results(str(answer.experiment_id)) == []
    proxy.faults = no_faults
    await until_delivered(scene, direct)
    await assert_all_is_there(scene, direct, answer)


async def test_resume_sends_what_waits_without_running_any_task(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(Fault(status=500))
    with giving_up_soon(scene):
        assert (await run(scene)).status == "failed"
    proxy.faults = no_faults
    answer = await run(scene, resume=True)
    assert (answer.status, answer.undelivered) == ("completed", 0)
    await assert_all_is_there(scene, direct, answer)


async def test_a_resume_takes_over_from_a_delivery_that_takes_too_long(
    scene: Scene, direct: Workspace, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.fill(ITEMS)
    proxy.faults = only_writes(Fault(status=500))
    with giving_up_soon(scene):
        assert (await run(scene)).status == "failed"
    folder = await scene.run_folder()
    await deliver_pending(scene.ws)
    await until(folder.worker.is_delivering)
    deliverer = folder.worker.pid
    monkeypatch.setattr(preparation, "RELEASE_PATIENCE_S", 0.2)
    answers: list[RunAnswer] = []

    async def resume() -> None:
        answers.append(await run(scene, resume=True))

    async with anyio.create_task_group() as group:
        group.start_soon(resume)
        await until(lambda: folder.worker.pid != deliverer and folder.worker.is_locked())
        proxy.faults = no_faults
    assert (answers[0].status, answers[0].undelivered) == ("completed", 0)
    await assert_all_is_there(scene, direct, answers[0])


async def test_one_span_that_the_server_refuses_costs_no_other(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)
    poison = scene.item_id(7)

    def refuse_poison(request: Request) -> Fault | None:
        wrong = SPANS in request.path and b"poison" in request.body
        return Fault(status=400, message="no poison, please") if wrong else None

    proxy.faults = refuse_poison
    task = scene.script(f"""
        from langfuse import get_client

        def task(*, item, **kwargs):
            with get_client().start_as_current_observation(name="poison" if item.id == {poison!r} else "step"):
                return 1
    """)
    answer = await scene.run(task)
    assert (answer.status, answer.undelivered) == ("completed", 0)
    assert any("'poison'" in warning and "no poison" in warning for warning in answer.warnings)
    items = await direct.gateway.experiments.results(str(answer.experiment_id))
    assert len(items) == ITEMS
    refused = list(((await scene.run_folder()).outbox_path / "refused").iterdir())
    assert len(refused) == 1


async def test_one_score_that_the_server_refuses_costs_no_other(
    scene: Scene, direct: Workspace, proxy: FaultProxy
) -> None:
    await scene.fill(ITEMS)

    def refuse_poison(request: Request) -> Fault | None:
        wrong = request.writes and SPANS not in request.path and b"poison" in request.body
        return Fault(status=400, message="no poison, please") if wrong else None

    proxy.faults = refuse_poison
    only_one = "def poison(*, output, **k):\n    return 1.0 if output == 'INPUT 3' else None\n"
    evaluators = scene.script(f"def fine(**k):\n    return 1.0\n\n{only_one}", "ev.py")
    answer = await scene.run(scene.script(TASK), evaluator_script=evaluators)
    assert (answer.status, answer.undelivered) == ("completed", 0)
    assert any("'poison'" in warning and "no poison" in warning for warning in answer.warnings)
    items = await direct.gateway.experiments.results(str(answer.experiment_id))
    assert [[score.name for score in item.scores] for item in items] == [["fine"]] * ITEMS


async def test_a_run_needs_few_requests(scene: Scene, proxy: FaultProxy) -> None:
    await scene.fill(ITEMS)
    before = len(proxy.requests)
    started = time.monotonic()
    answer = await run(scene)
    assert answer.status == "completed"
    seconds = time.monotonic() - started
    made = Counter(request.path.split("?")[0] for request in proxy.requests[before:])
    assert made.total() < 20 + 8 * seconds, made


def end_of(folder: RunFolder) -> tuple[str, bool] | None:
    """How a run ended, and whether its journal says that all of it was delivered."""
    ended = read_run_end(folder.journal_path)
    return (ended.status, ended.delivered) if ended is not None else None


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=429, headers={"Retry-After": "1"})], ids=["500", "429"]
)
async def test_cancel_ends_a_run_that_waits_for_a_server_that_takes_nothing(
    scene: Scene, proxy: FaultProxy, fault: Fault
) -> None:
    await scene.fill(2)
    proxy.faults = only_writes(fault)
    patient = scene.ws.settings.model_copy(update={"delivery_patience": 600.0})
    scene.ws = replace(scene.ws, settings=patient)
    folder = await scene.begin(scene.script("def task(*, item, **k):\n    return 1\n"))
    await until(lambda: len(folder.read_state().scored) == 2)
    answer = await cancel_run(scene.ws, scene.dataset, scene.run_name)
    assert answer.status in ("failed", "cancelled")
    assert answer.undelivered > 0
    await until(lambda: not folder.worker.is_locked())
    assert (end_of(folder), folder.has_undelivered()) == ((answer.status, False), True)
    proxy.faults = no_faults
    await deliver_pending(scene.ws)
    # It may have been about to end when it was cancelled.
    delivered = ("cancelled", True) if answer.status == "cancelled" else ("completed", False)
    await until(lambda: end_of(folder) == delivered)
    assert not folder.has_undelivered()
    await until(lambda: not folder.worker.is_locked())
    answer = await scene.run(None, resume=True)
    assert (answer.status, answer.undelivered) == ("completed", 0)


async def test_a_server_that_answers_429_without_end_is_given_up_with_that_answer(
    scene: Scene, proxy: FaultProxy
) -> None:
    await scene.fill(2)
    proxy.faults = only_writes(Fault(status=429, headers={"Retry-After": "1"}))
    with giving_up_soon(scene):
        answer = await scene.run(scene.script("def task(*, item, **k):\n    return 1\n"))
    assert (answer.status, answer.succeeded, answer.undelivered) == ("failed", 2, 2 * 2 + 1)
    assert "429" in answer.warnings[0]


async def test_an_undelivered_end_names_the_keys_that_were_refused(scene: Scene, proxy: FaultProxy) -> None:
    await scene.fill(2)
    proxy.faults = only_writes(Fault(status=401, message="Invalid credentials."))
    with giving_up_soon(scene):
        answer = await scene.run(scene.script("def task(*, item, **k):\n    return 1\n"))
    assert (answer.status, answer.succeeded) == ("failed", 2)
    assert "refused the keys" in answer.warnings[0]
