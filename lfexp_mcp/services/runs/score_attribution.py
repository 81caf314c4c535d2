"""Who made the scores that Langfuse lists with a run's results, which lack their metadata.

A score's id is derived from its maker, so scores by the known makers of a run are recognised by their ids. For the
others the metadata is read, unless the makers are known to be complete.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio.to_thread

from lfexp_mcp.model import BuiltInMaker, ItemResult, JudgeMaker, Provenance, RunMaker, Score, ScriptMaker
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunMakers:
    """What is known of the makers of a run's scores."""

    makers: Sequence[RunMaker] = ()
    ids: Mapping[str, RunMaker] = field(default_factory=dict)
    """The makers of single scores, by the score's id, from a journal."""
    complete: bool = False
    """Whether all makers are known: other scores were written by others."""
    legacy: Provenance | None = None
    """Of a run that version 0.1 made, whose score ids are not derived from the maker."""

    @property
    def legacy_judges(self) -> dict[str, JudgeMaker]:
        """The judges of a run of version 0.1, by score name, as the newest worker knew them."""
        if self.legacy is None:
            return {}
        described = {info.name: info for info in self.legacy.evaluators}
        judges = {}
        for score, scale in (self.legacy.scales or {}).items():
            info = described.get(scale.prompt or "")
            judges[score] = JudgeMaker(
                prompt=scale.prompt or score,
                version=info.version if info else None,
                model=info.model if info else None,
            )
        return judges


async def attribute_scores(
    ws: Workspace, experiment_id: str, results: Sequence[ItemResult], known: RunMakers
) -> list[ItemResult]:
    """Give the scores of a run's results their makers, and keep the newest score of each maker.

    Args:
        ws: The workspace; asked only for what the ids do not tell.
        experiment_id: The run's.
        results: Of the run.
        known: The makers to look for. For a run of others there are none, and nothing is asked.
    """
    legacy_judges = known.legacy_judges

    def id_of(score: Score, result: ItemResult, maker: RunMaker | None = None) -> str:
        return score_id(experiment_id, result.item_id, result.observation_id or "", score.name, maker)

    def by_id(score: Score, result: ItemResult) -> Score:
        maker = known.ids.get(score.id) or next(
            (maker for maker in known.makers if id_of(score, result, maker) == score.id), None
        )
        if maker is None and known.legacy is not None and score.name not in legacy_judges:
            maker = known.legacy.script_maker if id_of(score, result) == score.id else None
        return replace(score, maker=maker) if maker is not None else score

    def by_metadata(score: Score, _: ItemResult) -> Score:
        full = read.get(score.id)
        return replace(score, maker=full.maker, raw=full.raw, metadata=full.metadata) if full is not None else score

    def by_name(score: Score, result: ItemResult) -> Score:
        judge = legacy_judges.get(score.name)
        return replace(score, maker=judge) if judge is not None and id_of(score, result) == score.id else score

    # Results of a large run take seconds: in a thread, so that the server answers others meanwhile.
    attributed = await anyio.to_thread.run_sync(_change_all, results, by_id)
    if not known.complete and (known.makers or known.ids or known.legacy):
        opened = (result for result in attributed if any(map(_is_open, result.bare_scores)))
        traces = [result.trace_id for result in opened if result.trace_id]
        if traces:
            found = await ws.gateway.scores.find(trace_ids=list(dict.fromkeys(traces)), source="API")
            read = {score.id: score for score in found}
            attributed = await anyio.to_thread.run_sync(_change_all, attributed, by_metadata)
        if legacy_judges:
            # Last, since a score's own metadata takes precedence over what the newest worker recorded.
            attributed = await anyio.to_thread.run_sync(_change_all, attributed, by_name)
    return await anyio.to_thread.run_sync(_with_newest_scores, attributed)


def _is_open(score: Score) -> bool:
    """Whether a score may be the run's own, but is not known to be."""
    return score.maker.origin == "api"


def _change_all(results: Iterable[ItemResult], change: Callable[[Score, ItemResult], Score]) -> list[ItemResult]:
    return [_changed(result, change) for result in results]


def _with_newest_scores(results: Iterable[ItemResult]) -> list[ItemResult]:
    return [
        _with_scores(result, newest_scores(result.scores)) if len(result.bare_scores) > 1 else result
        for result in results
    ]


def _changed(result: ItemResult, change: Callable[[Score, ItemResult], Score]) -> ItemResult:
    if not any(map(_is_open, result.bare_scores)):
        return result
    scores = tuple(change(score, result) if _is_open(score) else score for score in result.scores)
    return _with_scores(result, scores)


def _with_scores(result: ItemResult, scores: tuple[Score, ...]) -> ItemResult:
    return result if scores == result.scores else replace(result, scores=scores)


def newest_scores(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Keep the newest score per name and maker (all functions of a script are one maker), and all of humans."""
    if len(scores) < 2:
        return tuple(scores)
    kept: dict[tuple[str, object], Score] = {}
    for score in sorted(
        scores, key=lambda score: score.timestamp.timestamp() if score.timestamp else 0.0, reverse=True
    ):
        maker = score.maker
        is_own = isinstance(maker, JudgeMaker | BuiltInMaker)
        # Two people may disagree about one result, so each score of theirs counts.
        which: object = maker if is_own else score.id if maker.origin == "human" else maker.origin
        if isinstance(maker, ScriptMaker):
            which = maker.sha256
        kept.setdefault((score.name, which), score)
    return tuple(sorted(kept.values(), key=lambda score: (score.name, score.source, score.id)))
