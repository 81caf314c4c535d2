"""The scores of runs against the baseline's, each test adjusted for the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from lfexp_mcp.answers.comparison import ComparabilityIssue, ScoreComparison, ScoreVerdict
from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.model import Interval, NextStep
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.services.comparison.candidates import Candidates, Place
from lfexp_mcp.services.comparison.comparability import script_change
from lfexp_mcp.services.comparison.missing_data import worst_case_delta
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.comparison.stopping import Stopping, verdict_of_stop
from lfexp_mcp.services.labels.correction import describe_corrected_delta
from lfexp_mcp.services.labels.reading import Labels
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.paired import (
    DEFAULT_MIN_DELTA,
    Conclusion,
    PairedResult,
    PairedVerdict,
    compare_pairs,
    conclude,
)
from lfexp_mcp.statistics.power import items_ratio
from lfexp_mcp.statistics.significance import ALPHA, Levels, holm_factors

DECIDED = frozenset({"better", "worse", "equivalent"})


def compare_scores(
    pair: RunPair,
    issues: Sequence[ComparabilityIssue],
    scores: Sequence[str],
    min_delta: float | None,
    primary_score: str | None,
    candidates: Candidates,
    homes: Mapping[str, ScoredRun],
) -> list[ScoreComparison]:
    """Compare the scores of a run with the baseline's.

    They are adjusted for each other by Holm's method, unless one is declared as primary: it is then tested alone, and
    the others among themselves. That a run is better counts by its place among the candidates too (`spending_factor`),
    whatever runs are compared with it: the best of many looks better than it is. That it is worse does not, since an
    alarm must not fall silent as runs are added.

    Args:
        pair: The run and the baseline.
        issues: What makes the comparison unfair.
        scores: The scores to compare.
        min_delta: Smallest difference of interest as a share of the scale; None for the default.
        primary_score: The score that the comparison is about; None if all are equal.
        candidates: The runs of the dataset.
        homes: First runs of families, by experiment id, to see which baselines look worse; see `Place.factor`.

    Returns:
        One comparison per score that the baseline or the run has.
    """
    baseline, run = pair.baseline.record, pair.run.record
    candidates = candidates.including(baseline, run)
    stopping = Stopping.of(pair)
    if stopping is not None:
        primary_score = stopping.rule.score
    compared: dict[str, ScoreComparison] = {}
    tests: dict[str, PairedResult] = {}
    for score in scores:
        if not any(score in each.interpretations for each in (pair.baseline, pair.run)):
            continue
        unfair = _unfair(pair, score, issues)
        pairs = list(pair.values(score).values())
        result = None if unfair else compare_pairs(pairs, 1.0 if pair.has_scale(score) else None)
        if result is not None:
            tests[score] = result
        compared[score] = ScoreComparison(
            score=score,
            run=pair.run.name,
            verdict="not comparable",
            reason=unfair or "No item is scored in both runs.",
            pairs=len(pairs),
            margin=_margin(pair, score, min_delta or DEFAULT_MIN_DELTA),
        )
    for is_primary in (True, False):
        together = [score for score in tests if (score == primary_score) is is_primary]
        factors = holm_factors([tests[score].p for score in together])
        for score, factor in zip(together, factors, strict=True):
            measured = pair.run.interpretations[score]
            own = score if measured.origin == "run" else None
            place = candidates.place(baseline.experiment_ids[0], run.experiment_ids[0], own)
            home = homes.get(place.home.id) if place.home else None
            if home is not None and _is_no_worse(pair.baseline, home, score, measured):
                # A baseline that looks no worse than the first run gained nothing by being chosen.
                place = replace(place, choices=1)
            result, margin = tests[score], compared[score].margin
            compared[score] = _compared(pair, score, result, margin, factor or 1.0, place, stopping)
    return list(compared.values())


def _margin(pair: RunPair, score: str, min_delta: float) -> float:
    """Return `min_delta` in a score's units: without a scale, as a share of the range of the values seen."""
    if pair.has_scale(score):
        return min_delta
    values = [value for run in (pair.baseline, pair.run) for value in run.numbers.get(score, {}).values()]
    return min_delta * (max(values, default=0.0) - min(values, default=0.0) or 1.0)


