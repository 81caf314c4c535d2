"""compare_runs on the real store."""

import pytest

from lfexp_mcp.services.comparison import CompareRequest, compare_runs
from lfexp_mcp.services.workspace import Workspace
from tests.reading.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.anyio


def _results(values: list[float], output: str = "out") -> list[Recorded]:
    return [
        Recorded(
            f"item-{index:03}",
            output=f"{output} {index}",
            input={"question": index},
            scores={"accuracy": value},
            comments={"accuracy": f"because {output} {index}"},
        )
        for index, value in enumerate(values)
    ]


async def test_a_run_that_passes_more_items_is_better(workspace: Workspace) -> None:
    dataset = await make_dataset(workspace, "compare-better")
    await record_run(workspace, dataset, "old", _results([0.0] * 20 + [1.0] * 20, "old"))
    await record_run(workspace, dataset, "new", _results([0.0] * 4 + [1.0] * 35 + [0.0], "new"))

    answer = await compare_runs(workspace, CompareRequest(dataset="compare-better", runs=["old", "new"]))

    (line,) = answer.scores
    assert (line.verdict, line.pairs, line.wins, line.losses) == ("better", 40, 16, 1)
    assert line.delta == pytest.approx(15 / 40)
    worse = next(listed for listed in answer.changes if listed.kind == "worse")
    assert [(item.item_id, item.crossed) for item in worse.items] == [("item-039", "newly failing")]
    assert worse.items[0].reason == "because new 39"
    assert worse.items[0].baseline_reason == "because old 39"
    assert worse.items[0].input == {"question": 39}
