"""Confirming runs on held-out items: whole, from the measured code to the verdict."""

import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import BaseModel, JsonValue

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.comparison import ConfirmAnswer
from lfexp_mcp.errors import LfexpError, NotFoundError, RunExistsError, ScriptError, UsageError
from lfexp_mcp.gateway import confirmations_of
from lfexp_mcp.model import Holdout
from lfexp_mcp.runs.killing import kill_worker
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.confirmation import confirm_run
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.handles import create_handle, find_handle, follow_handle
from lfexp_mcp.services.requests import CancelRunRequest, CompareRequest, ConfirmRequest, build
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from tests.providers.server import ProviderServer, Reply
from tests.tools.consent import ask_in_vain, call_unasked, call_with_a_yes
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene, with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 80
HELD_OUT = 40
PROMPT = "Question: {{input}}\nAnswer: {{output}}\nIs it in capitals? Give 0 to 10."
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


def holdout_of(scene: Scene) -> Holdout:
    """A holdout of half of the scene's items: half of those with an even number, and half of the others."""
    ids = [scene.item_id(number) for number in range(ITEMS)]
    holdouts = (Holdout(share=0.5, salt=str(salt)) for salt in count())
    return next(
        each for each in holdouts if sum(map(each.holds, ids[::2])) == sum(map(each.holds, ids[1::2])) == HELD_OUT // 2
    )


@pytest.fixture
async def held(scene: Scene) -> Scene:
    """A scene whose dataset has half of its items held out."""
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=holdout_of(scene))
    await scene.fill(ITEMS)
    scene.script(WORDS, "words.py")
    return scene


def calls(scene: Scene, which: str) -> int:
    """How often the task of a run was called."""
    log = scene.folder / f"{which}.calls"
    return len(log.read_text().splitlines()) if log.exists() else 0


def held_out(scene: Scene) -> list[int]:
    """The numbers of the held-out items."""
    return [number for number in range(ITEMS) if holdout_of(scene).holds(scene.item_id(number))]


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


async def test_a_run_is_confirmed_by_the_code_that_was_measured_and_no_other_tool_reads_it(held: Scene) -> None:
    await measure(held, "a", "item.metadata['number'] % 2")
    await measure(held, "b")
    shutil.copy(held.folder / "task.py", held.folder / "moved.py")
    await held.run(held.folder / "moved.py", run_name="renamed", evaluator_script=held.folder / "evaluators.py")
    (held.folder / "b.calls").unlink()
    held.script("raise RuntimeError('edited')", "words.py")
    answer = await confirm(held)
    assert (answer.status, answer.verdict, answer.look, answer.held_out) == ("completed", "better", 1, HELD_OUT)
    assert answer.delta == pytest.approx(0.5)
    assert answer.interval is not None
    assert 0 < answer.interval.low < 0.5 < answer.interval.high
    assert answer.items_needed is not None
    assert answer.items_needed <= HELD_OUT
    assert (calls(held, "a"), calls(held, "b")) == (ITEMS, HELD_OUT), "both ran over the held-out items, once each"
    assert not [spec for _, spec in held.ws.runs.started() if spec.confirmation], "nothing is left on this machine"

    assert await confirm(held) == answer, "the same question is no other look, and is read from Langfuse"
    again = await confirm(held, "renamed")
    assert (again.look, again.verdict, again.delta) == (1, answer.verdict, answer.delta)
    with pytest.raises(UsageError, match="code"):
        await confirm(held, "renamed", baseline="b")
    assert calls(held, "b") == HELD_OUT

    names = await confirmations(held)
    assert len(names) == 2
    assert {run.name for run in (await list_runs(held.ws, held.dataset)).runs} == {"a", "b", "renamed"}
    for name in names:
        for call in (
            get_run(held.ws, held.dataset, name),
            compare_runs(held.ws, CompareRequest(dataset=held.dataset, runs=["b", name])),
            held.run(None, run_name=name, resume=True),
        ):
            with pytest.raises(UsageError):
                await call


