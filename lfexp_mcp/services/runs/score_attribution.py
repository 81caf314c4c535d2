"""Who made the scores that Langfuse lists with a run's items, without their metadata.

The id of a score is derived from its maker, so that those of a run's known makers are recognised; the metadata of the
others is read where one of them may still be the run's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lfexp_mcp.model import ItemResult, JudgeMaker, Provenance, RunMaker, Score, ScriptMaker
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunMakers:
    """What is known of the makers of a run's scores, before any score is looked at."""

    makers: Sequence[RunMaker] = ()
    ids: Mapping[str, RunMaker] = field(default_factory=dict)
    """The makers of scores that are known one by one, from a journal."""
    complete: bool = False
    """Whether these are all: a score of none of them is somebody else's."""
    recorded: "LegacyMakers | None" = None
    """Of a run that version 0.1 made."""


@dataclass(frozen=True, slots=True)
class LegacyMakers:
    """What version 0.1 recorded of the makers of a run's scores; its ids do not tell them apart."""

    judges: Mapping[str, JudgeMaker]
    """By the score's name; as the newest worker knew them, so that a score's own metadata wins."""
    script: ScriptMaker

    @classmethod
    def of(cls, provenance: Provenance) -> "LegacyMakers":
        """Read the provenance of a run."""
        described = {info.name: info for info in provenance.evaluators}
        judges = {}
        for score, scale in (provenance.scales or {}).items():
            info = described.get(scale.prompt or "")
            judges[score] = JudgeMaker(
                prompt=scale.prompt or score,
                version=info.version if info else None,
                model=info.model if info else None,
            )
        return cls(judges, provenance.script_maker)


async def attribute_scores(
    ws: Workspace, experiment_id: str, results: Sequence[ItemResult], known: RunMakers
) -> list[ItemResult]:
    """Give the scores of a run's results their makers, and keep the newest score of each maker.

    Args:
        ws: The workspace; asked only for what the ids cannot tell.
        experiment_id: The run's.
        results: Of the run.
        known: The makers to look for; of a run of others there are none, and nothing is asked.
    """
    recognised = [
        replace(result, scores=tuple(_recognise(score, experiment_id, result, known) for score in result.scores))
        for result in results
    ]
    traces = [result.trace_id for result in recognised if result.trace_id and any(map(_is_open, result.scores))]
    if traces and not known.complete and (known.makers or known.ids or known.recorded):
        found = await ws.gateway.scores.find(trace_ids=list(dict.fromkeys(traces)), source="API")
        read = {score.id: score for score in found}
        recognised = [replace(result, scores=_with_details(result.scores, read)) for result in recognised]
    return [replace(result, scores=newest_scores(_settled(experiment_id, result, known))) for result in recognised]


def _is_open(score: Score) -> bool:
    """Whether a score may be the run's own, and is not known to be."""
    return score.maker.origin == "api"


def _recognise(score: Score, experiment_id: str, result: ItemResult, known: RunMakers) -> Score:
    if not _is_open(score):
        return score
    if score.id in known.ids:
        return replace(score, maker=known.ids[score.id])
    subject = (experiment_id, result.item_id, result.observation_id or "", score.name)
    maker = next((maker for maker in known.makers if score_id(*subject, maker) == score.id), None)
    recorded = known.recorded
    if maker is None and recorded is not None and score.name not in recorded.judges and score_id(*subject) == score.id:
        maker = recorded.script
    return replace(score, maker=maker) if maker is not None else score


def _with_details(scores: Iterable[Score], read: Mapping[str, Score]) -> tuple[Score, ...]:
    return tuple(
        replace(score, maker=read[score.id].maker, raw=read[score.id].raw, metadata=read[score.id].metadata)
        if _is_open(score) and score.id in read
        else score
        for score in scores
    )


def _settled(experiment_id: str, result: ItemResult, known: RunMakers) -> Iterable[Score]:
    """Give open scores of a run of version 0.1 to the judge that the run recorded, if the id is the judge's."""
    if known.recorded is None or known.complete:
        return result.scores
    judges = known.recorded.judges

    def settle(score: Score) -> Score:
        identity = score_id(experiment_id, result.item_id, result.observation_id or "", score.name)
        is_own = _is_open(score) and score.name in judges and identity == score.id
        return replace(score, maker=judges[score.name]) if is_own else score

    return map(settle, result.scores)


def newest_scores(scores: Iterable[Score]) -> tuple[Score, ...]:
    """Keep the newest score per name and maker, scripts before and after an edit being one, and all of humans."""
    kept: dict[tuple[str, object], Score] = {}
    for score in scores:
        maker = score.maker
        which = maker if isinstance(maker, JudgeMaker) else score.id if maker.origin == "human" else maker.origin
        key = (score.name, which)
        known = kept.get(key)
        if known is None or _time(score) > _time(known):
            kept[key] = score
    return tuple(sorted(kept.values(), key=lambda score: (score.name, score.source, score.id)))


def _time(score: Score) -> float:
    return score.timestamp.timestamp() if score.timestamp else 0.0
