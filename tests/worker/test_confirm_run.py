"""Confirming runs on held-out items: whole, from the measured code to the verdict."""

import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import BaseModel

from lfexp_mcp.answers.confirmation import ConfirmAnswer
from lfexp_mcp.errors import LfexpError, RunExistsError, ScriptError, UsageError
from lfexp_mcp.gateway import confirmations_of
from lfexp_mcp.model import Holdout
from lfexp_mcp.runs.killing import kill_worker
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.confirmation import confirm_run
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.requests import CancelRunRequest, CompareRequest, build
from lfexp_mcp.services.run_requests import ConfirmRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 90
HOLDOUT = Holdout(share=0.5, salt="salt")
EVALUATORS = """
    def correct(*, output, expected_output, **kwargs):
        return float(output == expected_output)

    EVALUATORS = [correct]
"""
TASK = """
import words

def task(*, item, **kwargs):
    open({log!r}, "a").write(item.input + "\\n")
    print(item.input)
    return words.capitals(item.input) if {when} else "wrong"
"""
WORDS = "def capitals(text):\n    return text.upper()\n"


@pytest.fixture
async def held(scene: Scene) -> Scene:
    """A scene whose dataset has about half of its items held out."""
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=HOLDOUT)
    await scene.fill(ITEMS)
    scene.script(WORDS, "words.py")
    return scene


def calls(scene: Scene, which: str) -> int:
    """How often the task of a run was called."""
    log = scene.folder / f"{which}.calls"
    return len(log.read_text().splitlines()) if log.exists() else 0


def held_out(scene: Scene) -> set[str]:
    """The ids of the held-out items."""
    return {item for item in map(scene.item_id, range(ITEMS)) if HOLDOUT.holds(item)}


async def confirmations(scene: Scene) -> list[str]:
    """The names of the runs over held-out items that Langfuse has."""
    dataset = await scene.ws.gateway.datasets.get(scene.dataset)
    found = confirmations_of(await scene.ws.gateway.experiments.all_of(dataset.id))
    return [experiment.name for experiment, _ in found]


def spoken(*said: object) -> str:
    """All that was said, as JSON has it."""
    texts = [each.model_dump_json() if isinstance(each, BaseModel) else f"{each!r} {each}" for each in said]
    return " ".join(texts).casefold()


async def measure(scene: Scene, name: str, when: str = "True", script: str = "task.py", **arguments: Any) -> None:  # noqa: ANN401
    """Run a task that is right under a condition over the shown items."""
    task = scene.script(TASK.format(log=str(scene.folder / f"{name}.calls"), when=when), script)
    evaluators = scene.script(EVALUATORS, "evaluators.py")
    answer = await scene.run(task, run_name=name, evaluator_script=evaluators, **arguments)
    assert answer.status == "completed"


async def confirm(
    scene: Scene,
    run_name: str = "b",
    *,
    wait_seconds: float = PATIENCE_S,
    **arguments: Any,  # noqa: ANN401
) -> ConfirmAnswer:
    """Confirm a run against run `a`, to show a large difference."""
    given = {"dataset": scene.dataset, "run_name": run_name, "baseline": "a", "min_delta": 0.6} | arguments
    return await confirm_run(scene.ws, build(ConfirmRequest, **given), wait_seconds=wait_seconds)


async def test_a_better_run_is_confirmed_by_the_code_that_was_measured_though_the_script_was_edited_in_place(
    held: Scene,
) -> None:
    await measure(held, "a", "item.metadata['number'] % 2")
    await measure(held, "b")
    held.script("raise RuntimeError('edited')", "words.py")
    shown, hidden = ITEMS - len(held_out(held)), len(held_out(held))
    assert (calls(held, "a"), calls(held, "b")) == (shown, shown)
    answer = await confirm(held)
    assert (answer.status, answer.verdict, answer.look, answer.held_out) == ("completed", "better", 1, hidden)
    assert answer.delta == pytest.approx(0.5, abs=0.2)
    assert answer.interval is not None
    assert 0 < answer.interval.low < 0.5 < answer.interval.high
    assert answer.items_needed is not None
    assert answer.items_needed <= hidden
    assert (calls(held, "a"), calls(held, "b")) == (ITEMS, ITEMS), "both ran over the held-out items, once each"

    again = await confirm(held)
    assert again == answer, "the same question is no other look, and is read from Langfuse"
    assert (calls(held, "a"), calls(held, "b")) == (ITEMS, ITEMS)


