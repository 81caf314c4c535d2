"""Tasks that misbehave."""

import sys
from dataclasses import replace

import pytest

from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.requests import AnalyzeRequest
from lfexp_mcp.services.runs.follower import wait_for_run
from tests.runs.records import read_record
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_hundred_megabytes_of_prints_neither_block_nor_fill_the_disk(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("""
        def task(*, item, **kwargs):
            for _ in range(50):
                print("x" * 1_000_000)
            return 1
    """)
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded) == ("completed", 2)
    log = (await scene.run_folder()).log_path.read_bytes()
    assert len(log) < 6_000_000
    assert b"left out" in log


async def test_an_error_that_quotes_a_secret_of_the_environment_is_kept_without_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYMENTS_TOKEN", "hunter2-hunter2")
    await scene.fill(1)
    task = scene.script("""
        import os

        def task(*, item, **kwargs):
            raise ValueError("Refused: " + os.environ["PAYMENTS_TOKEN"])
    """)
    answer = await scene.run(task)
    assert "Refused: <key>" in answer.errors[0].error
    journal = (await scene.run_folder()).path.joinpath("journal.jsonl").read_bytes()
    assert b"hunter2" not in journal
    shown = await scene.ws.gateway.observations.find(environment="sdk-experiment", max_rows=1)
    assert "hunter2" not in repr(shown)


async def test_a_hung_task_fails_its_item_and_the_run_ends(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script("""
        import threading

        def task(*, item, **kwargs):
            if item.metadata["number"] == 1:
                threading.Event().wait()
            return 1
    """)
    answer = await scene.run(task, item_timeout=2.0, max_concurrency=1)
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 2, 1)
    assert "no result within 2 s" in answer.errors[0].error


async def test_an_async_task_that_blocks_its_event_loop_fails_alone(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script("""
        import threading

        async def task(*, item, **kwargs):
            if item.metadata["number"] == 1:
                threading.Event().wait()
            return 1
    """)
    answer = await scene.run(task, item_timeout=2.0, max_concurrency=1)
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 2, 1)


async def test_a_task_may_change_directory_read_its_input_and_start_children(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("""
        import os, subprocess, sys, tempfile

        def task(*, item, **kwargs):
            os.chdir(tempfile.gettempdir())
            child = subprocess.run([sys.executable, "-c", "print('from a child', flush=True); print(input())"],
                                   capture_output=item.metadata["number"] == 0, text=True)
            return [child.returncode, child.stdout, sys.stdin.read() if not sys.stdin.closed else None]
    """)
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded) == ("completed", 2)
    outputs = {item.item_id: item.output for item in (await scene.record()).items}
    assert outputs[scene.item_id(0)] == [1, "from a child\n", ""]
    log = (await scene.run_folder()).log_path
    assert answer.log == str(log)
    assert "from a child" in log.read_text(encoding="utf-8")


