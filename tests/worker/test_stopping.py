"""Cancelling, resuming, delivering later."""

import os
from dataclasses import replace

import anyio
import pytest

from lfexp_mcp.errors import StateError, UsageError
from lfexp_mcp.runs.framing import frame
from lfexp_mcp.runs.journal import read_run_end
from lfexp_mcp.runs.outbox import count_waiting_spans
from lfexp_mcp.services.experiments.cancel_run import cancel_run, kill_run
from lfexp_mcp.services.experiments.maintenance import deliver_pending
from lfexp_mcp.services.experiments.run_experiment import run_experiment
from lfexp_mcp.services.requests import RunRequest, build
from lfexp_mcp.services.runs.follower import wait_for_run
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COUNTING = """
    import os, time
    from itertools import count

    turns = count()

    def task(*, item, **kwargs):
        turn = next(turns)
        with open(__file__ + ".calls", "a") as calls:
            calls.write(f"{item.metadata['number']}\\n")
        while turn >= 2 and not os.path.exists(__file__ + ".go"):
            time.sleep(0.005)
        if turn == 0 and not os.path.exists(__file__ + ".go"):
            raise ValueError("not yet")
        return item.metadata["number"]
"""
"""The first call fails, the second succeeds, further ones wait for the file `.go`; with it all succeed."""
ONE = "def one(*, output, **kwargs):\n    return 1.0\n"


async def until_ended(scene: Scene, count: int) -> None:
    """Wait until so many items have ended."""
    folder = await scene.run_folder()
    await until(lambda: folder.has_started() and len(folder.read_state().ended) >= count)


async def test_cancel_keeps_what_is_done_and_resume_runs_only_the_rest(scene: Scene) -> None:
    await scene.fill(8)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.1}))
    task = scene.script(COUNTING)
    folder = await scene.begin(task, max_concurrency=2, evaluator_script=scene.script(ONE, "ev.py"))
    assert folder.is_running()
    await until_ended(scene, 2)
    answer = await cancel_run(scene.ws, scene.dataset, scene.run_name)
    assert (answer.status, answer.succeeded, answer.failed, answer.pending) == ("cancelled", 1, 1, 6)
    assert answer.undelivered == 0

    task.with_name("task.py.go").touch()
    answer = await scene.run(task, resume=True, evaluator_script=scene.script(ONE, "ev.py"))
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 8, 0)
    calls = [int(line) for line in (scene.folder / "task.py.calls").read_text().split()]
    assert set(calls) == set(range(8))
    assert len(calls) == 8 + 1 + 2, "the failed one and the two that were given up are called again"
    assert [(score.name, score.count) for score in answer.scores] == [("one", 8)]
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert {item.item_id for item in items if item.status == "succeeded"} == {
        scene.item_id(number) for number in range(8)
    }


async def test_cancel_gives_up_items_that_do_not_end_within_the_grace(scene: Scene) -> None:
    await scene.fill(4)
    task = scene.script("""
        import threading

        def task(*, item, **kwargs):
            if item.metadata["number"] >= 2:
                threading.Event().wait()
            return 1
    """)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.5}))
    await scene.begin(task, max_concurrency=4)
    await until_ended(scene, 2)
    answer = await cancel_run(scene.ws, scene.dataset, scene.run_name)
    assert (answer.status, answer.succeeded, answer.failed, answer.pending) == ("cancelled", 2, 0, 2)
    folder = await scene.run_folder()
    ended = read_run_end(folder.journal_path)
    assert ended is not None
    assert (ended.status, ended.delivered, folder.has_undelivered()) == ("cancelled", True, False)


async def test_a_killed_run_says_so_and_resumes(scene: Scene) -> None:
    await scene.fill(4)
    task = scene.script(COUNTING)
    await scene.begin(task, max_concurrency=1)
    await until_ended(scene, 2)
    await kill_run(scene.ws, scene.dataset, scene.run_name)
    folder = await scene.run_folder()
    assert not folder.worker.is_locked()
    assert folder.status() == "cancelled"
    task.with_name("task.py.go").touch()
    answer = await scene.run(task, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 4)