def _is_no_worse(run: ScoredRun, other: ScoredRun, score: str, measured: ScoreInterpretation) -> bool:
    """Whether a run's mean is no worse than another's, on the items that both have; False if that is unknown."""
    first, second = other.numbers.get(score, {}), run.numbers.get(score, {})
    shared = first.keys() & second.keys()
    lower = False if run.has_scale(score) and other.has_scale(score) else measured.lower_is_better
    if not shared or lower is None:
        return False
    rise = round(math.fsum(second[item_id] - first[item_id] for item_id in shared), 9)
    return rise <= 0 if lower else rise >= 0


def _unfair(pair: RunPair, score: str, issues: Sequence[ComparabilityIssue]) -> str:
    """Say why a score cannot be compared fairly; empty if it can."""
    issue = next((issue for issue in issues if issue.unfair and issue.score in (None, score)), None)
    if issue is not None:
        return issue.message
    for values in (pair.baseline, pair.run):
        if score not in values.interpretations:
            return f"Run {values.name!r} has no score {score!r}."
        if score not in values.numbers:
            return f"{score!r} is text, or labels without values, in {values.name!r}."
    return ""


def _compared(
    pair: RunPair,
    score: str,
    result: PairedResult,
    margin: float,
    factor: float,
    place: Place,
    stopping: Stopping | None,
) -> ScoreComparison:
    if stopping is not None and stopping.look is not None and score == stopping.rule.score:
        return verdict_of_stop(stopping, stopping.look, pair.values(score), place)
    has_scale = pair.has_scale(score)
    lower = False if has_scale else pair.run.interpretations[score].lower_is_better
    conclusion, p = conclude(result, margin, _levels(lower, factor, place, stopping)), result.p
    if stopping is not None and stopping.number is None:
        # Between looks: a test now would be one more.
        conclusion, p = Conclusion("inconclusive", ""), None
    elif stopping is not None and p is not None:
        p = min(1.0, p * ALPHA / stopping.level(ALPHA))
    worst_case = worst_case_delta(pair, score) if has_scale else None
    scaled = pair.values(score).values() if has_scale else ()
    reasons = (
        conclusion.reason,
        stopping.note if stopping else None,
        _candidacy(place, conclusion.verdict),
        worst_case and _if_none_were_missing(worst_case),
        script_change(pair, score),
    )
    return ScoreComparison(
        score=score,
        run=pair.run.name,
        verdict=_verdict(conclusion.verdict, lower),
        reason=" ".join(filter(None, reasons)),
        pairs=result.pairs,
        baseline_mean=result.first_mean,
        mean=result.second_mean,
        delta=result.delta,
        interval=conclusion.interval,
        p=p,
        p_adjusted=conclusion.p_adjusted,
        candidate=place.rank,
        equivalent_within=conclusion.equivalent_within,
        margin=margin,
        below_min_delta=conclusion.below_min_delta,
        worst_case=worst_case,
        wins=result.wins,
        losses=result.losses,
        ties=result.ties,
        newly_failing=sum(is_pass(first) and not is_pass(second) for first, second in scaled),
        newly_passing=sum(is_pass(second) and not is_pass(first) for first, second in scaled),
        items_needed=conclusion.items_needed,
        items_needed_for=conclusion.items_needed_for,
        lower_is_better=lower,
    )


def _if_none_were_missing(worst_case: Interval) -> str:
    return (
        "Not every shared item has a value: if all missing ones were at their worst or all at their best, the delta "
        f"would be {worst_case.low:+.3f} or {worst_case.high:+.3f}."
    )


