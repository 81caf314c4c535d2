"""Which files calls over HTTP may name: those of the allowed folders, and no others."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from pydantic import JsonValue

from lfexp_mcp.cli.app import run_command
from lfexp_mcp.settings import Settings, load_settings
from lfexp_mcp.tools.registry import TOOLS
from lfexp_mcp.tools.server import build_server
from tests.tools.conftest import Caller
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.slow

TASK = "def task(*, item, **kwargs):\n    return item['input']\n"
EVALUATOR = "def same(*, input, output, **kwargs):\n    return 1.0\n\nEVALUATORS = [same]\n"


@asynccontextmanager
async def over_http(settings: Settings, *folders: Path) -> AsyncIterator[Caller]:
    """A client whose calls count as coming over HTTP."""
    allowed = settings.model_copy(update={"script_folders": tuple(folders) or None})
    async with Client(build_server(allowed, remote=True)) as client:
        yield Caller(client)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowed folder beside others, with links into and out of it."""
    outside, evil, allowed = (tmp_path / name for name in ("outside", "scripts-evil", "scripts"))
    for place in (outside, evil, allowed, allowed / "sub"):
        place.mkdir()
        (place / "task.py").write_text(TASK)
        (place / "evaluator.py").write_text(EVALUATOR)
    (allowed / "out.py").symlink_to(outside / "task.py")
    (allowed / "out").symlink_to(outside)
    (tmp_path / "way-in").symlink_to(allowed)
    os.mkfifo(allowed / "pipe.py")
    return allowed