async def test_a_promising_comparison_proposes_the_plan_which_proposes_what_can_be_shown(held: Scene) -> None:
    await measure(held, "a", "item.metadata['number'] % 2")
    await measure(held, "b")
    comparison = await compare_runs(held.ws, CompareRequest(dataset=held.dataset, runs=["a", "b"]))
    step = comparison.next[0]
    assert step.tool == "confirm_run"
    plan = await confirm_run(held.ws, build(ConfirmRequest, **step.arguments))
    assert (plan.status, plan.verdict, plan.delta) == ("planned", None, None)
    assert plan.items_needed is not None
    assert plan.items_needed <= plan.held_out == len(held_out(held))
    before = calls(held, "b")
    with pytest.raises(UsageError) as refused:
        await confirm(held, min_delta=plan.min_delta - 0.05)
    assert refused.value.next[0].arguments["min_delta"] == plan.min_delta
    assert calls(held, "b") == before, "what cannot be shown is not run"
    answer = await confirm_run(held.ws, build(ConfirmRequest, **plan.next[0].arguments), wait_seconds=PATIENCE_S)
    assert (answer.verdict, answer.look, answer.items_needed) == ("better", 1, plan.items_needed)


@pytest.mark.parametrize("holdout", [None, Holdout(share=0.2, salt="salt")])
async def test_without_enough_held_out_items_nothing_is_run(scene: Scene, holdout: Holdout | None) -> None:
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=holdout)
    await scene.fill(40)
    scene.script(WORDS, "words.py")
    await measure(scene, "a", "False")
    await measure(scene, "b")
    before = calls(scene, "b")
    with pytest.raises(UsageError) as refused:
        await confirm(scene, min_delta=0.9)
    assert refused.value.next[0].tool == "create_dataset"
    assert calls(scene, "b") == before


async def test_each_further_candidate_is_a_harder_look_and_the_baselines_run_is_used_again(held: Scene) -> None:
    await measure(held, "a", "False")
    for name in ("b", "c"):
        await measure(held, name, f"'{name}'", f"{name}.py")
    first = await confirm(held, "b")
    second = await confirm(held, "c")
    assert (first.look, first.verdict, second.look, second.verdict) == (1, "better", 2, "better")
    assert calls(held, "a") == ITEMS, "the baseline ran over the held-out items once"
    assert first.interval is not None
    assert second.interval is not None
    assert second.interval.low <= first.interval.low
    assert second.items_needed is not None
    assert first.items_needed is not None
    assert second.items_needed > first.items_needed
    assert await confirm(held, "b") == first, "what was said of the first look stays"


async def test_the_same_code_under_another_name_is_the_same_look(held: Scene) -> None:
    await measure(held, "a", "False")
    await measure(held, "b")
    source = (held.folder / "task.py").read_bytes()
    (held.folder / "moved.py").write_bytes(source)
    evaluators = held.folder / "evaluators.py"
    await held.run(held.folder / "moved.py", run_name="renamed", evaluator_script=evaluators)
    first = await confirm(held)
    before = calls(held, "b")
    again = await confirm(held, "renamed")
    assert (again.look, again.verdict, again.delta) == (1, first.verdict, first.delta)
    assert calls(held, "b") == before
    with pytest.raises(UsageError):
        await confirm(held, "renamed", baseline="b")


async def test_no_other_tool_reads_a_confirmation(held: Scene) -> None:
    await measure(held, "a", "False")
    await measure(held, "b")
    await confirm(held)
    names = await confirmations(held)
    assert len(names) == 2
    assert {run.name for run in (await list_runs(held.ws, held.dataset)).runs} == {"a", "b"}
    for name in names:
        for call in (
            get_run(held.ws, held.dataset, name),
            compare_runs(held.ws, CompareRequest(dataset=held.dataset, runs=["b", name])),
            held.run(None, run_name=name, resume=True),
        ):
            with pytest.raises(UsageError):
                await call
    with pytest.raises(LfexpError):
        await cancel_run(held.ws, held.dataset, names[0])
    assert not [spec for _, spec in held.ws.runs.started() if spec.confirmation], "nothing is left on this machine"


