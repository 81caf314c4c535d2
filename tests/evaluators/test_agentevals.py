"""The package `agentevals` gives the grades that ours are held to."""

import subprocess
import sys

import pytest

from tests.evaluators import trajectories

pytestmark = pytest.mark.slow


def test_agentevals_grades_recorded_trajectories_as_is_recorded_of_it() -> None:
    graded = sum("agentevals" in case and case["mode"] in trajectories.MODES for case in trajectories.CASES)
    done = subprocess.run([sys.executable, trajectories.__file__], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (f"{graded} compared\n", 0), done.stderr
    assert graded > 100
