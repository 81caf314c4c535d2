"""Workers of tests are forked where they can be, and spawned as in production where a test asks for something else."""

import pytest

from tests.prepared_workers import CAN_FORK
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not CAN_FORK, reason="workers are spawned here"), pytest.mark.slow]

TASK = """
    import os
    from pathlib import Path

    def task(*, item, **kwargs):
        return [Path("/proc/self/cmdline").read_text(), os.getpid() == os.getsid(0), os.environ.get("OF_THIS_TEST")]
"""


@pytest.mark.parametrize("variable", [None, "set"])
async def test_a_worker_is_forked_unless_its_environment_is_another(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable is not None:
        monkeypatch.setenv("OF_THIS_TEST", variable)
    await scene.fill(1)
    await scene.run(scene.script(TASK))
    output = (await scene.record()).items[0].output
    assert isinstance(output, list)
    command, leads_a_session, seen = output
    assert ("prepared_workers.py" in str(command)) is (variable is None)
    assert (leads_a_session, seen) == (True, variable)
