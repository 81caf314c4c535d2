"""Which engines a call may ask for."""

import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import JsonValue, ValidationError

from lfexp_mcp.errors import LfexpError, UsageError
from lfexp_mcp.model import RunSpec
from lfexp_mcp.services.doctor import diagnose
from lfexp_mcp.services.requests import RunRequest
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.worker.scene import Scene

TASK = "def task(*, item, **kwargs):\n    return item.input\n"


def _request(**arguments: JsonValue) -> RunRequest:
    return RunRequest.model_validate({"dataset": "d", "run_name": "r", "task_script": "task.py"} | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"engine": "ray", "engine_options": {"num_cpu": 2}},
        {"engine": "ray", "engine_options": {"num_cpus": -1}},
        {"engine": "ray", "engine_options": {"num_cpus": True}},
        {"engine": "ray", "engine_options": {"num_cpus": "2"}},
        {"engine": "ray", "engine_options": {"num_gpus": 1.5}},
        {"engine": "ray", "engine_options": {"num_cpus": 0.00001}},
        {"engine": "ray", "engine_options": {"resources": {"tpu": 1e-9}}},
        {"engine": "ray", "engine_options": '{"num_gpus": NaN}'},
        {"engine": "ray", "engine_options": '{"num_gpus": 1e999}'},
        {"engine": "ray", "engine_options": {"resources": {"tpu": -1}}},
        {"engine": "ray", "engine_options": {"resources": {"GPU": 1}}},
        {"engine": "ray", "engine_options": {"resources": {"object_store_memory": 1}}},
        {"engine": "ray", "engine_options": {"address": ""}},
        {"engine": "ray", "engine_options": {"address": "ray://10.0.0.1:10001"}},
        {"engine": "ray", "engine_options": {"address": "http://10.0.0.1:80"}},
        {"engine": "ray", "engine_options": {"address": "10.0.0.1:65536"}},
        {"engine": "ray", "engine_options": {"address": "10.0.0.1"}},
        {"engine": "ray", "engine_options": {"address": "user:secret@10.0.0.1:6379"}},
        {"engine": "ray", "engine_options": {"runtime_env": {"env_vars": {"OPENAI_API_KEY": "sk-secret"}}}},
        {"engine": "ray", "engine_options": {"runtime_env": {"working_dir": "/etc"}}},
        {"engine": "ray", "engine_options": {"runtime_env": {"pip": ["git+https://user:token@example.com/a.git"]}}},
        {"engine": "ray", "engine_options": "num_cpus=2"},
        {"engine": "ray", "task_script": None, "task_prompt": "p"},
        {"engine": "local", "engine_options": {"num_cpus": 2}},
        {"engine_options": {"num_cpus": 2}},
        {"engine": "spark"},
    ],
    ids=str,
)
def test_options_that_no_run_can_have_are_refused(arguments: dict[str, JsonValue]) -> None:
    with pytest.raises(ValidationError):
        _request(**arguments)


def test_options_may_be_given_as_json_text_and_say_what_an_item_takes() -> None:
    request = _request(engine="ray", engine_options='{"num_cpus": 2, "num_gpus": 0.5, "resources": {"tpu": 1}}')
    assert request.engine_options is not None
    assert request.engine_options.asked_resources == {"CPU": 2, "GPU": 0.5, "tpu": 1}


def test_a_run_spec_of_an_earlier_version_is_of_a_local_run() -> None:
    assert RunSpec.model_fields["engine"].default == "local"


@pytest.fixture
async def over_http(settings: Settings, tmp_path: Path) -> AsyncIterator[Workspace]:
    """The workspace of a server over HTTP, with a cluster of its own."""
    (tmp_path / "scripts").mkdir()
    changed = settings.model_copy(update={"ray_address": "10.1.2.3:6379", "home": tmp_path / "home"})
    async with open_workspace(changed, allowed_folders=(tmp_path / "scripts",)) as workspace:
        yield workspace


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize(
    "options",
    [
        {"address": "169.254.169.254:80"},
        {"address": "auto"},
        {"runtime_env": {"pip": ["evil"]}},
        {"runtime_env": {"py_executable": "sh"}},
        {"env_vars": ["LFEXP_HTTP_TOKEN"]},
        {"working_dir": "/etc"},
    ],
    ids=str,
)
async def test_over_http_options_reach_no_address_and_execute_nothing(
    over_http: Workspace, tmp_path: Path, options: dict[str, JsonValue]
) -> None:
    scene = Scene(over_http, tmp_path / "scripts")
    await scene.fill(1)
    with pytest.raises(UsageError, match="HTTP"):
        await scene.run(scene.script(TASK), engine="ray", engine_options=options)


@pytest.mark.anyio
@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", "10.0.0.1", "10.0.0.1:99999", "user:secret@10.0.0.1:6379"])
async def test_an_address_in_the_environment_that_no_cluster_has_is_refused_by_the_name_of_its_variable(
    settings: Settings, tmp_path: Path, address: str
) -> None:
    wrong = settings.model_copy(update={"ray_address": address, "home": tmp_path / "home"})
    async with open_workspace(wrong) as workspace:
        scene = Scene(workspace, tmp_path / "scripts")
        await scene.fill(1)
        with pytest.raises(UsageError, match="LFEXP_RAY_ADDRESS") as refused:
            await scene.run(scene.script(TASK), engine="ray")
    [check] = [each for each in (await diagnose(wrong)).checks if each.name == "Ray cluster"]
    assert (check.status, "LFEXP_RAY_ADDRESS" in check.found) == ("broken", True)
    assert "secret" not in f"{refused.value} {check}"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.skipif(sys.platform == "win32", reason="the interpreter is a shell script")
async def test_without_ray_a_run_says_what_to_install(workspace: Workspace, tmp_path: Path) -> None:
    python = tmp_path / "python"
    code = "import sys, runpy; sys.modules['ray'] = None; runpy.run_module('lfexp_mcp.worker', run_name='__main__')"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{code}"\n', encoding="utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    scene = Scene(workspace, tmp_path / "scripts")
    await scene.fill(1)
    with pytest.raises(LfexpError, match=r"lfexp-mcp\[ray\]"):
        await scene.run(scene.script(TASK), python=python, engine="ray")