async def test_outputs_that_json_cannot_hold_are_stored_as_text_and_said(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script("""
        class Thing:
            def __str__(self):
                return "a thing"

        OUTPUTS = [{1, 2}, b"bytes \\xff", float("nan"), Thing(), "x" * 10_000_000, {"deep": [1, (2, None)]}]

        def task(*, item, **kwargs):
            return OUTPUTS[item.metadata["number"]]
    """)
    evaluators = scene.script("def kind(*, output, **kwargs):\n    return type(output).__name__\n", "evaluators.py")
    answer = await scene.run(task, evaluator_script=evaluators)
    assert (answer.status, answer.succeeded) == ("completed", 6)
    record = await scene.record()
    by_id = {item.item_id: item for item in record.items}
    outputs = [by_id[scene.item_id(number)].output for number in range(6)]
    assert outputs == [[1, 2], "bytes \\xff", "nan", "a thing", "x" * 10_000_000, {"deep": [1, [2, None]]}]
    assert by_id[scene.item_id(0)].scores[0].value == "set"
    assert any("set" in warning for warning in answer.warnings)
    assert any("Thing" in warning for warning in answer.warnings)
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert [item.output for item in items if item.item_id == scene.item_id(4)] == ["x" * 10_000_000]


async def test_a_task_that_kills_its_process_leaves_a_run_that_resumes(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script("""
        import os

        def task(*, item, **kwargs):
            if item.metadata["number"] == 2 and not os.path.exists(__file__ + ".mended"):
                os._exit(7)
            return item.metadata["number"]
    """)
    answer = await scene.run(task, max_concurrency=1)
    assert answer.status == "failed"
    assert "worker died" in answer.warnings[0]
    assert scene.item_id(2) in answer.warnings[1]
    assert answer.next[0].arguments["resume"] is True
    again = await scene.run(task, max_concurrency=1, resume=True)
    assert (again.status, again.succeeded, again.pending) == ("failed", 5, 1)
    task.with_name(task.name + ".mended").touch()
    mended = await scene.run(task, max_concurrency=1, resume=True)
    assert (mended.status, mended.succeeded) == ("completed", 6)


async def test_edited_code_is_what_the_next_run_measures(scene: Scene) -> None:
    await scene.fill(1)
    scene.script("NUMBER = 1\n", "constants.py")
    task = scene.script("from constants import NUMBER\n\ndef task(*, item, **kwargs):\n    return [NUMBER, 'a']\n")
    await scene.run(task, run_name="first")
    scene.script("NUMBER = 2\n", "constants.py")
    await scene.run(task, run_name="second")
    scene.script("from constants import NUMBER\n\ndef task(*, item, **kwargs):\n    return [NUMBER, 'b']\n")
    await scene.run(task, run_name="third")
    outputs = []
    for name in ("first", "second", "third"):
        scene.run_name = name
        outputs.append((await scene.record()).items[0].output)
    assert outputs == [[1, "a"], [2, "a"], [2, "b"]]


async def test_a_failing_task_is_tried_again_as_often_as_asked(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("""
        from collections import Counter
        calls = Counter()

        def task(*, item, **kwargs):
            calls[item.id] += 1
            if calls[item.id] < 2 + item.metadata["number"]:
                raise RuntimeError("not yet")
            return calls[item.id]
    """)
    answer = await scene.run(task, task_retries=1)
    assert (answer.succeeded, answer.failed) == (1, 1)


async def test_a_run_whose_first_items_all_fail_alike_says_so_while_it_is_at_work(scene: Scene) -> None:
    await scene.fill(25)
    task = scene.script("""
        import os, time

        def task(*, item, **kwargs):
            while item.metadata["number"] >= 20 and not os.path.exists(__file__ + ".go"):
                time.sleep(0.005)
            raise ConnectionError("no route")
    """)
    folder = await scene.run_folder()
    assert (await scene.run(task, wait_seconds=0, max_concurrency=25)).status == "running"
    await until(lambda: bool(read_record(folder).warnings))
    record = await scene.record()
    assert record.status == "running"
    assert "20 items failed with the same error: ConnectionError: no route" in record.warnings[0]
    task.with_name(task.name + ".go").touch()
    await wait_for_run(scene.ws, scene.dataset, scene.run_name, PATIENCE_S)


@pytest.mark.parametrize(("limit", "most"), [(3, 3), (0.5, 20)])
async def test_a_run_with_too_many_failures_stops_early_and_says_why(scene: Scene, limit: float, most: int) -> None:
    await scene.fill(40)
    task = scene.script("def task(*, item, **kwargs):\n    raise ConnectionError('no route')\n")
    answer = await scene.run(task, fail_on_error=limit, max_concurrency=1)
    assert answer.status == "failed"
    assert answer.failed == most
    assert answer.pending == 40 - most
    assert "ConnectionError: no route" in answer.warnings[0]


async def test_a_run_that_takes_too_long_stops_and_can_go_on(scene: Scene) -> None:
    await scene.fill(4)
    task = scene.script("""
        import os, time

        def task(*, item, **kwargs):
            while item.metadata["number"] > 1 and not os.path.exists(__file__ + ".fast"):
                time.sleep(0.01)
            return 1
    """)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.1}))
    answer = await scene.run(task, run_timeout=2.0, max_concurrency=4)
    assert (answer.status, answer.succeeded, answer.pending) == ("failed", 2, 2)
    assert "run_timeout=2 s" in answer.warnings[0]
    task.with_name(task.name + ".fast").touch()
    answer = await scene.run(task, resume=True)
    assert (answer.status, answer.succeeded) == ("completed", 4)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interpreter that is a shell script")
async def test_the_interpreter_can_be_chosen_and_has_to_have_our_package(scene: Scene) -> None:
    from lfexp_mcp.errors import WorkerError

    await scene.fill(1)
    task = scene.script("import os\n\ndef task(*, item, **kwargs):\n    return os.environ['CHOSEN']\n")
    chosen = scene.script(f'#!/bin/sh\nCHOSEN=yes exec {sys.executable} "$@"\n', "python")
    chosen.chmod(0o755)
    await scene.run(task, python=chosen)
    assert (await scene.record()).items[0].output == "yes"
    bare = scene.script(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n', "bare")
    bare.chmod(0o755)
    with pytest.raises(WorkerError, match=bare.name):
        await scene.run(task, python=bare, run_name="other")
    with pytest.raises(WorkerError, match="missing"):
        await scene.run(task, python=scene.folder / "missing", run_name="other")
    assert (await scene.run(task, python=chosen, run_name="other")).status == "completed"


@pytest.mark.parametrize("score_name", [None, "right"])
async def test_a_score_that_its_evaluator_never_gave_is_analyzed_as_unscored(
    scene: Scene, score_name: str | None
) -> None:
    await scene.fill(2)
    evaluators = scene.script("def right(*, output, **kwargs):\n    raise ValueError('no')\n", "checks.py")
    await scene.run(scene.script("def task(*, item, **kwargs):\n    return 1\n"), evaluator_script=evaluators)
    request = AnalyzeRequest(dataset=scene.dataset, run_name=scene.run_name, score_name=score_name)
    analysis = await analyze_run(scene.ws, request)
    assert [(score.name, score.mean, score.count, score.unscored) for score in analysis.scores] == [
        ("right", None, 0, 2)
    ]
    assert [(group.where, group.count) for group in analysis.groups if group.by == "error"] == [("right", 2)]
    assert analysis.failures.total == 0