async def test_an_edited_script_of_which_no_copy_was_kept_is_refused_before_it_is_a_look(
    held: Scene,
) -> None:
    await measure(held, "a", "False")
    await measure(held, "b")
    dataset = await held.ws.gateway.datasets.get(held.dataset)
    for name in ("a", "b"):
        folder = held.ws.runs.folder(await held.ws.gateway.experiments.id_of(dataset.id, name))
        shutil.rmtree(folder.sources_path)
    held.script(WORDS + "\n# edited\n", "words.py")
    before = calls(held, "b")
    with pytest.raises(ScriptError, match=r"module words|task script") as refused:
        await confirm(held)
    assert refused.value.next[0].tool == "confirm_run"
    assert (calls(held, "b"), await confirmations(held)) == (before, [])
    plan = await confirm(held, min_delta=None)
    assert (plan.status, plan.look) == ("planned", 1)


async def test_runs_that_are_incomplete_or_of_the_same_code_or_share_no_score_are_refused(held: Scene) -> None:
    await measure(held, "a")
    task, evaluators = held.folder / "task.py", held.folder / "evaluators.py"
    await held.run(task, run_name="same", evaluator_script=evaluators)
    await held.run(task, run_name="unscored", params=None)
    failing = held.script("def task(*, item, **kwargs):\n    raise ValueError(item.input)\n", "failing.py")
    await held.run(failing, run_name="failed", evaluator_script=evaluators, fail_on_error=2)
    for name, why in (("same", "same code"), ("failed", "failed"), ("unscored", "0 scores"), ("none", "no run")):
        with pytest.raises(UsageError, match=why):
            await confirm(held, name)
    await measure(held, "b", "False")
    with pytest.raises(UsageError, match="score in both"):
        await confirm(held, "b", score_name="tone")
    assert await confirmations(held) == []


LEAKS = """
import re, sys

def task(*, item, **kwargs):
    print(item.input)
    print(item.input, file=sys.stderr)
    number = item.metadata["number"]
    if number % 9 == 0:
        raise type(re.sub(r"\\W", "_", item.input), (Exception,), {{}})(item.input)
    return item.input.upper() if {when} else "wrong"
"""
LEAKING_EVALUATORS = """
    def correct(*, input, output, expected_output, metadata, **kwargs):
        print(input)
        if metadata["number"] % 11 == 0:
            raise KeyError(input)
        return float(output == expected_output)

    EVALUATORS = [correct]
"""


async def test_nothing_that_any_call_says_holds_a_held_out_item_though_the_code_shouts_them(held: Scene) -> None:
    evaluators = held.script(LEAKING_EVALUATORS, "evaluators.py")
    for name, when in (("a", "False"), ("b", "True")):
        task = held.script(LEAKS.format(when=when), f"{name}.py")
        await held.run(task, run_name=name, evaluator_script=evaluators)
    progress: list[object] = []

    async def note(each: object) -> None:
        progress.append(each)

    request = build(ConfirmRequest, dataset=held.dataset, run_name="b", baseline="a", min_delta=0.8)
    answer = await confirm_run(held.ws, request, wait_seconds=PATIENCE_S, on_progress=note)
    assert answer.verdict == "better"
    assert "failed" in answer.reason
    said: list[object] = [answer, *progress, await list_runs(held.ws, held.dataset)]
    for name in await confirmations(held):
        for call in (get_run(held.ws, held.dataset, name), cancel_run(held.ws, held.dataset, name)):
            try:
                said.append(await call)
            except LfexpError as error:
                said += [error, *error.next]
    text = spoken(*said)
    for number in range(ITEMS):
        if HOLDOUT.holds(held.item_id(number)):
            for trace in (f'input {number}"', f"input {number} ", f"input_{number}'", held.item_id(number) + '"'):
                assert trace.casefold() not in text, trace
    # The judge that failed is asked again, the task that failed is not.
    assert (await confirm(held, min_delta=0.8)).look == 1


FLAKY = """
import pathlib

def task(*, item, **kwargs):
    with open({log!r}, "a") as log:
        log.write(item.input + "\\n")
    if {fails}:
        raise RuntimeError("no")
    return item.input.upper()
"""


async def test_failed_tasks_count_at_their_worst_and_are_not_tried_again(held: Scene) -> None:
    await measure(held, "a", "item.metadata['number'] % 2")
    evaluators = held.folder / "evaluators.py"
    # Right where it answers, it fails on half of the held-out items only.
    fails = f"item.id in {sorted(held_out(held))[::2]!r}"
    task = held.script(FLAKY.format(log=str(held.folder / "b.calls"), fails=fails), "flaky.py")
    await held.run(task, run_name="b", evaluator_script=evaluators)
    answer = await confirm(held)
    assert (answer.status, answer.verdict) == ("completed", "inconclusive")
    assert answer.interval is not None
    assert answer.interval.low < 0
    assert "at least 5%" in answer.reason
    asked = calls(held, "b")
    assert (await confirm(held)).verdict == "inconclusive"
    assert calls(held, "b") == asked


