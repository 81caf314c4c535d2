"""All tools of the server, with their titles and hints."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.tools.arguments import GivenArguments
from lfexp_mcp.tools.preparing import create_dataset, create_judge
from lfexp_mcp.tools.reading import analyze_run, compare_runs, fetch_annotation_comments
from lfexp_mcp.tools.running import cancel_run, get_run, list_runs, run_experiment
from lfexp_mcp.tools.schemas import compact, output_schema
from lfexp_mcp.tools.tool import ExperimentTool


@dataclass(frozen=True, slots=True)
class Offer:
    """A function offered as a tool."""

    call: Callable[..., Awaitable[Answer]]
    title: str
    reads: bool = False
    """Whether it changes nothing."""
    destroys: bool = False
    """Whether it may overwrite or end something, itself or by the code that it runs."""
    bounded: bool = True
    """Whether a call ends soon after its wait; storing the items of a large dataset takes as long as it takes."""
    repeatable: bool = False
    """Whether calling it twice is the same as calling it once."""

    @property
    def answer(self) -> type[Answer]:
        """The model of what it answers."""
        model: type[Answer] = inspect.signature(self.call).return_annotation
        return model

    def tool(self) -> Tool:
        """Make the tool: one that refuses arguments it does not know, since a misspelt one would else be dropped."""
        hints = ToolAnnotations(
            read_only_hint=self.reads,
            destructive_hint=self.destroys,
            idempotent_hint=self.reads or self.repeatable,
            open_world_hint=True,
        )
        description = inspect.cleandoc(self.call.__doc__ or "")
        tool = ExperimentTool.from_function(
            self.call,
            title=self.title,
            description=description,
            annotations=hints,
            structured_output=False,
        )
        arguments = tool.fn_metadata.arg_model
        arguments.model_config["extra"] = "forbid"
        arguments.model_rebuild(force=True)
        metadata = GivenArguments(arg_model=arguments, output_model=self.answer, output_schema=output_schema(tool.name))
        parameters = {**compact(tool.parameters), "additionalProperties": False}
        return tool.model_copy(update={"bounded": self.bounded, "parameters": parameters, "fn_metadata": metadata})


OFFERS = (
    Offer(run_experiment, "Run an experiment", destroys=True),
    Offer(get_run, "Read a run", reads=True),
    Offer(list_runs, "List runs", reads=True),
    Offer(compare_runs, "Compare runs", reads=True),
    Offer(analyze_run, "Analyze a run", reads=True),
    Offer(fetch_annotation_comments, "Read human comments", reads=True),
    Offer(cancel_run, "Cancel a run", destroys=True, repeatable=True),
    Offer(create_dataset, "Create or extend a dataset", destroys=True, repeatable=True, bounded=False),
    Offer(create_judge, "Create a judge", destroys=True),
)
"""In the order in which an agent needs them, the loop first."""
