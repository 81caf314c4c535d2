"""Simulations through the store say what those without a server do; `python -m tests.benchmarks` has many more."""

import pytest

from lfexp_mcp.services.workspace import Workspace
from tests.benchmarks.selection import Sampler, judged, pass_fail, stored_loops
from tests.benchmarks.stopping import stored_runs

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.mark.parametrize("sampler", [pass_fail, judged])
async def test_a_stored_loop_is_told_what_compare_scores_says(workspace: Workspace, sampler: Sampler) -> None:
    found = [
        lines
        async for lines in stored_loops(workspace, f"simulated-{sampler.__name__}", sampler, 30, 4, loops=3, seed=5)
    ]
    assert [line.candidate for line in found[0]] == [1, 2, 3, 4]
    assert any(found[1:]), "some variant looks better, and is asked about"


async def test_a_stored_run_stops_as_decide_says_and_another_machine_compares_it_so(workspace: Workspace) -> None:
    clear = [end async for end in stored_runs(workspace, -0.9, 0.9, 50, 1)]
    assert [(end.shown, end.items) for end in clear] == [(True, 0.4)]
    open_ended = [end async for end in stored_runs(workspace, -0.2, 0.3, 50, 3)]
    assert all(end.items >= 0.4 for end in open_ended)
