"""Spare workers: the next run finds one, and none serves with what has changed since it began to wait."""

import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lfexp_mcp.runs.process import WorkerProcess
from lfexp_mcp.runs.protocol import WorkerCommand
from lfexp_mcp.services.experiments.workers import keep_spares
from lfexp_mcp.worker.loaded_code import LoadedCode
from tests.waiting import until, until_spares_wait
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TASK = """
    import os

    def task(*, item, **kwargs):
        return {"pid": os.getpid(), "seen": os.environ.get("OF_THIS_TEST"), "folder": os.getcwd()}
"""


def spares_of(scene: Scene) -> list[WorkerProcess]:
    """The spare workers that wait."""
    return list(scene.ws.workers._spares)


@pytest.fixture
async def filled(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A scene with a dataset, whose spare workers come at once and end with the test."""
    monkeypatch.setattr(scene.ws.workers, "REPLACEMENT_DELAY_S", 0.0)
    await scene.fill(1)
    yield scene
    scene.ws.workers.close()


async def keep(scene: Scene) -> list[int]:
    """Keep spare workers, wait until they have imported all, and return their ids."""
    # Not in a fixture, since pytest sets a variable for each phase of a test.
    await keep_spares(scene.ws)
    return await until_spares_wait(scene.ws)


async def run_in(scene: Scene, name: str) -> dict[str, object]:
    """Run the task, and return what it saw."""
    scene.run_name = name
    await scene.run(scene.script(TASK))
    output = (await scene.record()).items[0].output
    assert isinstance(output, dict)
    return dict(output)


async def test_runs_back_to_back_each_find_a_spare_worker_that_no_other_run_had(filled: Scene) -> None:
    waiting = await keep(filled)
    assert [(await run_in(filled, name))["pid"] for name in ("first", "second", "third")] == waiting
    await until(lambda: len(spares_of(filled)) == filled.ws.workers.SPARES)
    assert not {*waiting} & {spare.pid for spare in spares_of(filled)}


async def test_runs_at_once_never_share_a_spare_worker(filled: Scene) -> None:
    waiting = await keep(filled)
    interpreter = spares_of(filled)[0].interpreter
    taken = [filled.ws.workers.start(interpreter) for _ in (*waiting, None)]
    assert [worker.pid for worker in taken[:-1]] == waiting
    assert taken[-1].pid not in waiting
    for worker in taken:
        worker.dismiss()


async def test_a_changed_environment_is_that_of_the_next_run(filled: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THIS_TEST", "old")
    await keep_spares(filled.ws)
    old = [spare.pid for spare in spares_of(filled)]
    monkeypatch.delenv("OF_THIS_TEST")
    seen = await run_in(filled, "run")
    assert (seen["seen"], seen["pid"] in old) == (None, False)
    assert not {*old} & {spare.pid for spare in spares_of(filled)}


async def test_a_run_in_a_folder_that_was_made_again_gets_a_worker_that_is_in_it(
    filled: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    old = await keep(filled)
    shutil.rmtree(place)
    place.mkdir()
    os.chdir(place)
    seen = await run_in(filled, "run")
    assert (Path(str(seen["folder"])), seen["pid"] in old) == (place, False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("blow", ["SIGKILL", "SIGSTOP"])
async def test_a_spare_worker_that_died_or_hangs_is_no_concern_of_the_run(
    filled: Scene, monkeypatch: pytest.MonkeyPatch, blow: str
) -> None:
    monkeypatch.setattr("lfexp_mcp.runs.process.CONFIRM_PATIENCE_S", 0.2)
    waiting = await keep(filled)
    for pid in waiting:
        os.kill(pid, getattr(signal, blow))
    assert (await run_in(filled, "run"))["pid"] not in waiting


@pytest.mark.parametrize("is_spare", [True, False])
async def test_a_worker_that_ended_while_its_run_was_prepared_is_replaced(filled: Scene, is_spare: bool) -> None:
    await keep(filled)
    interpreter = spares_of(filled)[0].interpreter
    worker = filled.ws.workers.start(interpreter) if is_spare else WorkerProcess(interpreter)
    first = worker.pid
    # It ends with its input as it does after a long wait.
    worker._stdin.close()
    await until(lambda: worker.exit_code() == 0)
    await worker.give(WorkerCommand())
    await worker.begin()
    assert worker.pid != first


def edit(place: Path) -> None:
    # Of another length, since it may be within the same tick of the clock of files.
    (place / "part_of_it.py").write_text("VALUE = 22\n", encoding="utf-8")


def replace(place: Path) -> None:
    (place / "new.py").write_text("VALUE = 1\n", encoding="utf-8")
    (place / "new.py").replace(place / "part_of_it.py")


def remove(place: Path) -> None:
    (place / "part_of_it.py").unlink()


def install(place: Path) -> None:
    (place / "another-1.0.dist-info").mkdir()


def add_finder(place: Path) -> None:
    (place / "editable.pth").write_text("/elsewhere\n", encoding="utf-8")


def compile_it(place: Path) -> None:
    (place / "__pycache__" / "part_of_it.old.pyc").write_bytes(b"")


def write_data(place: Path) -> None:
    (place / "other" / "data.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "is_current"),
    [
        (edit, False),
        (replace, False),
        (remove, False),
        (install, False),
        (add_finder, False),
        (compile_it, True),
        (write_data, True),
    ],
)
def test_code_is_current_until_what_a_new_process_would_import_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], is_current: bool
) -> None:
    for folder in ("it-1.0.dist-info", "other", "__pycache__"):
        (tmp_path / folder).mkdir()
    (tmp_path / "part_of_it.py").write_text("VALUE = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    # Another case may have left the module of its own folder.
    monkeypatch.delitem(sys.modules, "part_of_it", raising=False)
    monkeypatch.setitem(sys.modules, "part_of_it", importlib.import_module("part_of_it"))
    loaded = LoadedCode(time.time_ns() + 10**12)
    assert loaded.is_current()
    change(tmp_path)
    assert loaded.is_current() is is_current


def test_code_that_changed_while_it_was_imported_is_not_current() -> None:
    assert not LoadedCode(0).is_current()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_the_module_path_that_may_not_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o100)
    monkeypatch.setattr(sys, "path", [*sys.path, str(closed), str(tmp_path / "none"), __file__])
    assert LoadedCode(time.time_ns() + 10**12).is_current()
