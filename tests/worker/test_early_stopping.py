"""Runs that stop as soon as they are decided."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.answers.comparison import Comparison, ScoreComparison
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import Look
from lfexp_mcp.runs.baseline import read_baseline
from lfexp_mcp.runs.events import LookTaken
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.sequential import look_levels, look_sizes, place_in_order
from lfexp_mcp.statistics.significance import ALPHA
from tests.waiting import until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ITEMS = 50
FIRST_LOOK = 20
TASK = """
    import os, time

    def task(*, item, params, **kwargs):
        number = item.metadata["number"]
        with open(__file__ + ".calls", "a") as calls:
            calls.write(f"{number}\\n")
        while item.id == params.get("slow") and not os.path.exists(__file__ + ".go"):
            time.sleep(0.005)
        is_right = number % 10 < params["right"] and item.id not in params.get("wrong", ())
        return item.input.upper() if is_right else "wrong"
"""
"""Right on so many tenths of the items, without those named; one of them may wait for the file `.go`."""
CHECKS = """
    def exact(*, output, expected_output, **kwargs):
        return float(output == expected_output)

    def short(*, output, **kwargs):
        return float(len(output) < 6)

    EVALUATORS = [exact, short]
"""


class Stoppable:
    """A dataset with the run `base`, right on 9 tenths of the items, that others may be compared with."""

    def __init__(self, scene: Scene, task: Path, checks: Path) -> None:
        self.scene = scene
        self.task = task
        self.checks = checks

    @classmethod
    async def prepare(cls, scene: Scene, **more: Any) -> "Stoppable":  # noqa: ANN401
        await scene.fill(ITEMS)
        prepared = cls(scene, scene.script(TASK), scene.script(CHECKS, "checks.py"))
        answer = await scene.run(
            prepared.task, run_name="base", evaluator_script=prepared.checks, params={"right": 9}, **more
        )
        assert answer.status == "completed"
        return prepared

    def given(self, right: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """The arguments of a run that stops when decided."""
        given: dict[str, Any] = {"evaluator_script": self.checks, "params": {"right": right}, "max_concurrency": 1}
        rule = {"compare_with": "base", "stop_when": "decided", "primary_score": "exact"}
        return given | rule | more

    async def calls(self) -> list[str]:
        """The items that the task was called on, without those of the baseline."""
        numbers = self.task.with_name("task.py.calls").read_text(encoding="utf-8").split()[ITEMS:]
        return [self.scene.item_id(int(number)) for number in numbers]

    async def order(self) -> list[str]:
        """The items in the order of the run."""
        seed = (await self.scene.run_folder()).path.name
        return sorted(map(self.scene.item_id, range(ITEMS)), key=lambda item_id: place_in_order(seed, item_id))

    async def compare(self, ws: Workspace, *fail_if: str, baseline: str = "base") -> Comparison:
        request = CompareRequest(dataset=self.scene.dataset, runs=[baseline, "run"], fail_if=list(fail_if) or None)
        return await compare_runs(ws, request)


def line(comparison: Comparison, score: str) -> ScoreComparison:
    return next(one for one in comparison.scores if one.score == score)


def outcomes(comparison: Comparison) -> list[str]:
    assert comparison.gate is not None
    return [check.outcome for check in comparison.gate.checks]


async def test_a_run_stops_when_it_is_decided_and_every_machine_knows_that_it_is_a_part(
    scene: Scene, elsewhere: Workspace
) -> None:
    prepared = await Stoppable.prepare(scene)
    answer = await scene.run(prepared.task, **prepared.given(0))
    assert (answer.status, answer.succeeded, answer.pending, answer.undelivered) == ("stopped", FIRST_LOOK, 30, 0)
    assert await prepared.calls() == (await prepared.order())[:FIRST_LOOK]
    assert answer.stopping is not None
    assert (answer.stopping.verdict, answer.stopping.items_saved, answer.stopping.next_look) == ("worse", 30, None)
    assert [step.tool for step in answer.next][:2] == ["compare_runs", "run_experiment"]
    folder = await scene.run_folder()
    assert len(read_baseline(folder)) == ITEMS
    [look] = folder.read_state().looks
    for ws in (scene.ws, elsewhere):
        read = await get_run(ws, scene.dataset, "run")
        assert (read.status, read.pending, read.stopping and read.stopping.verdict) == ("stopped", 30, "worse")
        assert {run.name: run.status for run in (await list_runs(ws, scene.dataset)).runs}["run"] == "stopped"
        found = await prepared.compare(ws, "exact.worse", "exact<0.01", "short.worse", "worse")
        exact = line(found, "exact")
        assert (exact.verdict, exact.pairs) == ("worse", FIRST_LOOK)
        assert exact.delta == pytest.approx(look.delta)
        assert exact.interval == look.interval
        assert exact.newly_failing == exact.losses
        assert outcomes(found) == ["failed", "undecided", "undecided", "failed"]
        assert "status" in {issue.kind for issue in found.comparability}
        assert found.gate is not None
        assert all(check.part for check in found.gate.checks)


async def test_a_resume_goes_on_and_the_verdict_of_the_stop_stands(scene: Scene, elsewhere: Workspace) -> None:
    prepared = await Stoppable.prepare(scene)
    await scene.run(prepared.task, **prepared.given(0))
    [look] = (await scene.run_folder()).read_state().looks
    answer = await scene.run(None, resume=True)
    assert (answer.status, answer.succeeded, answer.pending) == ("completed", ITEMS, 0)
    assert len(await prepared.calls()) == ITEMS
    assert answer.stopping is not None
    assert (answer.stopping.verdict, answer.stopping.items_saved) == ("worse", 0)
    assert (await scene.run_folder()).read_state().looks == [look]
    for ws in (scene.ws, elsewhere):
        found = await prepared.compare(ws, "exact.worse", "short<0.01")
        assert (line(found, "exact").verdict, line(found, "exact").pairs) == ("worse", FIRST_LOOK)
        assert line(found, "short").pairs == ITEMS
        assert outcomes(found) == ["failed", "passed"]
    with pytest.raises(UsageError):
        await scene.run(None, resume=True, compare_with="base", stop_when="decided", min_delta=0.2)


async def test_another_machine_goes_on_without_looks_of_its_own_and_keeps_the_verdict(
    scene: Scene, elsewhere: Workspace
) -> None:
    prepared = await Stoppable.prepare(scene)
    await scene.run(prepared.task, **prepared.given(0))
    there = Scene(elsewhere, scene.folder, scene.dataset)
    answer = await there.run(prepared.task, resume=True, evaluator_script=prepared.checks)
    assert (answer.status, answer.succeeded) == ("completed", ITEMS)
    assert answer.stopping is not None
    assert answer.stopping.verdict == "worse"
    assert line(await prepared.compare(elsewhere), "exact").pairs == FIRST_LOOK
    third = await compare_runs(elsewhere, CompareRequest(dataset=scene.dataset, runs=["run", "base"]))
    assert line(third, "exact").pairs == ITEMS, "the other way round it is another comparison"


async def test_items_that_end_sooner_do_not_make_a_look(scene: Scene) -> None:
    prepared = await Stoppable.prepare(scene)
    first = (await prepared.order())[0]
    given = prepared.given(0, params={"right": 0, "slow": first}, max_concurrency=2)
    folder = await scene.begin(prepared.task, **given)
    await until(lambda: len(folder.read_state().ended) >= ITEMS - 1)
    assert folder.read_state().looks == []
    prepared.task.with_name("task.py.go").touch()
    await until(lambda: folder.read_state().run_ended is not None)
    answer = await get_run(scene.ws, scene.dataset, "run", wait_seconds=30)
    assert answer.status == "completed", "there was nothing left to stop"
    assert answer.stopping is not None
    assert answer.stopping.verdict == "worse"


async def test_a_run_that_stops_waits_for_what_runs_unless_it_is_cancelled(scene: Scene) -> None:
    prepared = await Stoppable.prepare(scene)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.1}))
    params = {"right": 0, "slow": (await prepared.order())[FIRST_LOOK]}
    folder = await scene.begin(prepared.task, **prepared.given(0, params=params, max_concurrency=2))
    await until(lambda: bool(folder.read_state().looks))
    await until(lambda: len(folder.read_state().running) == 1)
    answer = await cancel_run(scene.ws, scene.dataset, "run")
    assert answer.status == "stopped"
    assert answer.succeeded is not None
    assert FIRST_LOOK <= answer.succeeded < FIRST_LOOK + 2
    state = folder.read_state()
    assert (len(state.looks), state.looks[-1].verdict) == (1, "worse")


async def test_a_verdict_that_a_worker_did_not_live_to_carry_out_is_not_taken_twice(scene: Scene) -> None:
    prepared = await Stoppable.prepare(scene)
    ids = await prepared.order()
    folder = await scene.begin(prepared.task, **prepared.given(0, params={"right": 0, "slow": ids[10]}))
    await until(lambda: len(folder.read_state().ended) >= 10)
    await cancel_run(scene.ws, scene.dataset, "run")
    between = await prepared.compare(scene.ws)
    assert (line(between, "exact").verdict, line(between, "exact").p) == ("inconclusive", None)
    look = Look(1, FIRST_LOOK, FIRST_LOOK, 0, 15, 0.9, 0.15, 1e-4, None, verdict="worse")
    journal = folder.open_journal()
    journal.append(LookTaken(look=look))
    journal.close()
    prepared.task.with_name("task.py.go").touch()
    before = len(await prepared.calls())
    answer = await scene.run(None, resume=True)
    assert (answer.status, len(await prepared.calls())) == ("stopped", before)
    answer = await scene.run(None, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", ITEMS)
    assert folder.read_state().looks == [look]


async def test_an_undecided_run_ends_as_any_other_and_its_last_test_counts_the_looks(scene: Scene) -> None:
    prepared = await Stoppable.prepare(scene, repeats=2)
    right_before = {scene.item_id(number) for number in range(ITEMS) if number % 10 < 9}
    # 7 losses are too few for any look, and enough for the test of all items.
    wrong = [item_id for item_id in await prepared.order() if item_id in right_before][:7]
    given = prepared.given(9, params={"right": 9, "wrong": wrong}, repeats=2, min_delta=0.25)
    answer = await scene.run(prepared.task, **given)
    assert (answer.status, answer.succeeded) == ("completed", 2 * ITEMS)
    looks = (await scene.run_folder()).read_state().looks
    assert [(look.items, look.pairs, look.verdict) for look in looks] == [
        (20, 20, None),
        (25, 25, None),
        (30, 30, None),
        (36, 36, None),
    ]
    calls = await prepared.calls()
    assert calls[ITEMS : ITEMS + 4 : 2] == calls[ITEMS + 1 : ITEMS + 4 : 2], (
        "an item with its repetitions, then the next"
    )
    exact = line(await prepared.compare(scene.ws), "exact")
    level = look_levels(look_sizes(ITEMS), ALPHA)[-1]
    assert (exact.verdict, exact.pairs, exact.losses) == ("worse", ITEMS, 7)
    assert exact.p == pytest.approx(2 * 0.5**7 * ALPHA / level)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"compare_with": "base"}, "together"),
        ({"stop_when": "decided"}, "together"),
        ({"min_delta": 0.1}, "stop_when"),
        ({"min_delta": 0.0}, "min_delta"),
        ({"min_delta": 1.0}, "min_delta"),
        ({"compare_with": "run", "stop_when": "decided"}, "compare_with"),
        ({"compare_with": "base", "stop_when": "decided", "variants": [{"name": "a"}, {"name": "b"}]}, "variants"),
        ({"compare_with": "base", "stop_when": "decided", "items": {"run": "base", "which": "failed"}}, "fair"),
        ({"compare_with": "base", "stop_when": "decided", "source_type": "live", "dataset": None}, "live"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(scene: Scene, arguments: dict[str, Any], word: str) -> None:
    task = scene.script(TASK)
    with pytest.raises(ValueError, match=word):
        scene.request(task, **arguments)


async def test_one_score_decides_and_the_baseline_has_to_have_it(scene: Scene) -> None:
    prepared = await Stoppable.prepare(scene)
    with pytest.raises(UsageError) as refused:
        await scene.run(prepared.task, **prepared.given(0, primary_score=None))
    assert [step.arguments["primary_score"] for step in refused.value.next] == ["exact", "short"]
    for wrong in ({"primary_score": "exactly"}, {"compare_with": "bases"}):
        with pytest.raises(Exception, match=str(next(iter(wrong.values())))):
            await scene.run(prepared.task, **prepared.given(0, **wrong))