async def test_resume_scores_what_an_evaluator_failed_on_without_running_the_task(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script(COUNTING)
    (scene.folder / "task.py.go").touch()
    two = "\n    return 1.0\n\ndef two(**k):\n    return 2.0\n"
    broken = scene.script(f"def one(*, output, **k):\n    assert output{two}", "evaluators.py")
    answer = await scene.run(task, evaluator_script=broken)
    assert {score.name: (score.count, score.unscored) for score in answer.scores} == {"one": (2, 1), "two": (3, 0)}
    scene.script(f"def one(*, output, **k):{two}", "evaluators.py")
    answer = await scene.run(task, evaluator_script=broken, resume=True)
    assert {score.name: (score.count, score.unscored) for score in answer.scores} == {"one": (3, 0), "two": (3, 0)}
    assert len((scene.folder / "task.py.calls").read_text().split()) == 3
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert [sorted(score.name for score in item.scores) for item in items] == [["one", "two"]] * 3


async def test_the_resume_that_an_answer_proposes_goes_on_as_the_run_was_begun(scene: Scene) -> None:
    await scene.fill(6)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.1}))
    task = scene.script(COUNTING)
    await scene.begin(task, max_concurrency=2, evaluator_script=scene.script(ONE, "ev.py"))
    await until_ended(scene, 2)
    await cancel_run(scene.ws, scene.dataset, scene.run_name)
    task.with_name("task.py.go").touch()
    step = (await get_run(scene.ws, scene.dataset, scene.run_name)).next[0]
    assert (step.tool, step.arguments["max_concurrency"]) == ("run_experiment", 2)
    answer = await run_experiment(scene.ws, build(RunRequest, **step.arguments))
    assert (answer.status, answer.succeeded) == ("completed", 6)
    assert [(score.name, score.count) for score in answer.scores] == [("one", 6)]
    with pytest.raises(UsageError, match="repeats=1"):
        await scene.run(None, resume=True, repeats=3)


async def test_a_run_folder_that_cannot_be_read_is_in_nobody_elses_way(scene: Scene) -> None:
    await scene.fill(1)
    await scene.run(scene.script("def task(*, item, **kwargs):\n    return 1\n"))
    broken = await scene.run_folder()
    broken.run_spec_path.write_text("{")
    scene.run_name = "another"
    await scene.run(scene.script("def task(*, item, **kwargs):\n    return 1\n"))
    assert {run.name for run in (await list_runs(scene.ws, scene.dataset)).runs} == {"run", "another"}
    assert await deliver_pending(scene.ws) == 0
    found = await get_run(scene.ws, scene.dataset, "run")
    assert (found.succeeded, found.items[0].output) == (1, "1")
    assert any(broken.path.name in warning for warning in found.warnings)
    with pytest.raises(StateError, match=broken.path.name):
        await scene.run(None, resume=True, run_name="run")


