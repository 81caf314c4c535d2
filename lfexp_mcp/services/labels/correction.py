"""A judge's mean and a delta, corrected by people's labels, and how good the judge is."""

from collections.abc import Collection, Sequence

from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.errors import BackendError
from lfexp_mcp.model import Estimate
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.services.labels.reading import Labels, read_labels
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.corrected import (
    MIN_LABELS,
    MIN_STRATUM_LABELS,
    CorrectedDelta,
    CorrectedMean,
    correct_delta,
    correct_mean,
)
from lfexp_mcp.statistics.proportions import weighted_share


async def labels_of_runs(
    ws: Workspace, runs: Sequence[ScoredRun], scores: Collection[str]
) -> tuple[list[dict[str, Labels]], list[str]]:
    """Read the labels of runs; without them, an answer lacks its corrections only.

    Returns:
        Per run, its labels by score; and a warning where they could not be read.
    """
    try:
        queues = await ws.gateway.queues.all()
        return [await read_labels(ws, run, scores, queues) for run in runs], []
    except BackendError as error:
        return [{} for _ in runs], [f"Labels that people may have given are not accounted for: {error}"]


def describe_corrected_mean(labels: Labels, half_width: float) -> Corrected:
    """Describe the corrected mean of a run, or why there is none.

    Args:
        labels: Of a score of the run.
        half_width: Distance of the interval's ends from the mean for which to say the labels needed.
    """
    found = None if labels.void else correct_mean(labels.results)
    if found is None:
        return Corrected(labels=len(labels.labelled), summary=_why_none(labels))
    estimate = Estimate(found.mean, *found.interval)
    text = f"By {found.labels} labels, the mean of {found.results} results is {_shown(estimate)}."
    return _describe(labels, found, estimate, text, half_width)


def describe_corrected_delta(
    labels: tuple[Labels, Labels], names: tuple[str, str], item_ids: Collection[str], half_width: float
) -> Corrected:
    """Describe the corrected delta of two runs, second minus first, or why there is none.

    Args:
        labels: Of a score of both runs.
        item_ids: The items that both runs have.
        half_width: As for a mean.
    """
    means: list[CorrectedMean] = []
    for one, name in zip(labels, names, strict=True):
        mean = None if one.void else correct_mean([result for result in one.results if result.item_id in item_ids])
        if mean is None:
            return Corrected(labels=len(one.labelled), summary=f"Run {name!r}: {_why_none(one)}")
        means.append(mean)
    found = correct_delta(*means)
    counts = f"{found.first.labels} and {found.second.labels}"
    estimate = Estimate(found.delta, *found.interval)
    return _describe(
        labels[1], found, estimate, f"By {counts} labels, the delta is {_shown(estimate, '+')}.", half_width
    )


def _describe(
    labels: Labels,
    found: CorrectedMean | CorrectedDelta,
    estimate: Estimate,
    text: str,
    half_width: float,
) -> Corrected:
    passed, failed = _rate(labels, passing=True), _rate(labels, passing=False)
    needed = found.labels_needed(half_width)
    wide = (estimate.high - estimate.low) / 2 > half_width
    sentences = [text]
    if passed is not None:
        sentences.append(f"The judge passes {_share(passed)} of what people pass.")
    if failed is not None:
        sentences.append(f"It fails {_share(failed)} of what people fail.")
    if passed and failed and passed.value + failed.value < 1:
        sentences.append("It rates against people: see which end of its scale is the good one.")
    if wide and needed is None:
        sentences.append(f"Labels of all results would not give ±{half_width:g}: that takes more items.")
    elif wide:
        whose = "labels of each run" if isinstance(found, CorrectedDelta) else "labels"
        sentences.append(f"About {needed} {whose} give ±{half_width:g}.")
    if labels.volunteered:
        sentences.append(f"{labels.volunteered} labels of results that were not drawn show agreement only.")
    return Corrected(
        estimate=estimate,
        labels=len(labels.labelled),
        labels_needed=needed if wide else None,
        sensitivity=passed,
        specificity=failed,
        summary=" ".join(sentences),
    )


def _rate(labels: Labels, *, passing: bool) -> Estimate | None:
    """How often the judge agrees on the results that people pass, or on those that they fail; None without any."""
    hits = [
        (is_pass(result.judge) is passing, labels.weight(result), result.item_id)
        for result in labels.labelled
        if result.judge is not None and result.human is not None and is_pass(result.human) is passing
    ]
    if not hits:
        return None
    share, interval = weighted_share(hits)
    return Estimate(share, *interval)


def _why_none(labels: Labels) -> str:
    if labels.void:
        return f"Its labels correct nothing. {labels.void}"
    each = f", {MIN_STRATUM_LABELS} in each part of the draw" if len(labels.strata) > 1 else ""
    return (
        f"Of {labels.drawn} drawn results, {len(labels.labelled)} have labels that count; to correct a mean takes "
        f"{MIN_LABELS}{each}."
    )


def _shown(found: Estimate, sign: str = "") -> str:
    return f"{found.value:{sign}.3f} (95% {found.low:{sign}.3f} to {found.high:{sign}.3f})"


def _share(found: Estimate) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