async def test_the_plan_says_what_can_be_shown_and_each_further_candidate_is_a_harder_look(held: Scene) -> None:
    await measure(held, "a", "False")
    for name in ("b", "c"):
        await measure(held, name, f"'{name}'", f"{name}.py")
    comparison = await compare_runs(held.ws, CompareRequest(dataset=held.dataset, runs=["a", "b"]))
    step = comparison.next[0]
    assert step.tool == "confirm_run"
    plan = await confirm_run(held.ws, build(ConfirmRequest, **step.arguments))
    assert (plan.status, plan.verdict, plan.delta) == ("planned", None, None)
    assert plan.items_needed is not None
    assert plan.items_needed <= plan.held_out == HELD_OUT
    before = calls(held, "b")
    with pytest.raises(UsageError) as refused:
        await confirm(held, min_delta=plan.min_delta - 0.05)
    assert refused.value.next[0].arguments["min_delta"] == plan.min_delta
    assert calls(held, "b") == before, "what cannot be shown is not run"
    first = await confirm_run(held.ws, build(ConfirmRequest, **plan.next[0].arguments), wait_seconds=PATIENCE_S)
    assert (first.verdict, first.look, first.items_needed) == ("better", 1, plan.items_needed)
    second = await confirm(held, "c")
    assert (second.verdict, second.look) == ("better", 2)
    assert calls(held, "a") == ITEMS, "the baseline ran over the held-out items once"
    harder = await confirm(held, "c", min_delta=None)
    assert harder.look == 2
    assert second.items_needed is not None
    assert await confirm(held, "b", min_delta=plan.min_delta) == first, "what was said of the first look stays"


async def test_without_enough_held_out_items_nothing_is_run(scene: Scene) -> None:
    await scene.fill(20)
    scene.script(WORDS, "words.py")
    await measure(scene, "a", "False")
    await measure(scene, "b")
    before = calls(scene, "b")
    for holdout in (None, holdout_of(scene)):
        await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=holdout)
        with pytest.raises(UsageError) as refused:
            await confirm(scene, min_delta=0.9)
        assert refused.value.next[0].tool == "create_dataset"
    assert calls(scene, "b") == before


async def test_other_code_incomplete_runs_and_runs_without_a_common_score_are_refused_before_a_look(
    held: Scene,
) -> None:
    await measure(held, "a", "False")
    await measure(held, "b")
    evaluators = held.folder / "evaluators.py"
    failing = held.script("def task(*, item, **kwargs):\n    raise ValueError(item.input)\n", "failing.py")
    await held.run(failing, run_name="failed", evaluator_script=evaluators, fail_on_error=2)
    for name, why in (("failed", "failed"), ("none", "no run")):
        with pytest.raises(UsageError, match=why):
            await confirm(held, name)
    with pytest.raises(NotFoundError) as unknown:
        await confirm(held, score_name="tone")
    assert unknown.value.name == "tone"

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


