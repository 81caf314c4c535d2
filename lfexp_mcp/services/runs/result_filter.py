"""Which results of a run a caller means, and in what order."""

import math
from collections.abc import Callable, Mapping, Sequence

import anyio.to_thread

from lfexp_mcp.errors import NotFoundError, UsageError, name_some
from lfexp_mcp.model import ItemResult
from lfexp_mcp.scores.limits import PASS_MARK, Limit, is_below, parse_limit
from lfexp_mcp.services.metadata_conditions import select
from lfexp_mcp.services.requests import ResultFilter, ResultKind, ResultOrder
from lfexp_mcp.services.runs.observations import RunTaskUsage, read_task_usage
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace

_SORTED_BY: Mapping[ResultOrder, str] = {"slowest": "time", "costliest": "cost", "lowest": "score"}


async def filter_results(ws: Workspace, run: ScoredRun, asked: ResultFilter) -> tuple[Sequence[ItemResult], list[str]]:
    """Choose and sort results of a run.

    Args:
        asked: Which results, in which order; by default all, in the order of the run.

    Returns:
        The results, and notes on what a reader may not expect. Where results are alike, they are in the order of their
        ids; those of which it is not known what they are sorted by are last.

    Raises:
        NotFoundError: There is no such score or metadata key.
        UsageError: The filter has two meanings, or nothing is known of what to sort by.
    """
    if not asked.digest:
        return run.record.items, []
    usage = await read_task_usage(ws, run.record) if asked.sort == "costliest" else RunTaskUsage({})
    # Of 100,000 results that takes a second or two.
    return await anyio.to_thread.run_sync(_filter, run, asked, usage)


def _filter(run: ScoredRun, asked: ResultFilter, usage: RunTaskUsage) -> tuple[list[ItemResult], list[str]]:
    results, notes = list(run.record.items), list[str]()
    if asked.where is not None:
        results, notes = select(results, asked.where)
    if asked.which is not None or asked.below is not None:
        chosen, more = choose_results(run, asked.which, asked.score_name, asked.below)
        # By identity: an item with repeats has several results.
        meant = {id(item) for item in chosen}
        results, notes = [item for item in results if id(item) in meant], [*notes, *more]
    if asked.sort is None or not results:
        return results, notes
    key, more = _order(run, asked, usage)
    known = {id(item): key(item) for item in results}
    unknown = sum(math.isinf(each) for each in known.values())
    if unknown:
        what = _SORTED_BY[asked.sort]
        if unknown == len(results):
            raise UsageError(" ".join([f"None of these results has a known {what} to sort by.", *more]))
        more = [f"{unknown} of {len(results)} results have no known {what}, and are last.", *more]
    return sorted(results, key=lambda item: (known[id(item)], item.item_id, item.repeat)), [*notes, *more]


def _order(run: ScoredRun, asked: ResultFilter, usage: RunTaskUsage) -> tuple[Callable[[ItemResult], float], list[str]]:
    """What to sort results by, infinite where it is not known, and notes."""
    if asked.sort == "slowest":
        return lambda item: math.inf if item.seconds is None else -item.seconds, []
    if asked.sort == "costliest":
        costs = {item_id: used.cost for item_id, used in usage.items.items()}
        return lambda item: math.inf if (cost := costs.get(item.item_id)) is None else -cost, [*usage.warnings]
    names, notes = _scores(run, asked.score_name, "Lowest", only_one=True)

    def value(item: ItemResult) -> float:
        score = run.bare_score_of(item, names[0])
        canonical = run.interpretations[names[0]].canonical(score) if score is not None else None
        return math.inf if canonical is None else canonical

    return value, notes


def choose_results(
    run: ScoredRun, which: ResultKind | None, score: str | None = None, below: float | str | None = None
) -> tuple[list[ItemResult], list[str]]:
    """Choose results by how they ended and what they scored.

    Args:
        which: See `ResultFilter`; `failed` takes the pass mark as limit.
        score: The only score that is meant; None for all with values on 0-1.
        below: Only results with a score below this limit.

    Returns:
        The results, and notes.

    Raises:
        NotFoundError: There is no such score.
        UsageError: Several scores could be meant, or the score cannot be compared with a limit.
    """
    items = run.record.items
    if which == "errored":
        return [item for item in items if item.status == "failed"], []
    if which == "pending":
        return [item for item in items if item.status == "pending"], []
    if which == "unscored":
        if score is not None:
            _check_known(run, score)
        return [item for item in items if any(score in (None, lost.name) for lost in item.unscored)], []
    names, notes = _scores(run, score, f"Below {below}", only_one=below is not None)
    if score is not None or below is not None:
        notes += _lacking(run, names)
    limits = _limits(run, names, below)
    chosen = [
        item
        for item in items
        if (which == "failed" and item.status == "failed")
        or any(_is_low(run, item, name, limit) for name, limit in limits.items())
    ]
    return chosen, notes


def _scores(run: ScoredRun, name: str | None, what: str, *, only_one: bool) -> tuple[list[str], list[str]]:
    """The scores that are meant, and notes."""
    usable = [each for each, how in run.interpretations.items() if how.is_canonical and not how.mixed]
    if name is None:
        if only_one and len(usable) != 1:
            raise UsageError(f"{what} on which score of run {run.name!r}? Name one: {name_some(usable)}.")
        mixed = [each for each, how in run.interpretations.items() if how.mixed]
        return usable, [f"{each!r} has several makers in {run.name!r}, and chooses no item." for each in mixed]
    if name not in run.interpretations:
        raise NotFoundError.of(f"score in run {run.name!r}", name, run.interpretations)
    how = run.interpretations[name]
    if how.mixed:
        makers = "; ".join(dict.fromkeys(maker.label for maker in how.makers))
        raise UsageError(f"{name!r} has several makers in {run.name!r}, whose values are not alike: {makers}.")
    if not how.is_canonical:
        raise UsageError(f"{name!r} in {run.name!r} has no values on 0-1: {how.problem or 'it has no scale'}.")
    return [name], []


def _check_known(run: ScoredRun, score: str) -> None:
    """Refuse a name that nothing scored by, and nothing failed to."""
    known = dict.fromkeys([*run.interpretations, *(lost.name for item in run.record.items for lost in item.unscored)])
    if score not in known:
        raise NotFoundError.of(f"score in run {run.name!r}", score, known)


def _limits(run: ScoredRun, names: Sequence[str], below: float | str | None) -> dict[str, float]:
    """The limit of each score on 0-1."""
    limit = Limit(PASS_MARK) if below is None else parse_limit(str(below))
    try:
        return {name: limit.canonical(scale) for name in names if (scale := run.interpretations[name].scale)}
    except ValueError as error:
        raise UsageError(f"below {below}: {error}.") from None


def _is_low(run: ScoredRun, item: ItemResult, name: str, limit: float) -> bool:
    score = run.bare_score_of(item, name)
    value = run.interpretations[name].canonical(score) if score is not None else None
    return value is not None and is_below(value, limit)


def _lacking(run: ScoredRun, scores: Sequence[str]) -> list[str]:
    counts = {name: sum(run.bare_score_of(item, name) is None for item in run.record.items) for name in scores}
    return [
        f"{count} results of {run.name!r} have no {name!r}: not chosen by it."
        for name, count in counts.items()
        if count
    ]