def _candidacy(place: Place, verdict: PairedVerdict) -> str | None:
    """Say which candidate a run is, unless it is the first, and what that costs if nothing is shown."""
    if place.factor == 1:
        return None
    text = place.shown
    if verdict == "inconclusive":
        ratio = items_ratio(ALPHA / place.factor)
        text += f": to show that it is better takes {ratio:.2g} times the items of a first one"
    return f"{text}."


def _levels(lower_is_better: bool | None, factor: float, place: Place, stopping: Stopping | None) -> Levels:
    """The levels of a test: that a run is better counts by its place, whichever direction that is.

    Args:
        lower_is_better: None if that is not known: then either direction may be better.
        factor: By how much p counts for other scores.
        place: The run's place among the candidates.
        stopping: The run's stopping rule; its looks share the level.
    """
    level = ALPHA / factor
    chosen = level / place.factor
    if stopping is not None:
        level, chosen = stopping.level(level), stopping.level(chosen)
    return Levels(rise=level if lower_is_better else chosen, fall=level if lower_is_better is False else chosen)


def _verdict(verdict: PairedVerdict, lower_is_better: bool | None) -> ScoreVerdict:
    """Turn the verdict as if more were better into that of the score; without a direction, it is higher or lower."""
    if verdict not in ("better", "worse"):
        return verdict
    if lower_is_better is None:
        return "higher" if verdict == "better" else "lower"
    return "better" if (verdict == "worse") == lower_is_better else "worse"


def with_correction(
    compared: ScoreComparison,
    pair: RunPair,
    issues: Sequence[ComparabilityIssue],
    first: Mapping[str, Labels],
    second: Mapping[str, Labels],
) -> ScoreComparison:
    """Add what people's labels make of a delta.

    The verdict is about the score as the judge gives it. It stands where the labels show the same direction, and where
    they leave the judge's delta possible. Where they do neither, the judge is biased between the runs, and nothing is
    decided. Runs of two judges, whose scores cannot be compared, can be by the labels of both.

    Args:
        compared: The comparison of one score.
        issues: What makes the comparison unfair.
        first: The baseline's labels, by score.
        second: The run's.
    """
    score, labels = compared.score, (first.get(compared.score), second.get(compared.score))
    unfair = {issue.kind for issue in issues if issue.unfair and issue.score in (None, score)}
    if labels == (None, None) or not pair.has_scale(score) or unfair - {"judge", "scale"}:
        return compared
    names = (pair.baseline.name, pair.run.name)
    baseline, run = labels
    if baseline is None or run is None:
        has, lacks = names if run is None else names[::-1]
        text = f"Only {has!r} has labels, and one run corrected alone would add the judge's bias: label {lacks!r} too."
        corrected = Corrected(labels=sum(len(given.labelled) for given in labels if given), summary=text)
    else:
        corrected = describe_corrected_delta((baseline, run), names, frozenset(pair.item_ids), compared.margin)
    found, delta = corrected.estimate, compared.delta
    update: dict[str, object] = {"corrected": corrected}
    if found is not None and delta is not None and not found.low <= delta <= found.high:
        update["reason"] = f"By people's labels, the judge's delta of {delta:+.3f} is biased. {compared.reason}"
        if compared.verdict in DECIDED and not (found.low > 0 < delta or found.high < 0 > delta):
            update["verdict"] = "inconclusive"
    return compared.model_copy(update=update)


def label_steps(dataset: str, runs: Sequence[ScoredRun], labels: Sequence[Mapping[str, Labels]]) -> list[NextStep]:
    """Propose to label a run whose score has no labels, while another run's has."""
    for score in sorted({score for of_run in labels for score in of_run}):
        for run, of_run in zip(runs, labels, strict=True):
            if run.has_scale(score) and score not in of_run:
                arguments: dict[str, JsonValue] = {"dataset": dataset, "run_name": run.name, "score_name": score}
                return [NextStep("request_labels", arguments, "Label this run too, to correct the delta.")]
    return []