async def test_results_that_langfuse_has_are_read_whatever_became_of_the_journal(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script(COUNTING)
    scene.folder.joinpath("task.py.go").touch()
    await scene.run(task, evaluator_script=scene.script(ONE, "ev.py"))
    folder = await scene.run_folder()
    await until(lambda: not folder.worker.is_locked())
    whole = folder.journal_path.read_bytes()
    [ended] = [line for line in whole.splitlines() if b'"ended"' in line and scene.item_id(1).encode() in line]
    broken = folder.path / "broken.jsonl"
    broken.write_bytes(whole.replace(ended, ended[:40] + b"?" + ended[41:]))
    broken.replace(folder.journal_path)
    damaged = await get_run(scene.ws, scene.dataset, "run")
    assert (damaged.succeeded, damaged.status) == (3, "completed")
    assert any("1 records of the run's journal" in warning for warning in damaged.warnings)
    folder.journal_path.write_bytes(frame(b'{"event":"opened","format":99,"version":"99.0"}'))
    newer = await get_run(scene.ws, scene.dataset, "run")
    assert newer.succeeded == 3
    assert any("lfexp-mcp 99.0 (format 99)" in warning for warning in newer.warnings)
    assert {run.name for run in (await list_runs(scene.ws, scene.dataset)).runs} == {"run"}


async def test_a_resume_with_an_edited_task_says_that_the_figures_mix_two_versions(scene: Scene) -> None:
    await scene.fill(3)
    source = "def task(*, item, **kwargs):\n    assert item.metadata['number'] != {failing}\n    return 1\n"
    task = scene.script(source.format(failing=2))
    answer = await scene.run(task)
    assert not any("versions" in warning for warning in answer.warnings)
    scene.script(source.format(failing=9))
    answer = await scene.run(task, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 3)
    [warning] = [warning for warning in answer.warnings if "2 versions" in warning]
    assert "2 of " in warning
    assert "1 of " in warning
    assert warning in (await get_run(scene.ws, scene.dataset, scene.run_name)).warnings


async def test_an_evaluator_that_a_resume_adds_scores_what_the_others_have_scored(scene: Scene) -> None:
    await scene.fill(3)
    scene.script("", "task.py.go")
    task = scene.script(COUNTING)
    await scene.run(task, evaluator_script=scene.script(ONE, "first.py"))
    both = scene.script("def one(**k):\n    raise ValueError('again')\n\ndef two(**k):\n    return 0.5\n", "both.py")
    answer = await scene.run(task, evaluator_script=both, resume=True)
    assert {score.name: (score.mean, score.count) for score in answer.scores} == {"one": (1.0, 3), "two": (0.5, 3)}
    assert len((scene.folder / "task.py.calls").read_text().split()) == 3
    journal = (await scene.run_folder()).journal_path.read_bytes()
    await scene.run(task, evaluator_script=both, resume=True)
    later = (await scene.run_folder()).journal_path.read_bytes()[len(journal) :]
    assert b'"scored"' not in later


async def test_a_run_evaluator_that_never_returns_ends_with_the_run(scene: Scene) -> None:
    await scene.fill(2)
    endless = """
        import threading

        def endless(*, item_results, **kwargs):
            open(__file__ + ".begun", "w").close()
            threading.Event().wait()

        RUN_EVALUATORS = [endless]
    """
    evaluators = scene.script(endless, "endless.py")
    scene.folder.joinpath("task.py.go").touch()
    task = scene.script(COUNTING)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.2}))
    await scene.begin(task, evaluator_script=evaluators)
    await until((scene.folder / "endless.py.begun").exists)
    answer = await cancel_run(scene.ws, scene.dataset, scene.run_name)
    assert (answer.status, answer.succeeded) == ("cancelled", 2)
    answer = await scene.run(task, resume=True, evaluator_script=evaluators, run_timeout=0.5)
    assert (answer.status, answer.succeeded) == ("failed", 2)
    assert "run_timeout" in answer.warnings[0]


async def test_a_run_of_another_machine_is_resumed_from_what_langfuse_has(scene: Scene) -> None:
    await scene.fill(4)
    task = scene.script(COUNTING)
    await scene.begin(task, max_concurrency=2)
    await until_ended(scene, 2)
    scene.folder.joinpath("task.py.go").touch()
    await cancel_run(scene.ws, scene.dataset, scene.run_name)
    folder = await scene.run_folder()
    done = sum(ended.status == "succeeded" for ended in folder.read_state().ended.values())
    folder.delete()
    before = len(scene.folder.joinpath("task.py.calls").read_text().split())
    answer = await scene.run(task, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 4)
    calls = scene.folder.joinpath("task.py.calls").read_text().split()
    assert len(calls) - before == 4 - done


