"""What a gate checks of a run: its scores and its error rate, alone and against the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lfexp_mcp.answers.comparison import RunMetrics, ScoreComparison, ScoreVerdict
from lfexp_mcp.model import UNIT, RunStatus, Scale
from lfexp_mcp.services.comparison.conditions import ERROR_RATE
from lfexp_mcp.services.comparison.missing_data import (
    MissingData,
    missing_ended_pairs,
    missing_ends,
    missing_pairs,
    missing_scores,
)
from lfexp_mcp.services.comparison.run_metrics import error_rate_delta
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.comparison.stopping import Stopping, stopped_part
from lfexp_mcp.statistics.significance import ALPHA


@dataclass(frozen=True, slots=True)
class Measure:
    """A score of a run, or its error rate, as a gate checks it; None is unknown."""

    value: float | None = None
    """The canonical mean."""
    missing: MissingData | None = None
    """Of `value`."""
    scale: Scale | None = None
    problem: str | None = None
    """Why it cannot be checked."""
    delta: float | None = None
    missing_pairs: MissingData | None = None
    """Of `delta` and the verdicts."""
    unfair: str | None = None
    """Why it cannot be compared with the baseline's."""
    verdict: ScoreVerdict | None = None
    """Adjusted for the other scores, for a condition on any score; None for a score of unknown direction."""
    verdict_alone: ScoreVerdict | None = None
    """Unadjusted, for a condition that names the score."""


@dataclass(frozen=True, slots=True)
class GateInput:
    """What a gate checks of one run."""

    run: str
    status: RunStatus
    baseline_status: RunStatus
    measures: Mapping[str, Measure]
    """By score name, and `error_rate`."""
    part: str | None = None
    """The part of the dataset that the run is about; see `RunPlan.part_shown`."""
    baseline_part: str | None = None
    decided: str | None = None
    """The score by which the run's stopping rule stopped it, compared with this very baseline."""


def gate_input(pair: RunPair, scores: Sequence[ScoreComparison], metrics: RunMetrics) -> GateInput:
    """Collect what a gate checks of a run.

    Args:
        pair: The run and its baseline.
        scores: The comparisons of its scores.
        metrics: Of the run as a whole.
    """
    compared = {one.score: one for one in scores}
    measures = {
        score: _measure(pair, score, metrics.means.get(score), compared.get(score))
        for score in pair.run.interpretations.keys() | compared.keys()
    }
    error_delta = error_rate_delta(pair.baseline.record, pair.run.record)
    error_rate = Measure(
        value=metrics.error_rate,
        missing=None if metrics.error_rate is None else missing_ends(pair.run),
        scale=UNIT,
        delta=error_delta,
        missing_pairs=None if error_delta is None else missing_ended_pairs(pair),
    )
    # A score of that name takes precedence.
    measures.setdefault(ERROR_RATE, error_rate)
    baseline, run = pair.baseline.record, pair.run.record
    stopping = Stopping.of(pair)
    decided = stopping.rule.score if stopping is not None and stopping.look is not None else None
    return GateInput(
        run=run.run_name,
        status=run.status,
        baseline_status=baseline.status,
        # Of a part, a gate may pass; the check says that it tells nothing about the whole dataset.
        part="; ".join(filter(None, (run.part_shown, stopped_part(run)))) or None,
        baseline_part=baseline.part_shown,
        measures=measures,
        decided=decided,
    )


def _measure(pair: RunPair, score: str, mean: float | None, compared: ScoreComparison | None) -> Measure:
    interpretation = pair.run.interpretations.get(score)
    value = mean if pair.run.has_scale(score) else None
    problem = f"{interpretation.problem}." if interpretation and interpretation.problem else None
    if interpretation and interpretation.mixed:
        problem = "it has several makers, and so no mean."
    alone = Measure(
        value=value,
        missing=None if value is None else missing_scores(pair.run, score),
        scale=interpretation.scale if interpretation else None,
        problem=problem,
    )
    if compared is None:
        return alone
    return replace(
        alone,
        delta=compared.delta,
        missing_pairs=_looked_at(pair, score) or missing_pairs(pair, score),
        unfair=compared.reason if compared.verdict == "not comparable" else None,
        verdict=_tested(compared, compared.p_adjusted) if _has_direction(pair, score) else None,
        verdict_alone=_tested(compared, compared.p),
    )


def _looked_at(pair: RunPair, score: str) -> MissingData | None:
    """What the verdict that stopped a run lacks, which is none of the items that came after it."""
    stopping = Stopping.of(pair)
    if stopping is None or stopping.look is None or score != stopping.rule.score:
        return None
    look = stopping.look
    return MissingData("items", present=look.pairs, unscored=look.items - look.pairs)


def _tested(compared: ScoreComparison, p: float | None) -> ScoreVerdict:
    """A significant loss is worse, whatever the interval: that rare gains may be unseen is no reason to pass it."""
    is_loss = compared.delta is not None and compared.delta < 0
    return "worse" if is_loss and p is not None and p < ALPHA else compared.verdict


def _has_direction(pair: RunPair, score: str) -> bool:
    """Whether it is known which values are better: not for labels, text, and numbers in a unit of their own."""
    interpretations = [run.interpretations[score] for run in (pair.baseline, pair.run) if score in run.interpretations]
    return any(one.scale is not None or (one.problem and not one.own_unit) for one in interpretations)
