"""An item of a real run as `get_run` shows it whole: its result, the reasons, and what its task did."""

import pytest

from lfexp_mcp.model import ItemResult
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.observations import read_traces
from lfexp_mcp.services.workspace import Workspace
from tests.services.runs.test_ceilings import CEILINGS, cost
from tests.waiting import PATIENCE_S
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AGENT = """
    import time

    from langfuse import get_client

    def task(*, item, **kwargs):
        client, number = get_client(), int(item.input.split()[1])
        with client.start_as_current_observation(name="agent", as_type="agent"):
            with client.start_as_current_observation(name="think", as_type="generation", model="gpt-4o") as call:
                call.update(input="what to pay", output="pay 5", usage_details={"input": 7, "output": 3})
                # Langfuse keeps milliseconds: observations of the same one have no order.
                time.sleep(0.005)
            for turn in range(150 * number + 1):
                with client.start_as_current_observation(name=f"pay {turn}", as_type="tool") as tool:
                    tool.update(input={"amount": 5}, output="no money " * 500 * number, level="WARNING",
                                status_message="short of cash")
        return "paid"
"""
CHECK = """
    from langfuse import Evaluation, get_client

    def polite(*, output, **kwargs):
        with get_client().start_as_current_observation(name="what the evaluator did"):
            return Evaluation(name="polite", value=0.3, comment="It does not say please, and that is the reason.")

    EVALUATORS = [polite]
"""


async def test_an_item_comes_with_its_reasons_and_the_steps_of_its_task(scene: Scene, elsewhere: Workspace) -> None:
    await scene.fill(2)
    await scene.run(scene.script(AGENT), evaluator_script=scene.script(CHECK, "checks.py"))
    for ws in (scene.ws, elsewhere):
        answer = await get_run(ws, scene.dataset, scene.run_name, item_id=scene.item_id(0))
        [item] = answer.items
        agent, think, pay = item.observations
        assert [(each.type, each.name) for each in item.observations] == [
            ("AGENT", "agent"),
            ("GENERATION", "think"),
            ("TOOL", "pay 0"),
        ]
        assert (agent.parent, think.parent, pay.parent) == (None, agent.id, agent.id)
        assert (think.input, think.output, think.model) == ("what to pay", "pay 5", "gpt-4o")
        assert {kind: think.usage[kind] for kind in ("input", "output")} == {"input": 7, "output": 3}
        assert (think.level, pay.level, pay.message, pay.input) == (None, "WARNING", "short of cash", {"amount": 5})
        text = report_text(answer)
        for part in ("that is the reason", "short of cash", "what to pay", "TOOL pay 0 (WARNING, "):
            assert part in text
        assert not answer.scores, "of the run as a whole, the first page tells"


async def test_a_long_trace_is_cut_to_the_ceiling_and_says_so(scene: Scene) -> None:
    await scene.fill(2)
    await scene.run(scene.script(AGENT))
    answer = await get_run(scene.ws, scene.dataset, scene.run_name, item_id=scene.item_id(1))
    [item] = answer.items
    assert 2 < len(item.observations) < 153
    assert any(f"{len(item.observations)} of 153 observations" in warning for warning in answer.warnings)
    assert cost(answer) <= CEILINGS["full"]


async def test_what_langfuse_does_not_show_of_a_trace_is_said(scene: Scene) -> None:
    traces, notes = await read_traces(scene.ws, [ItemResult("i", "pending", trace_id="0" * 32)], PATIENCE_S * 1e9)
    assert (list(traces.values()), len(notes)) == ([()], 1)
    assert "'i'" in notes[0]
    traces, notes = await read_traces(scene.ws, [ItemResult("i", "succeeded", trace_id="0" * 32)], 0)
    assert (traces, len(notes)) == ({}, 1)