LEAKS = """
import re, sys

def task(*, item, **kwargs):
    open({log!r}, "a").write(item.input + "\\n")
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
        task = held.script(LEAKS.format(when=when, log=str(held.folder / f"{name}.calls")), f"{name}.py")
        await held.run(task, run_name=name, evaluator_script=evaluators)
    said: list[object] = []

    async def note(each: object) -> None:
        said.append(each)

    request = build(ConfirmRequest, dataset=held.dataset, run_name="b", baseline="a", min_delta=0.8)
    answer = await confirm_run(held.ws, request, wait_seconds=PATIENCE_S, on_progress=note)
    assert answer.verdict == "better"
    assert "a task failed or was not scored" in answer.reason
    said += [answer, await list_runs(held.ws, held.dataset)]
    for name in await confirmations(held):
        for call in (get_run(held.ws, held.dataset, name), cancel_run(held.ws, held.dataset, name)):
            try:
                said.append(await call)
            except LfexpError as error:
                said += [error, *error.next]
    text = spoken(*said)
    for number in held_out(held):
        for trace in (f'input {number}"', f"input {number} ", f"input_{number}'", held.item_id(number) + '"'):
            assert trace.casefold() not in text, trace
    asked = calls(held, "b")
    again = await confirm(held, min_delta=0.8)
    assert (again.verdict, again.look, calls(held, "b")) == ("better", 1, asked), "a task that failed has failed"


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


async def test_a_confirmation_outlives_its_call_a_cancel_and_a_kill_and_stays_one_look(
    held: Scene, settings: Settings
) -> None:
    async with open_workspace(settings.model_copy(update={"cancel_grace": 0.1})) as ws:
        await _outlive(replace(held, ws=ws))


async def _outlive(held: Scene) -> None:
    await measure(held, "a", "False")
    gate = await gated(held)
    answer = await confirm(held, wait_seconds=0)
    assert (answer.status, answer.verdict, answer.delta) == ("running", None, None)
    assert [step.tool for step in answer.next] == ["confirm_run", "cancel_run"]
    await until(lambda: calls(held, "b") > ITEMS - HELD_OUT)
    assert {run.name for run in (await list_runs(held.ws, held.dataset)).runs} == {"a", "b"}
    stop = build(CancelRunRequest, **answer.next[1].arguments)
    stopped = await cancel_run(held.ws, stop.dataset, stop.run_name)
    assert stopped.status == "cancelled"
    assert (stopped.succeeded, stopped.failed, stopped.pending) == (None, None, None)

    before = calls(held, "b")
    await confirm(held, wait_seconds=0)
    await until(lambda: calls(held, "b") > before)
    for folder, spec in list(held.ws.runs.started()):
        if spec.confirmation and folder.is_running():
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


async def test_held_out_items_that_are_shown_as_well_are_not_asked_and_a_late_holdout_is_said_to_be_seen(
    scene: Scene,
) -> None:
    await scene.fill(ITEMS)
    scene.script(WORDS, "words.py")
    await measure(scene, "a", "item.metadata['number'] % 2")
    holdout = replace(holdout_of(scene), declared=datetime.now(UTC))
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=holdout)
    twins = held_out(scene)[:5]
    for number in twins:
        shown = next(name for n in count() if not holdout.holds(name := f"{scene.dataset}-twin-{number}-{n}"))
        fields: dict[str, Any] = {"input": f" INPUT  {number}", "expected_output": "", "metadata": {"number": 0}}
        await scene.ws.gateway.dataset_items.upsert(scene.dataset, id=shown, **fields)
    await measure(scene, "b")
    (scene.folder / "b.calls").unlink()
    answer = await confirm(scene)
    assert answer.verdict == "better"
    assert any("declared (1)" in warning for warning in answer.warnings)
    assert calls(scene, "b") == HELD_OUT - len(twins)
    assert answer.held_out == HELD_OUT, "how many have a twin is not said"


async def test_the_version_of_the_judge_that_chose_a_run_confirms_it(
    held: Scene, settings: Settings, openai_for_workers: ProviderServer
) -> None:
    openai_for_workers.respond = lambda call: Reply(f'{{"reasoning": "", "score": {9 if "INPUT" in call.text else 2}}}')
    async with with_models(held, settings) as scene:
        judge = f"judge-{scene.dataset}"
        await create_judge(scene.ws, judge, PROMPT, config={"model": "gpt-test", "score_name": "capitals"})
        await measure(scene, "a", "False", judges=[judge])
        await measure(scene, "b", judges=[judge])
        await create_judge(scene.ws, judge, "Newer: " + PROMPT, config={"model": "gpt-test", "score_name": "capitals"})
        with pytest.raises(UsageError, match="score_name"):
            await confirm(scene)
        before = len(openai_for_workers.calls)
        asked: dict[str, JsonValue] = {
            "dataset": scene.dataset,
            "baseline": "a",
            "score_name": "capitals",
            "min_delta": 0.3,
        }
        await ask_in_vain(scene.ws.settings, openai_for_workers, "confirm_run", run_name="b", **asked)
        assert await confirmations(scene) == [], "no look is counted"
        answer = await call_unasked(scene.ws.settings, "confirm_run", run_name="b", **asked)
        assert (answer["status"], answer["verdict"], answer["look"]) == ("completed", "better", 1)
        texts = [call.text for call in openai_for_workers.calls[before:]]
        assert len(texts) == 2 * HELD_OUT
        assert not any("Newer" in text for text in texts)
        await measure(scene, "c", "len(item.input)", judges=[f"{judge}:1"])
        answer = await call_with_a_yes(scene.ws.settings, "confirm_run", run_name="c", **asked)
        assert (answer["verdict"], answer["look"]) == ("better", 2)


async def test_a_handle_of_a_confirmation_keeps_its_verdict_though_its_folders_are_deleted(held: Scene) -> None:
    await measure(held, "a", "False")
    gate = await gated(held)
    await confirm(held, wait_seconds=0)
    asked: dict[str, JsonValue] = {"dataset": held.dataset, "run_name": "b", "baseline": "a", "min_delta": 0.6}
    handle = await create_handle(held.ws, None, "confirm_run", asked, held.dataset, "confirm-b")
    assert handle is not None
    found, progress = await follow_handle(held.ws, handle, _shown)
    assert (found.end, (progress or "").endswith(f"/{2 * HELD_OUT} items")) == (None, True)
    gate.unlink()
    with anyio.fail_after(PATIENCE_S):
        while found.end is None:
            await anyio.sleep(0.05)
            found, _ = await follow_handle(held.ws, find_handle(held.ws, handle.id, None), _shown)
    assert (found.end.status, found.end.result["verdict"]) == ("completed", "better")
    assert not any(held.ws.runs.folder(each).has_started() for each in handle.experiment_ids)
    again, _ = await follow_handle(held.ws, find_handle(held.ws, handle.id, None), _shown)
    assert again == found


def _shown(answer: Answer | LfexpError) -> dict[str, JsonValue]:
    assert isinstance(answer, Answer)
    return answer.model_dump(mode="json")
