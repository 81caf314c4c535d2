"""Sweeps: runs of variants side by side, and their ranking."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.run import SweepAnswer
from lfexp_mcp.errors import NotFoundError, RunExistsError, ScriptError, UsageError
from lfexp_mcp.runs.events import ItemEnded, ItemStarted
from lfexp_mcp.runs.journal import JournalReader
from lfexp_mcp.services import sweeps
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.experiments.cancel_run import cancel_run
from lfexp_mcp.services.requests import CompareRequest, RunRequest, build
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CUT = """
    def task(*, item, params):
        with open(__file__ + ".calls", "a") as calls:
            calls.write(f"{params['k']}\\n")
        return item.input.upper()[: params["k"]]
"""
EXACT = """
    def exact(*, output, expected_output):
        return float(output == expected_output)
"""
Given = list[dict[str, JsonValue]]


def by_k(**sizes: int) -> Given:
    return [{"name": name, "params": {"k": k}} for name, k in sizes.items()]


async def sweep(scene: Scene, task: Path | None, variants: Given, **arguments: object) -> SweepAnswer:
    wait = arguments.pop("wait_seconds", PATIENCE_S)
    assert isinstance(wait, int | float)
    request = scene.request(task, variants=variants, **{"run_name": "s", **arguments})
    return await sweeps.run(scene.ws, request, wait_seconds=wait)


def calls(task: Path) -> list[str]:
    return task.with_name(f"{task.name}.calls").read_text(encoding="utf-8").split()


async def test_variants_are_runs_of_their_own_and_ranked_against_the_first(scene: Scene) -> None:
    await scene.fill(12)
    task, evaluators = scene.script(CUT), scene.script(EXACT, "c.py")
    answer = await sweep(scene, task, by_k(first=3, whole=90, none=0), evaluator_script=evaluators, params={"t": 1})
    assert (answer.status, answer.succeeded, answer.total_items) == ("completed", 36, 36)
    assert list(answer.variants) == ["s-first", "s-whole", "s-none"]
    assert [(row.run, row.rank, row.verdict) for row in answer.ranking] == [
        ("s-whole", 1, "better"),
        ("s-first", 2, "first run"),
        ("s-none", 2, "inconclusive"),
    ]
    compared = await compare_runs(scene.ws, CompareRequest(dataset=scene.dataset, runs=list(answer.variants)))
    numbers = {(row.run, row.delta, row.p_adjusted, row.pairs) for row in answer.ranking if row.delta is not None}
    assert numbers == {(one.run, one.delta, one.p_adjusted, one.pairs) for one in compared.scores}
    best = next(one for one in compared.scores if one.verdict == "better")
    assert best.p is not None
    assert best.p_adjusted == pytest.approx(1.5 * best.p), "two candidates share evenly, whichever began first"
    assert {run.name for run in (await list_runs(scene.ws, scene.dataset)).runs} == set(answer.variants)
    read = await get_run(scene.ws, scene.dataset, "s-whole")
    assert read.params == {"t": 1, "k": 90}
    assert [step.tool for step in answer.next] == ["compare_runs"]


async def test_runs_that_tie_share_a_rank_and_none_is_better(scene: Scene) -> None:
    await scene.fill(6)
    evaluators = scene.script(EXACT, "c.py")
    answer = await sweep(scene, scene.script(CUT), by_k(a=90, b=91), evaluator_script=evaluators)
    assert [(row.run, row.rank) for row in answer.ranking] == [("s-a", 1), ("s-b", 1)]
    assert [note for note in answer.warnings if note.startswith("No run is shown to be better than 's-a'")]


async def test_runs_that_came_to_no_end_are_proposed_to_be_resumed(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("def task(*, item, params):\n    assert params['k'] < 2\n    return 1\n")
    answer = await sweep(scene, task, by_k(a=1, b=2), fail_on_error=1)
    assert answer.status == "failed"
    [step] = [step for step in answer.next if step.tool == "run_experiment"]
    assert (step.arguments["run_name"], step.arguments["resume"]) == ("s-b", True)


async def test_none_begins_if_one_cannot_and_the_names_stay_free(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script(CUT)
    broken = str(scene.script("def tusk(): ...", "broken.py"))
    variants: Given = [*by_k(a=1), {"name": "b", "task_script": broken}]
    with pytest.raises(ScriptError, match="'s-b'"):
        await sweep(scene, task, variants)
    assert not task.with_name("task.py.calls").exists()
    assert (await list_runs(scene.ws, scene.dataset)).runs == []
    assert (await sweep(scene, task, by_k(a=1, b=2))).status == "completed"
    with pytest.raises(RunExistsError):
        await sweep(scene, task, by_k(c=1, b=2))
    assert len(calls(task)) == 6


async def test_a_resume_finishes_what_is_there_and_begins_what_is_new(scene: Scene) -> None:
    await scene.fill(4)
    go = scene.folder / "go"
    task = scene.script(
        CUT.replace("return", f"assert params['k'] == 1 or __import__('os').path.exists({str(go)!r})\n        return")
    )
    assert (await sweep(scene, task, by_k(a=1, b=2))).failed == 4
    go.touch()
    answer = await sweep(scene, task, by_k(b=2, a=1, c=3), resume=True)
    assert (answer.status, answer.failed, answer.succeeded) == ("completed", 0, 12)
    assert sorted(calls(task)) == ["1"] * 4 + ["2"] * 8 + ["3"] * 4
    with pytest.raises(UsageError, match="'s-a'"):
        await sweep(scene, task, by_k(a=2, b=2), resume=True)
    with pytest.raises(NotFoundError) as unknown:
        await sweep(scene, task, by_k(a=1, b=2), resume=True, judges=["judge-unknown"])
    assert unknown.value.name == "judge-unknown", "and not that the run has results already"


def events(scene: Scene, name: str, ids: dict[str, str]) -> list[tuple[float, int, str]]:
    """The beginnings (1) and ends (-1) of the items of a run, with their times."""
    read = list(JournalReader(scene.ws.runs.folder(ids[name]).journal_path).read())
    begun = [(event.at.timestamp(), 1, name) for event in read if isinstance(event, ItemStarted)]
    return begun + [(event.at.timestamp(), -1, name) for event in read if isinstance(event, ItemEnded)]


async def test_variants_go_on_side_by_side_and_never_exceed_the_limit_together(scene: Scene) -> None:
    await scene.fill(10)
    task = scene.script("import time\n\n\ndef task(*, item, params):\n    time.sleep(0.02)\n    return 1\n")
    await sweep(scene, task, by_k(a=1, b=2, c=3), max_concurrency=4)
    dataset = await scene.ws.gateway.datasets.get(scene.dataset)
    names = ("s-a", "s-b", "s-c")
    ids = {name: await scene.ws.gateway.experiments.id_of(dataset.id, name) for name in names}
    timeline = sorted(event for name in names for event in events(scene, name, ids))
    running = most = 0
    for _, change, _ in timeline:
        running += change
        most = max(most, running)
    assert 2 <= most <= 4
    firsts = [min(at for at, change, of in timeline if of == name and change > 0) for name in names]
    lasts = [max(at for at, change, of in timeline if of == name and change < 0) for name in names]
    assert max(firsts) < min(lasts)


async def test_places_of_a_run_that_has_ended_go_to_the_others(scene: Scene) -> None:
    await scene.fill(8)
    # Four items of the slow variant have to run at once, of which it has two places of its own.
    task = scene.script("""
        import os, pathlib, time

        def task(*, item, params):
            if params["k"] == 1:
                return 1
            pathlib.Path(f"{__file__}.{item.id}.running").touch()
            while len(list(pathlib.Path(__file__).parent.glob("*.running"))) < 4:
                time.sleep(0.01)
            return 1
    """)
    assert (await sweep(scene, task, by_k(fast=1, slow=2), max_concurrency=4)).status == "completed"


WAITING = """
    import os, time

    def task(*, item, params):
        open(f"{__file__}.{params['k']}.{item.id}", "w").close()
        while not os.path.exists(__file__ + ".go"):
            time.sleep(0.01)
        return 1
