"""Pages of charts: their addresses as MCP resources, and the view of MCP Apps that shows them.

    langfuse://datasets/faq/comparison/v1,v2?min_delta=0.02
    langfuse://datasets/faq/runs/v2/analysis

Names are percent-encoded, a comma as `%2C`. The query holds the other arguments of `compare_runs` or `analyze_run`.
"""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from mcp.server.apps import APP_MIME_TYPE
from mcp.types import Resource, ResourceTemplate

from lfexp_mcp.answers.base import ChartedAnswer
from lfexp_mcp.services.answer_size import MAX_NAME_CHARS
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest, build

if TYPE_CHECKING:
    from lfexp_mcp.services.workspace import Workspace

HTML = "text/html"
VIEW = "ui://lfexp-mcp/page"
VIEW_META: dict[str, Any] = {"ui": {"resourceUri": VIEW}}
"""What a tool says whose results the view shows (SEP-1865)."""
PAGE_META = "lfexp/page"
"""Where a result has its page for the view: clients keep `_meta` from models."""
ROWS = 50
"""Entries that each list of a page has, unless its address says otherwise: a page is not read by a model."""

VIEW_RESOURCE = Resource(
    uri=VIEW,
    name="page",
    title="Charts",
    mime_type=APP_MIME_TYPE,
    description="Shows results of compare_runs and analyze_run as charts (MCP Apps).",
    _meta={"ui": {"prefersBorder": True}},
)
TEMPLATES = (
    ResourceTemplate(
        uri_template="langfuse://datasets/{name}/comparison/{runs}",
        name="comparison",
        title="Comparison as a page",
        description="compare_runs with charts, for people; the runs separated by commas, the baseline first.",
        mime_type=HTML,
    ),
    ResourceTemplate(
        uri_template="langfuse://datasets/{name}/runs/{run}/analysis",
        name="analysis",
        title="Analysis as a page",
        description="analyze_run with charts, for people.",
        mime_type=HTML,
    ),
)

_ADDRESS = re.compile(
    r"langfuse://datasets/(?P<dataset>[^/?#]+)/"
    r"(?:comparison/(?P<runs>[^/?#]+)|runs/(?P<run_name>[^/?#]+)/analysis)(?:\?(?P<query>[^#]*))?"
)
_NOT_IN_QUERY = {"dataset", "runs", "run_name", "cursor", "detail"}

PageRequest = CompareRequest | AnalyzeRequest


def page_address(request: PageRequest) -> str | None:
    """Write the address of an answer's page; None if names make it too long to be of use."""
    given = request.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude=_NOT_IN_QUERY)
    query = f"?{urlencode(given, doseq=True, quote_via=quote)}" if given else ""
    if isinstance(request, CompareRequest):
        place = f"comparison/{','.join(map(_encoded, request.runs))}"
    else:
        place = f"runs/{_encoded(request.run_name)}/analysis"
    address = f"langfuse://datasets/{_encoded(request.dataset)}/{place}{query}"
    return address if len(address) <= MAX_NAME_CHARS else None


def page_request(address: str) -> PageRequest | None:
    """Read the address of a page; None if it is not one.

    Raises:
        UsageError: Its query holds what the tool does not take.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    given = parse_qs(match["query"] or "", keep_blank_values=True)
    model: type[PageRequest] = CompareRequest if match["runs"] else AnalyzeRequest
    query = {name: values if name == "fail_if" else values[-1] for name, values in given.items()}
    arguments: dict[str, object] = {"limit": ROWS, "detail": "full", **query, "dataset": unquote(match["dataset"])}
    if match["runs"]:
        return build(model, **arguments, runs=[unquote(name) for name in match["runs"].split(",")])
    return build(model, **arguments, run_name=unquote(match["run_name"]))


async def read_charted(ws: "Workspace", request: PageRequest) -> ChartedAnswer:
    """Answer what a page is to show."""
    if isinstance(request, CompareRequest):
        from lfexp_mcp.services.comparison.compare import compare_runs

        return await compare_runs(ws, request)
    from lfexp_mcp.services.analysis.analyze import analyze_run

    return await analyze_run(ws, request)


def page_of(answer: ChartedAnswer) -> str:
    """Write an answer as a page, which does not name itself."""
    # Jinja takes a tenth of a second to import, and most clients ask for no page.
    from lfexp_mcp.reports.answers import report_of
    from lfexp_mcp.reports.page import page

    return page(report_of(answer.model_copy(update={"page": None})))


def _encoded(name: str) -> str:
    return quote(name, safe="")
