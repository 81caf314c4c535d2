"""Confirming runs on held-out items: whole, from the measured code to the verdict."""

from typing import Any

import pytest

from lfexp_mcp.answers.confirmation import ConfirmAnswer
from lfexp_mcp.errors import LfexpError, UsageError
from lfexp_mcp.model import Holdout
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.confirmation import confirm_run
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.requests import CompareRequest, build
from lfexp_mcp.services.run_requests import ConfirmRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from tests.waiting import PATIENCE_S
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
    dataset = await held.ws.gateway.datasets.get(held.dataset)
    found = await held.ws.gateway.experiments.confirmations(dataset.id)
    names = [experiment.name for experiment, _ in found]
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