"""


async def test_a_sweep_is_cancelled_by_its_name_and_one_run_by_its_own(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script(WAITING)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.1}))
    answer = await sweep(scene, task, by_k(a=1, b=2, c=3), max_concurrency=3, wait_seconds=0)
    assert answer.status == "running"
    assert {step.tool for step in answer.next} == {"get_run", "cancel_run", "compare_runs"}
    await until(lambda: len(list(scene.folder.glob("task.py.*"))) == 3)
    with pytest.raises(RunExistsError):
        await sweep(scene, task, by_k(a=1, b=2, c=3), max_concurrency=3)
    assert (await cancel_run(scene.ws, scene.dataset, "s-b")).status == "cancelled"
    await cancel_run(scene.ws, scene.dataset, "s")
    for name in ("s-a", "s-b", "s-c"):
        assert (await get_run(scene.ws, scene.dataset, name)).status == "cancelled"
    again = await cancel_run(scene.ws, scene.dataset, "s")
    assert (again.status, again.total_items) == ("cancelled", 18)


@pytest.mark.parametrize(
    "changes",
    [
        {"variants": []},
        {"variants": "no list"},
        {"variants": "[" * 100_000},
        {"variants": [{"name": "a"}, {"name": "a"}]},
        {"variants": [{"name": "a"}, {"name": "a "}]},
        {"variants": [{"name": "\u00e9"}, {"name": "e\u0301"}]},
        {"variants": [{"name": ""}]},
        {"variants": [{"name": " "}]},
        {"variants": [{"params": {"k": 1}}]},
        {"variants": [{"name": "a", "temprature": 1}]},
        {"variants": [{"name": "a", "task_script": "t.py", "task_prompt": "p"}]},
        {"variants": [{"name": "a", "model": "m"}]},
        {"variants": [{"name": "x" * 300}]},
        {"variants": [{"name": str(number)} for number in range(21)], "max_concurrency": 100},
        {"variants": [{"name": str(number)} for number in range(6)]},
        {"variants": [{"name": "a"}], "dry_run": True},
        {"variants": [{"name": "a"}], "source_type": "live", "dataset": None},
        {"variants": [{"name": "a"}], "task_script": None},
        {"fail_on_error": 2.5, "variants": [{"name": "a"}]},
    ],
)
async def test_variants_that_cannot_be_run_are_refused(changes: dict[str, JsonValue]) -> None:
    given = {"run_name": "s", "dataset": "d", "task_script": "t.py"} | changes
    with pytest.raises(UsageError):
        build(RunRequest, **given).variant_requests()


async def test_a_variant_has_what_the_sweep_has_unless_it_says_otherwise() -> None:
    request = build(
        RunRequest,
        run_name="s",
        dataset="d",
        task_prompt="p",
        model="m",
        params={"k": 1, "t": 0},
        max_cost=3.0,
        items=20,
        variants='[{"name": "a", "model": null, "task_script": null}, {"name": "b", "params": {"k": 2}, "model": "n"}, '
        '{"name": "c", "task_script": "t.py"}]',
    )
    found = request.variant_requests()
    assert [each.run_name for each in found] == ["s-a", "s-b", "s-c"]
    assert [each.params for each in found] == [{"k": 1, "t": 0}, {"k": 2, "t": 0}, {"k": 1, "t": 0}]
    assert [each.model for each in found] == ["m", "n", None]
    assert [each.task_prompt for each in found] == ["p", "p", None]
    assert [each.max_cost for each in found] == [1.0, 1.0, 1.0]
    assert len({each.items for each in found}) == 1
    assert all("variant_of" not in each.step("again").arguments for each in found)


async def test_blanks_around_a_variants_name_are_no_part_of_it() -> None:
    def names(*given: str) -> list[str]:
        variants: JsonValue = [{"name": name} for name in given]
        request = build(RunRequest, run_name="s", dataset="d", task_script="t.py", variants=variants)
        return [each.run_name for each in request.variant_requests()]

    assert names(" a", "b\n", "c d") == ["s-a", "s-b", "s-c d"]
    assert names("e\u0301") == ["s-\u00e9"]
    for given in ([" a", "a"], ["e\u0301", "\u00e9"], ["  "]):
        with pytest.raises(UsageError):
            names(*given)
