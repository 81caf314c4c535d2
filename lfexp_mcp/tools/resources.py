"""MCP resources: datasets, runs and judges by address, as the tools show them, and pages (`tools.pages`).

    langfuse://datasets/my%20questions/runs/v2

Names are percent-encoded, a slash as `%2F`. A resource is the JSON that the tool of the same purpose returns, or the
page that shows it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

import anyio
from mcp.server.apps import APP_MIME_TYPE
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import Resource, ResourceTemplate

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.catalog import JudgeList
from lfexp_mcp.errors import LfexpError, NotFoundError, UsageError
from lfexp_mcp.services.requests import (
    GetDatasetRequest,
    GetRunRequest,
    ListDatasetsRequest,
    ListJudgesRequest,
    Request,
    build,
)
from lfexp_mcp.tools import pages
from lfexp_mcp.tools.definitions import get_dataset, list_datasets, list_judges
from lfexp_mcp.tools.experiments import get_run
from lfexp_mcp.tools.results import answer_result, error_text
from lfexp_mcp.tools.state import ToolContext, workspace_of
from lfexp_mcp.tools.tool import limit_s, not_in_time

JSON = "application/json"
DATASETS, JUDGES = "langfuse://datasets", "langfuse://judges"

RESOURCES = (
    Resource(uri=DATASETS, name="datasets", title="Datasets", mime_type=JSON, description="The newest datasets."),
    Resource(uri=JUDGES, name="judges", title="Judges", mime_type=JSON, description="The judges."),
    pages.VIEW_RESOURCE,
)
"""What `resources/list` shows; it asks no server, since clients list when they connect."""

TEMPLATES = (
    ResourceTemplate(
        uri_template=f"{DATASETS}/{{name}}",
        name="dataset",
        title="Dataset",
        description="Its first items, metadata keys with counts, and runs.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        uri_template=f"{DATASETS}/{{name}}/runs/{{run}}",
        name="run",
        title="Run",
        description="Its status, scores and first items.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        uri_template=f"{JUDGES}/{{name}}",
        name="judge",
        title="Judge",
        description="Its text, config, scale and versions; a version as `judge-tone:3`.",
        mime_type=JSON,
    ),
    *pages.TEMPLATES,
)

_NAME = r"[^/?#]+"
_HOW = (
    f"Resources are {', '.join(resource.uri for resource in RESOURCES)} and "
    f"{', '.join(template.uri_template for template in TEMPLATES)}; in a name, encode `/` as `%2F`, `%` as `%25`, "
    "and a blank as `%20`."
)


async def read_resource(uri: str, ctx: ToolContext) -> ReadResourceContents:
    """Return a page, or JSON on one line, with characters escaped that would control a terminal or are invisible.

    Raises:
        ResourceNotFoundError: There is no such resource.
        ResourceError: It cannot be read.
    """
    from lfexp_mcp.reports.untrusted import json_text

    if uri == pages.VIEW:
        from lfexp_mcp.reports.page import view

        return ReadResourceContents(view(), APP_MIME_TYPE, pages.VIEW_RESOURCE.meta)
    try:
        with anyio.move_on_after(limit_s()):
            if (request := pages.page_request(uri)) is not None:
                return ReadResourceContents(
                    pages.page_of(await pages.read_charted(await workspace_of(ctx), request)), pages.HTML
                )
            answer = await _answer(uri, ctx)
            text = json_text(answer_result(answer, has_room=isinstance(answer, JudgeList)).structured_content)
            return ReadResourceContents(text, JSON)
        raise not_in_time(limit_s())
    except (NotFoundError, UsageError) as error:
        raise ResourceNotFoundError(error_text(error)) from error
    except LfexpError as error:
        raise ResourceError(error_text(error)) from error


async def _answer(uri: str, ctx: ToolContext) -> Answer:
    for pattern, (call, model) in _READERS.items():
        match = re.fullmatch(pattern, uri)
        if match is not None:
            names = {name: unquote(value) for name, value in match.groupdict().items()}
            return await call(ctx, build(model, **names))
    raise NotFoundError(f"There is no resource {uri[:200]!r}. {_HOW}")


_READERS: Mapping[str, tuple[Callable[..., Awaitable[Answer]], type[Request]]] = {
    f"{DATASETS}/?": (list_datasets, ListDatasetsRequest),
    f"{DATASETS}/(?P<dataset>{_NAME})": (get_dataset, GetDatasetRequest),
    f"{DATASETS}/(?P<dataset>{_NAME})/runs/(?P<run_name>{_NAME})": (get_run, GetRunRequest),
    f"{JUDGES}/?": (list_judges, ListJudgesRequest),
    f"{JUDGES}/(?P<judge>{_NAME})": (list_judges, ListJudgesRequest),
}
"""The tool that a resource is read by, and its request, whose fields the groups name."""