GATED = """
import os, time

def task(*, item, **kwargs):
    open({log!r}, "a").write(item.input + "\\n")
    while os.path.exists({gate!r}) and item.metadata["number"] > 4:
        time.sleep(0.005)
    return item.input.upper()
"""


async def gated(scene: Scene) -> Path:
    """Measure run `b`, whose task waits as long as a file exists on all but a few items; the file."""
    gate = scene.folder / "gate"
    source = GATED.format(log=str(scene.folder / "b.calls"), gate=str(gate))
    await scene.run(scene.script(source, "gated.py"), run_name="b", evaluator_script=scene.folder / "evaluators.py")
    gate.touch()
    return gate


async def test_a_confirmation_outlives_its_call_and_is_cancelled_and_gone_on_with_as_one_look(
    held: Scene, settings: Settings
) -> None:
    async with open_workspace(settings.model_copy(update={"cancel_grace": 0.1})) as ws:
        await _cancelled_and_gone_on_with(replace(held, ws=ws))


async def _cancelled_and_gone_on_with(held: Scene) -> None:
    await measure(held, "a", "False")
    gate = await gated(held)
    answer = await confirm(held, wait_seconds=0)
    assert (answer.status, answer.verdict, answer.delta) == ("running", None, None)
    assert [step.tool for step in answer.next] == ["confirm_run", "cancel_run"]
    await until(lambda: calls(held, "b") > ITEMS - len(held_out(held)))
    assert {run.name for run in (await list_runs(held.ws, held.dataset)).runs} == {"a", "b"}
    stop = build(CancelRunRequest, **answer.next[1].arguments)
    stopped = await cancel_run(held.ws, stop.dataset, stop.run_name)
    assert stopped.status == "cancelled"
    assert (stopped.succeeded, stopped.failed, stopped.pending) == (None, None, None)
    gate.unlink()
    done = await confirm(held)
    assert (done.status, done.verdict, done.look) == ("completed", "better", 1)
    assert len(await confirmations(held)) == 2


async def test_a_killed_confirmation_goes_on_with_what_is_left_and_equal_calls_share_it(held: Scene) -> None:
    await measure(held, "a", "False")
    gate = await gated(held)
    await confirm(held, wait_seconds=0)
    await until(lambda: calls(held, "b") > ITEMS - len(held_out(held)))
    workers = [folder for folder, spec in held.ws.runs.started() if spec.confirmation and folder.is_running()]
    for folder in workers:
        await anyio.to_thread.run_sync(kill_worker, folder)
    gate.unlink()
    answers: list[ConfirmAnswer] = []

    async def ask() -> None:
        with suppress(RunExistsError):
            answers.append(await confirm(held))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
    last = await confirm(held)
    assert (last.status, last.verdict, last.look) == ("completed", "better", 1)
    assert all(answer == last for answer in answers if answer.status == "completed")
    assert len(await confirmations(held)) == 2


async def test_held_out_items_whose_input_is_shown_as_well_are_not_asked(held: Scene) -> None:
    add = held.ws.gateway.datasets.upsert_item
    twins = [number for number in range(ITEMS) if HOLDOUT.holds(held.item_id(number))][:5]
    for number in twins:
        shown = next(name for n in range(99) if not HOLDOUT.holds(name := f"{held.dataset}-twin-{number}-{n}"))
        await add(held.dataset, id=shown, input=f" INPUT  {number}", expected_output="", metadata={"number": 0})
    await measure(held, "a", "False")
    await measure(held, "b")
    shown_count = calls(held, "b")
    answer = await confirm(held)
    assert answer.verdict == "better"
    assert calls(held, "b") - shown_count == len(held_out(held)) - len(twins)
    assert answer.held_out == len(held_out(held)), "how many have a twin is not said"


async def test_a_holdout_that_was_declared_after_runs_went_over_its_items_is_said_to_be_seen(scene: Scene) -> None:
    await scene.fill(ITEMS)
    scene.script(WORDS, "words.py")
    await measure(scene, "a", "item.metadata['number'] % 2")
    late = replace(HOLDOUT, declared=datetime.now(UTC))
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=late)
    await measure(scene, "b")
    answer = await confirm(scene)
    assert answer.verdict == "better"
    assert any("Seen before: 1 runs" in warning for warning in answer.warnings)
