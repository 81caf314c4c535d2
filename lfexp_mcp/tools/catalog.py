"""Tools that list datasets and judges."""

from lfexp_mcp.answers.catalog import DatasetDetail, DatasetList, JudgeList
from lfexp_mcp.services.requests import GetDatasetRequest, ListDatasetsRequest, ListJudgesRequest
from lfexp_mcp.tools.state import ToolContext, workspace_of


async def list_datasets(ctx: ToolContext, request: ListDatasetsRequest) -> DatasetList:
    """List the datasets, newest first: names, descriptions, how many items, and the last run."""
    from lfexp_mcp.services.catalog.datasets import list_datasets

    return await list_datasets(await workspace_of(ctx), **dict(request))


async def get_dataset(ctx: ToolContext, request: GetDatasetRequest) -> DatasetDetail:
    """Look at a dataset before you run over it: items, the keys and values of their metadata with counts, its runs."""
    from lfexp_mcp.services.catalog.datasets import get_dataset

    return await get_dataset(await workspace_of(ctx), **dict(request))


async def list_judges(ctx: ToolContext, request: ListJudgesRequest) -> JudgeList:
    """List the judges (prompts named `judge-*`) with version, model, scale and where it was found; or read one."""
    from lfexp_mcp.services.catalog.judges import list_judges

    return await list_judges(await workspace_of(ctx), **dict(request))
