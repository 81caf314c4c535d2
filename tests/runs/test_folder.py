"""The folder of a run: who may work on it, and what it tells."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest

from lfexp_mcp.errors import RunExistsError, StateError
from lfexp_mcp.model import TEN, DatasetItem, ExperimentHead, JudgeMaker, RunSpec, Score, ScriptMaker
from lfexp_mcp.runs.events import Event, ItemEnded, ItemScored, ItemStarted, RunEnded, ScoresStored, WorkerAccepted
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.runs.identity import repeat_name, score_id
from lfexp_mcp.runs.runs_folder import RunsFolder
from tests.runs.records import read_record


def make_run_spec(**changes: object) -> RunSpec:
    run_spec = RunSpec(
        created=datetime.now(UTC),
        project_id="p",
        base_url="http://127.0.0.1:1",
        dataset_id="d",
        dataset_name="dataset",
        dataset_version=datetime.now(UTC),
        item_count=2,
        experiments=(ExperimentHead(id="e", name="run"),),
        working_folder=Path.cwd(),
    )
    return run_spec.model_copy(update=changes)


def make_folder(path: Path, *events: Event) -> RunFolder:
    folder = RunFolder(path)
    folder.write_run_spec(make_run_spec(), [DatasetItem(id="a", input=1), DatasetItem(id="b", input=2)])
    journal = folder.open_journal()
    journal.append(*events)
    journal.close()
    return folder


def ended(item_id: str, status: Literal["succeeded", "failed"] = "succeeded") -> ItemEnded:
    return ItemEnded(
        item_id=item_id,
        status=status,
        error="boom" if status == "failed" else None,
        trace_id="t",
        root_id="r",
        observation_id="o",
        started=datetime.now(UTC),
        seconds=1.0,
    )


def test_only_one_process_locks_a_run(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    assert not folder.worker.is_locked()
    with folder.worker.locked():
        assert folder.worker.is_locked()
        assert folder.status() == "running"
        with pytest.raises(RunExistsError), RunFolder(folder.path).worker.locked(timeout_s=0):
            pass
    assert folder.status() == "failed"
    with folder.worker.preparing(), pytest.raises(RunExistsError), RunFolder(folder.path).worker.preparing():
        pass
    with folder.worker.preparing():
        assert RunFolder(folder.path).worker.is_being_started()
    assert not folder.worker.is_being_started()


def test_a_dead_worker_is_reported_with_the_items_that_were_running(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "run", WorkerAccepted(pid=1), ItemStarted(item_id="a"), ended("a"), ItemStarted(item_id="b")
    )
    record = read_record(folder)
    assert record.status == "failed"
    assert "worker died" in record.warnings[0]
    assert "'b'" in record.warnings[1]
    assert [item.status for item in record.items] == ["succeeded", "pending"]
    with folder.worker.locked():
        folder.worker.record_exit("the disk is full")
    assert read_record(folder).warnings[0] == "the disk is full"
    assert folder.worker.pid == os.getpid()


def test_a_newer_result_takes_the_place_of_a_failed_one(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "run", WorkerAccepted(pid=1), ended("a", "failed"), WorkerAccepted(pid=2), ended("a"), ended("b")
    )
    state = folder.read_state()
    assert state.failed_count == 0
    assert {item.status for item in read_record(folder).items} == {"succeeded"}


def test_scores_count_as_undelivered_until_langfuse_said_so(tmp_path: Path) -> None:
    scores = tuple(Score(id=name, name=name, value=1.0, data_type="NUMERIC") for name in ("x", "y"))
    folder = make_folder(
        tmp_path / "run",
        WorkerAccepted(pid=1),
        ended("a"),
        ItemScored(item_id="a", scores=scores),
        ScoresStored(ids=("x",)),
        RunEnded(status="failed", cause="undelivered", reason="r"),
    )
    assert folder.undelivered(folder.read_state()) == 1
    assert folder.has_undelivered()
    assert [score.id for score, _, _ in folder.read_state().unstored_scores()] == ["y"]


def test_a_damaged_run_spec_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    folder.run_spec_path.write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(StateError, match="run"):
        folder.run_spec()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps other users out of a user's folders by itself")
def test_the_folder_is_private_to_the_user(tmp_path: Path) -> None:
    runs = RunsFolder(tmp_path / "runs")
    runs.prepare()
    assert runs.root.stat().st_mode & 0o077 == 0
    folder = make_folder(runs.root / "run", WorkerAccepted(pid=1))
    assert folder.path.stat().st_mode & 0o077 == 0
    assert runs.find("run") is not None
    assert runs.find("other") is None


def test_ids_are_derived_from_what_they_identify() -> None:
    assert score_id("e", "i", "o", "n") == score_id("e", "i", "o", "n")
    ids = {score_id("e", "i", "o", "n"), score_id("e", "i", "p", "n"), score_id("e", None, None, "n")}
    assert len(ids) == 3
    assert [repeat_name("run", repeat) for repeat in range(3)] == ["run", "run#2", "run#3"]


def test_the_same_score_by_another_judge_has_another_id() -> None:
    first, second = (JudgeMaker("judge-tone", version, "openai", "m", TEN, "default") for version in (1, 2))
    ids = {score_id("e", "i", "o", "tone", maker) for maker in (None, first, second, ScriptMaker("tone"))}
    assert len(ids) == 4
    assert score_id("e", "i", "o", "tone", first) == score_id("e", "i", "o", "tone", replace(first))


def test_a_run_that_has_ended_is_read_from_a_folder_that_nobody_can_lock(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1), ended("a"), RunEnded(status="completed"))
    (folder.path / "worker.lock").mkdir()
    assert not folder.is_running()
    assert read_record(folder).status == "completed"


def test_a_folder_that_cannot_be_locked_is_an_error_of_ours(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    (folder.path / "worker.lock").mkdir()
    with pytest.raises(StateError, match="folder"):
        folder.is_running()
    with pytest.raises(StateError, match="folder"), folder.worker.locked():
        pass


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    program = """
import os, sys, time
from pathlib import Path
from lfexp_mcp.runs.folder import RunFolder

