"""Going on with a run that another machine began: its results, read from Langfuse, as this machine's journal."""

from collections.abc import Iterator, Sequence

from lfexp_mcp.gateway.records import ExperimentItem
from lfexp_mcp.model import ExperimentHead
from lfexp_mcp.runs.journal import Event, ItemEnded, ItemScored, ScoresStored
from lfexp_mcp.services.runs.completeness import Completeness
from lfexp_mcp.services.runs.read_run import item_result, newest_good
from lfexp_mcp.services.runs.score_attribution import attribute_scores
from lfexp_mcp.services.workspace import Workspace


async def read_results(ws: Workspace, whole: Completeness, experiments: Sequence[ExperimentHead]) -> list[Event]:
    """Read what Langfuse has of a run as events of a journal.

    Good results without any score of an evaluator or judge of the run are left to be scored; of the others the run's
    mark tells what failed, and they count as scored where it does not. What others wrote is none of the run's.
    """
    events: list[Event] = []
    for repeat, experiment in enumerate(experiments):
        results = newest_good(await ws.gateway.experiment_items(experiment.id))
        results = await attribute_scores(ws, results, whole.run_makers())
        events += (event for result in results for event in _events(result, repeat, whole))
    return events


def _events(result: ExperimentItem, repeat: int, whole: Completeness) -> Iterator[Event]:
    item = item_result(result, repeat)
    yield ItemEnded(
        item_id=result.item_id,
        repeat=repeat,
        status="failed" if result.failed else "succeeded",
        output=item.output,
        error=item.error,
        trace_id=result.trace_id,
        # Langfuse does not give the root with the result; the evaluation goes below the task instead.
        root_id=result.observation_id,
        observation_id=result.observation_id,
        started=result.started,
        seconds=(result.ended - result.started).total_seconds() if result.ended else 0.0,
    )
    own = tuple(score for score in item.scores if score.maker.origin == "run")
    if not result.failed and own:
        unscored = whole.unscored_of(item)
        yield ItemScored(item_id=result.item_id, repeat=repeat, scores=own, unscored=unscored)
        yield ScoresStored(ids=tuple(score.id for score in own))
