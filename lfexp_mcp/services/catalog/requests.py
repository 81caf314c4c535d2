"""What the catalog is asked for."""

from pydantic import Field

from lfexp_mcp.services.requests import Cursor, DatasetName, PageSize, Request, ShownDetail


class ListDatasetsRequest(Request):
    """A page of the project's datasets."""

    limit: PageSize = 20
    cursor: Cursor = None


class GetDatasetRequest(Request):
    """A dataset with a page of its items."""

    dataset: DatasetName
    limit: PageSize = 10
    cursor: Cursor = None
    detail: ShownDetail = "summary"


class ListJudgesRequest(Request):
    """A page of the project's judges, or one of them."""

    judge: str | None = Field(
        default=None, min_length=1, description="Only this one, whole: named as in `judges` of run_experiment."
    )
    limit: PageSize = 20
    cursor: Cursor = None