REFUSED = (
    "{root}/outside/task.py",
    "{root}/outside/missing.py",
    "{root}/scripts-evil/task.py",
    "{root}/scripts/../outside/task.py",
    "{root}/scripts/sub/../../outside/task.py",
    "{root}/scripts/out.py",
    "{root}/scripts/out/task.py",
    "{root}/scripts/%2e%2e/%2e%2e/outside/task.py",
    "{root}/scripts/task.py\0",
    "{root}/scripts/pipe.py",
    "{root}/scripts/sub",
    "file://{root}/scripts/task.py",
    "/etc/passwd",
    "/proc/self/environ",
    "task.py",
    "./scripts/task.py",
    "~/task.py",
    "os:system",
    "lfexp_mcp.cli.app",
)
ACCEPTED = ("{root}/scripts/task.py", "{root}/scripts/sub/../task.py", "{root}/way-in/task.py")


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform == "win32", reason="pipes and links")
async def test_only_files_within_an_allowed_folder_may_be_named(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    async with over_http(settings, folder) as caller:
        await caller.answer("create_dataset", name="allowed-files", items=[{"input": "a"}])
        run: dict[str, JsonValue] = {"dataset": "allowed-files", "run_name": "dry", "dry_run": True}
        for form in ACCEPTED:
            path = form.format(root=folder.parent)
            await caller.answer("run_experiment", **run, task_script=path, wait_seconds=PATIENCE_S)
        good = str(folder / "task.py")
        for form in REFUSED:
            path = form.format(root=folder.parent)
            calls: list[dict[str, JsonValue]] = [
                {"task_script": path},
                {"task_script": good, "evaluator_script": path},
                {"task_script": good, "dry_run": False, "variants": [{"name": "v", "task_script": path}]},
            ]
            for call in calls:
                assert (await caller.refusal("run_experiment", **run | call)).error.code in ("script", "usage"), path
            scored: dict[str, JsonValue] = {"dataset": "allowed-files", "run_name": "dry", "evaluator_script": path}
            assert (await caller.refusal("score_run", **scored)).error.code == "script", path
            refused = await caller.refusal("create_dataset", name="allowed-files", items_file=path)
            assert refused.error.code == "data_file", path
        messages = [
            (await caller.refusal("run_experiment", **run, task_script=f"{folder.parent}/outside/{name}")).error.message
            for name in ("task.py", "absent.py")
        ]
        assert messages[0].replace("task.py", "absent.py") == messages[1]


@pytest.mark.anyio
async def test_without_allowed_folders_no_file_may_be_named(settings: Settings, folder: Path) -> None:
    async with over_http(settings) as caller:
        call = {"dataset": "d", "run_name": "r", "task_script": str(folder / "task.py")}
        refused = await caller.refusal("run_experiment", **call)
        assert refused.error.code == "script"
        assert "LFEXP_SCRIPT_FOLDERS" in refused.error.message


@pytest.mark.anyio
async def test_the_interpreter_is_the_servers(settings: Settings, folder: Path, tmp_path: Path) -> None:
    program, trace = folder / "python", tmp_path / "executed"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    async with over_http(settings, folder) as caller:
        for python in (str(program), "sh", sys.executable):
            call: dict[str, JsonValue] = {"dataset": "d", "run_name": "r", "task_script": str(folder / "task.py")}
            assert (await caller.refusal("run_experiment", **call, python=python)).error.code == "usage"
            call = {"dataset": "d", "run_name": "r", "evaluators": ["exact_match"]}
            assert (await caller.refusal("score_run", **call, python=python)).error.code == "not_found"
    assert not trace.exists()


@pytest.mark.anyio
async def test_a_run_of_another_way_in_is_not_gone_on_with_its_files(settings: Settings, folder: Path) -> None:
    outside = folder.parent / "outside"
    run: dict[str, JsonValue] = {"dataset": "allowed-recorded", "run_name": "local"}
    async with Client(build_server(settings)) as client:
        local = Caller(client)
        await local.answer("create_dataset", name="allowed-recorded", items=[{"input": "a"}])
        ended = await local.answer(
            "run_experiment",
            **run,
            task_script=str(outside / "task.py"),
            evaluator_script=str(outside / "evaluator.py"),
            wait_seconds=PATIENCE_S,
        )
        assert ended["status"] == "completed"
        await local.answer("create_dataset", name="allowed-recorded", items=[{"input": "b"}])
    async with over_http(settings, folder) as caller:
        for call in ({"resume": True}, {"resume": True, "task_script": str(folder / "task.py")}):
            assert (await caller.refusal("run_experiment", **run | call)).error.code == "usage"
        own: dict[str, JsonValue] = {"task_script": str(folder / "task.py")}
        own["evaluator_script"] = str(folder / "evaluator.py")
        gone_on = await caller.answer("run_experiment", **run | own, resume=True, wait_seconds=PATIENCE_S)
        assert gone_on["status"] == "completed"


EXCHANGES = {
    "file": "evaluator.unlink(); evaluator.symlink_to(outside / 'evaluator.py')",
    "folder": "evaluator.parent.rename(evaluator.parent.with_name('old')); evaluator.parent.symlink_to(outside)",
}


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform == "win32", reason="links")
@pytest.mark.parametrize("exchanged", EXCHANGES)
async def test_a_script_that_became_a_link_since_it_was_checked_is_not_run(
    settings: Settings, folder: Path, exchanged: str
) -> None:
    outside, evaluator = folder.parent / "outside", folder / "sub" / "evaluator.py"
    trace = folder.parent / "was-run"
    (outside / "evaluator.py").write_text(f"open({str(trace)!r}, 'w').close()\n{EVALUATOR}")
    # The worker imports the task before the evaluators.
    names = f"import pathlib\nevaluator, outside = pathlib.Path({str(evaluator)!r}), pathlib.Path({str(outside)!r})\n"
    (folder / "task.py").write_text(f"{names}{EXCHANGES[exchanged]}\n{TASK}")
    dataset = f"allowed-exchanged-{exchanged}"
    async with over_http(settings, folder) as caller:
        await caller.answer("create_dataset", name=dataset, items=[{"input": "a"}])
        call: dict[str, JsonValue] = {"dataset": dataset, "run_name": "r", "task_script": str(folder / "task.py")}
        refused = await caller.refusal("run_experiment", **call, evaluator_script=str(evaluator))
    assert refused.error.code == "script"
    assert not trace.exists()


PATHS = {"task_script", "evaluator_script", "items_file", "python"}
"""Arguments that name a file, each of which the tests above refuse outside of the folders."""
FILE_WORDS = {"dir", "file", "folder", "module", "path", "python", "record", "replay", "script", "template", "url"}


def test_no_tool_takes_the_path_of_another_file() -> None:
    def names(schema: object) -> set[str]:
        if not isinstance(schema, dict):
            return set().union(*map(names, schema)) if isinstance(schema, list) else set()
        properties = schema.get("properties")
        own = set(properties) if isinstance(properties, dict) else set()
        return own.union(*map(names, schema.values()))

    found = names([definition.build().parameters for definition in TOOLS])
    assert "max_cost" in found
    assert {name for name in found if FILE_WORDS.intersection(name.split("_"))} == PATHS


@pytest.mark.parametrize("given", ["", " ", os.pathsep, f" {os.pathsep} "])
def test_blanks_are_no_folder(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("LFEXP_SCRIPT_FOLDERS", given)
    assert not load_settings().script_folders


@pytest.mark.parametrize("given", ["/", "missing-folder", __file__])
def test_what_is_no_folder_of_scripts_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setenv("LFEXP_SCRIPT_FOLDERS", given)
    assert run_command(["serve", "--http", "--port", "1"]) == 2
    assert "LFEXP_SCRIPT_FOLDERS" in capsys.readouterr().err