async def test_evaluators_added_to_a_run_of_another_machine_are_said_to_score_nothing_again(scene: Scene) -> None:
    await scene.fill(2)
    scene.script("", "task.py.go")
    task = scene.script(COUNTING)
    await scene.run(task, evaluator_script=scene.script(ONE, "first.py"))
    folder = await scene.run_folder()
    await until(lambda: not folder.worker.is_locked())
    folder.delete()
    second = scene.script("def second(**kwargs):\n    return 1.0\n", "second.py")
    answer = await scene.run(task, evaluator_script=second, resume=True)
    assert [score.name for score in answer.scores] == ["one"]
    assert any("does not know which evaluators" in warning for warning in answer.warnings)


async def test_resume_of_a_complete_run_runs_nothing(scene: Scene) -> None:
    await scene.fill(2)
    scene.folder.mkdir(exist_ok=True)
    scene.folder.joinpath("task.py.go").touch()
    task = scene.script(COUNTING)
    await scene.run(task)
    answer = await scene.run(task, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 2)
    assert len(scene.folder.joinpath("task.py.calls").read_text().split()) == 2


async def test_nothing_pending_means_no_process(scene: Scene) -> None:
    await scene.fill(1)
    await scene.run(scene.script("def task(*, item, **kwargs):\n    return 1\n"))
    assert await deliver_pending(scene.ws) == 0


async def test_old_runs_are_pruned_but_none_with_data_that_waits(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script("def task(*, item, **kwargs):\n    return 1\n")
    for number in range(4):
        await scene.run(task, run_name=f"run {number}")
    folders = [folder for folder, _ in scene.ws.runs.started()]
    assert len(folders) == 4
    await until(lambda: not any(folder.worker.is_locked() for folder in folders))
    for age, folder in enumerate(folders):
        os.utime(folder.journal_path, (1_000_000 - age, 1_000_000 - age))
    oldest = folders[-1]
    (oldest.outbox_path / "00000099.otlp").write_bytes(b"")
    assert count_waiting_spans(oldest.outbox_path) == 0
    scene.ws.runs.prune(2)
    left = [folder for folder, _ in scene.ws.runs.started()]
    assert len(left) == 3
    assert oldest.path in {folder.path for folder in left}


async def test_waiting_ends_with_the_run(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script(COUNTING)
    await scene.begin(task)
    scene.folder.joinpath("task.py.go").touch()
    with anyio.fail_after(PATIENCE_S):
        await wait_for_run(scene.ws, scene.dataset, scene.run_name, 1000)
    assert (await scene.run_folder()).status() == "completed"


async def test_a_dry_run_ends_with_the_call_and_leaves_nothing(scene: Scene) -> None:
    await scene.fill(2)
    begun = scene.folder / "endless.py.begun"
    task = scene.script(
        """
        import threading

        def task(*, item, **kwargs):
            open(__file__ + ".begun", "w").close()
            threading.Event().wait()
        """,
        "endless.py",
    )
    with pytest.raises(UsageError, match="wait_seconds"):
        await scene.run(task, dry_run=True, wait_seconds=0.5)
    begun.unlink(missing_ok=True)
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await scene.run(task, dry_run=True)

        group.start_soon(run)
        await until(begun.exists)
        group.cancel_scope.cancel()
    assert [path for path in scene.ws.runs.root.iterdir() if path.name.startswith("dry-")] == []


async def test_a_resume_waits_for_a_process_that_only_delivers(scene: Scene) -> None:
    await scene.fill(2)
    scene.folder.mkdir(exist_ok=True)
    scene.folder.joinpath("task.py.go").touch()
    await scene.run(scene.script(COUNTING))
    folder = await scene.run_folder()
    statuses: list[str] = []

    async def resume() -> None:
        statuses.append((await scene.run(None, resume=True)).status)

    with folder.worker.locked(delivers=True):
        assert folder.worker.is_locked()
        assert not folder.is_running()
        with anyio.move_on_after(0.5):
            await resume()
        assert statuses == []
    await resume()
    assert statuses == ["completed"]
