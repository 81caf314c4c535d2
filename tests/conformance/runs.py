"""What the suite's scenarios of tasks call: runs by the server's own tool, under the names that they give it."""

import uuid
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool

from lfexp_mcp.services.definitions.datasets import create_dataset
from lfexp_mcp.services.definitions.new_items import NewItem
from lfexp_mcp.tools.registry import TOOLS
from lfexp_mcp.tools.state import workspace_of

SCRIPTS = Path(__file__).parent / "scripts"
DATASET = "conformance"


async def _signature(seconds: float = 0, label: str = "") -> str:
    raise AssertionError


class SlowCompute(Tool):
    """Runs a task that takes so many seconds over one item."""

    @classmethod
    def build(cls) -> "SlowCompute":
        """Build the tool."""
        return cls(**dict(Tool.from_function(_signature, name="slow_compute", description="A fixture.")))

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> object:
        """See `ExperimentTool.run`."""
        await create_dataset(await workspace_of(context), DATASET, items=[NewItem(id=DATASET, input="to compute")])
        asked = {
            "dataset": DATASET,
            "run_name": f"{arguments['label']}-{uuid.uuid4().hex}",
            "task_script": str(SCRIPTS / "sleeping_task.py"),
            "params": {"seconds": arguments["seconds"]},
        }
        run_experiment = next(tool for tool in TOOLS if tool.name == "run_experiment").build()
        return await run_experiment.run(asked, context, convert_result)