with RunFolder(Path(sys.argv[1])).worker.locked():
    child = os.fork()
    if child == 0:
        # Else whoever reads this process's output would wait for the child, and look only after its end.
        os.close(1)
        os.close(2)
        time.sleep(600)
        os._exit(0)
    print(child, flush=True)
    os._exit(0)
"""
    ran = subprocess.run([sys.executable, "-c", program, folder.path], capture_output=True, check=True, text=True)
    try:
        assert not folder.worker.is_locked()
    finally:
        os.kill(int(ran.stdout), signal.SIGKILL)


def test_a_run_spec_of_a_newer_version_is_refused_with_both_versions_and_kept(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    content = '{"format": 7, "version": "9.1.0"}'
    folder.run_spec_path.write_text(content, encoding="utf-8")
    with pytest.raises(StateError, match=r"9\.1\.0 .*format 7") as refused:
        folder.run_spec()
    assert "delete" not in str(refused.value)
    assert folder.run_spec_path.read_text(encoding="utf-8") == content


def test_a_run_spec_and_items_of_version_0_1_are_read(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    run_spec = folder.run_spec()
    folder.run_spec_path.write_text(run_spec.model_dump_json(exclude={"version"}, indent=2), encoding="utf-8")
    folder.items_path.write_text('{"id":"a","input":1}\n{"id":"b","input":"x"}\n', encoding="utf-8")
    assert folder.run_spec() == run_spec.model_copy(update={"version": None})
    assert [item.input for item in folder.items(folder.run_spec())] == [1, "x"]


@pytest.mark.parametrize("position", range(0, 60, 7))
def test_a_flipped_bit_in_an_item_is_never_read_as_another_item(tmp_path: Path, position: int) -> None:
    folder = make_folder(tmp_path / "run", WorkerAccepted(pid=1))
    content = bytearray(folder.items_path.read_bytes())
    content[position % len(content)] ^= 1
    folder.items_path.write_bytes(content)
    with pytest.raises(StateError, match=r"item [12] is damaged"):
        list(folder.items(folder.run_spec()))


def test_a_run_whose_leftovers_are_being_sent_has_not_failed(tmp_path: Path) -> None:
    end = RunEnded(status="failed", cause="undelivered", reason="Langfuse was away.")
    folder = make_folder(tmp_path / "run", ended("a"), end)
    assert (folder.status(), read_record(folder).status) == ("failed", "failed")
    with folder.worker.locked(delivers=True):
        assert (folder.status(), read_record(folder).status) == ("running", "running")
        assert not folder.is_running(), "nothing of it is run"
    assert folder.status() == "failed"


def test_an_end_that_came_after_the_journal_was_read_counts(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", ended("a"))
    state = folder.read_state()
    journal = folder.open_journal()
    journal.append(RunEnded(status="completed"))
    journal.close()
    assert folder.status_of(state) == folder.status() == "completed"
