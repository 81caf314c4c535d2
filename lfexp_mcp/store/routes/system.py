"""Health, readiness, the project, and resources that the embedded store never has."""

from pydantic import JsonValue
from starlette.responses import Response

from lfexp_mcp.store.call import Call
from lfexp_mcp.store.deployment import ORGANIZATION_ID, ORGANIZATION_NAME, PROJECT_ID, PROJECT_NAME, SERVER_VERSION
from lfexp_mcp.store.http_errors import ApiError
from lfexp_mcp.store.paging import PageQuery, page_meta


def health(call: Call) -> JsonValue:
    """Report that the store works, and its version."""
    with call.database.read() as connection:
        connection.execute("SELECT 1 FROM datasets").fetchone()
    return {"status": "OK", "version": SERVER_VERSION}


def projects(_call: Call) -> JsonValue:
    """Return the one project of the store."""
    organization: JsonValue = {"id": ORGANIZATION_ID, "name": ORGANIZATION_NAME}
    return {"data": [{"id": PROJECT_ID, "name": PROJECT_NAME, "organization": organization, "metadata": {}}]}


def empty_page(call: Call) -> JsonValue:
    """Return the empty list of a resource that the store never has: LLM connections, the server's own evaluators."""
    return {"data": [], "meta": page_meta(call.query(PageQuery), 0)}


def legacy(_call: Call) -> Response:
    """Refuse a route of older servers, as a server in events-only mode does."""
    raise ApiError(
        404,
        {
            "message": "This endpoint is not available on deployments running in Langfuse v4 events_only mode. "
            "Learn more about Langfuse v4 at: https://langfuse.com/docs/v4"
        },
    )
