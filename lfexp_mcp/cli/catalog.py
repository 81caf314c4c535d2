"""Commands that show datasets and judges."""

from lfexp_mcp.cli.experiments import in_workspace
from lfexp_mcp.cli.flags import AsJson, command
from lfexp_mcp.cli.output import print_answer
from lfexp_mcp.services.requests import GetDatasetRequest, ListDatasetsRequest, ListJudgesRequest


@command
def list_datasets(request: ListDatasetsRequest, as_json: AsJson = False) -> None:
    """List the datasets, newest first, with their items counted and their last run."""
    from lfexp_mcp.services.catalog.datasets import list_datasets

    print_answer(in_workspace(lambda workspace: list_datasets(workspace, **dict(request))), as_json)


@command
def get_dataset(request: GetDatasetRequest, as_json: AsJson = False) -> None:
    """Show a dataset: its items, the keys and values of their metadata with counts, its runs."""
    from lfexp_mcp.services.catalog.datasets import get_dataset

    print_answer(in_workspace(lambda workspace: get_dataset(workspace, **dict(request))), as_json)


@command
def list_judges(request: ListJudgesRequest, as_json: AsJson = False) -> None:
    """List the judges with version, model and scale, or show one whole (`--judge judge-tone:3`)."""
    from lfexp_mcp.services.catalog.judges import list_judges

    print_answer(in_workspace(lambda workspace: list_judges(workspace, **dict(request))), as_json)
