"""What of a run Langfuse has to show, and what was shown is not looked for again."""

import pytest

from lfexp_mcp.model import Score
from lfexp_mcp.runs.events import Event, ItemScored, WriteRefused
from lfexp_mcp.worker.confirmation import ExpectedRecords, MissingRecords
from tests.runs.test_folder import ended
from tests.worker.scene import Scene

pytestmark = pytest.mark.anyio

COUNT = 3
ECHO = "def task(*, item, **kwargs):\n    return item.input\n"
SIZE = "def size(*, output, **kwargs):\n    return float(len(output))\n"


async def missing_after(scene: Scene, expected: ExpectedRecords, *events: Event) -> MissingRecords:
    """Journal events of a run that has ended, and ask again what Langfuse does not show."""
    journal = (await scene.run_folder()).open_journal()
    journal.append(*events)
    journal.close()
    expected.update()
    return await expected.find_missing(scene.ws.gateway)


@pytest.fixture
async def expected(scene: Scene) -> ExpectedRecords:
    """What is expected of a run with scores, all of which has been shown."""
    await scene.fill(COUNT)
    answer = await scene.run(scene.script(ECHO), evaluator_script=scene.script(SIZE, "evaluators.py"))
    assert (answer.status, answer.succeeded) == ("completed", COUNT)
    folder = await scene.run_folder()
    records = ExpectedRecords(folder.run_spec(), folder.read_state())
    assert not await records.find_missing(scene.ws.gateway)
    return records


async def test_scores_that_a_result_gets_after_it_was_shown_are_looked_for(
    scene: Scene, expected: ExpectedRecords
) -> None:
    item_id = scene.item_id(1)
    late = Score("late", "judged", 1.0, "NUMERIC")
    scored = ItemScored(item_id=item_id, scores=(*expected.state.scored[0, item_id].scores, late))
    assert await missing_after(scene, expected, scored) == MissingRecords(scores=frozenset({"late"}))


async def test_a_newer_result_of_an_item_whose_older_one_was_shown_is_looked_for(
    scene: Scene, expected: ExpectedRecords
) -> None:
    newer = ended(scene.item_id(1))
    assert await missing_after(scene, expected, newer) == MissingRecords(results=frozenset({(0, newer.item_id)}))


async def test_what_langfuse_refused_is_not_missing(scene: Scene, expected: ExpectedRecords) -> None:
    newer, late = ended(scene.item_id(1)), Score("late", "judged", 1.0, "NUMERIC")
    item_id = scene.item_id(2)
    scored = ItemScored(item_id=item_id, scores=(*expected.state.scored[0, item_id].scores, late))
    refused = (
        WriteRefused(kind="span", id=newer.observation_id, name="task", message="too large"),
        WriteRefused(kind="score", id=late.id, name=late.name, message="not of its config"),
    )
    assert not await missing_after(scene, expected, newer, scored, *refused)


async def test_results_that_are_recorded_after_the_first_look_are_looked_for(
    scene: Scene, expected: ExpectedRecords
) -> None:
    further = ended("further")
    assert await missing_after(scene, expected, further) == MissingRecords(results=frozenset({(0, "further")}))
