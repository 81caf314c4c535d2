"""Completion of names in the arguments of MCP prompts and resource templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from mcp import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS, CompleteRequestParams, CompleteResult, Completion, PromptReference

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.tools.resources import TEMPLATES
from lfexp_mcp.tools.state import RequestContext, workspace_for
from lfexp_mcp.tools.workflows import find_workflow

if TYPE_CHECKING:
    from lfexp_mcp.services.catalog.names import NamedKind

LIMIT_S = 5.0
"""A person is typing."""

_OF_PROMPTS: Mapping[str, NamedKind] = {"dataset": "dataset", "baseline": "run", "scored_by": "judge"}
_OF_TEMPLATES: Mapping[str, Mapping[str, NamedKind]] = {
    template.uri_template: {"name": "judge" if template.name == "judge" else "dataset", "run": "run"}
    for template in TEMPLATES
}
_DATASET_ARGUMENTS = ("dataset", "name")
"""Where the dataset of a run stands among the arguments that are filled in already."""


async def complete(ctx: RequestContext, params: CompleteRequestParams) -> CompleteResult:
    """Answer `completion/complete`: at most 100 names, none for an argument that is not a name.

    Raises:
        MCPError: There is no such prompt or template, or Langfuse does not answer.
    """
    kind = _kinds(params).get(params.argument.name)
    if kind is None:
        return CompleteResult(completion=Completion(values=[], total=0, has_more=False))
    from lfexp_mcp.reports.untrusted import one_line
    from lfexp_mcp.services.catalog.names import complete_name

    filled_in = (params.context.arguments if params.context else None) or {}
    dataset = next((filled_in[name] for name in _DATASET_ARGUMENTS if name in filled_in), None)
    try:
        with anyio.move_on_after(LIMIT_S):
            names = await complete_name(await workspace_for(ctx), kind, params.argument.value, dataset)
            has_more = names.total is None or names.total > len(names.values)
            return CompleteResult(completion=Completion(values=names.values, total=names.total, has_more=has_more))
    except LfexpError as error:
        raise MCPError(INTERNAL_ERROR, one_line(str(error))) from error
    raise MCPError(INTERNAL_ERROR, f"Langfuse did not answer within {LIMIT_S:.0f} s.")


def _kinds(params: CompleteRequestParams) -> Mapping[str, NamedKind]:
    """Return what each argument of a prompt or template names."""
    if isinstance(params.ref, PromptReference):
        find_workflow(params.ref.name)
        return _OF_PROMPTS
    if params.ref.uri not in _OF_TEMPLATES:
        raise MCPError(INVALID_PARAMS, f"There is no resource template {params.ref.uri[:200]!r}.")
    return _OF_TEMPLATES[params.ref.uri]
