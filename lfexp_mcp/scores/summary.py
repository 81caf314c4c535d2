"""One line per score name: what a run as a whole was given."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from lfexp_mcp.answers.run import ScoreShare, ScoreSummary
from lfexp_mcp.model import RunRecord, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation


def summarise_scores(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[ScoreSummary]:
    """Summarise every score of a run, in one pass over its items.

    Args:
        record: The run; one without items or scores gives an empty list.
        interpretations: How its scores are read, see `interpret_scores`.

    Returns:
        One summary per score name, names in alphabetical order. Means are over what was scored; failures are
        counted beside them.
    """
    scores: dict[str, list[Score]] = {name: [] for name in interpretations}
    unscored: Counter[str] = Counter()
    for item in record.items:
        unscored.update(failure.name for failure in item.unscored)
        for score in item.scores:
            scores[score.name].append(score)
    summaries = [_summary(interpretations[name], scores[name], unscored[name]) for name in interpretations]
    summaries += [_never_scored(name, unscored[name]) for name in unscored if name not in interpretations]
    return sorted(summaries, key=lambda summary: summary.name)


def _summary(reading: ScoreInterpretation, given: Sequence[Score], unscored: int) -> ScoreSummary:
    scores = [score for score in given if reading.counts(score)]
    shares = _shares(reading, given)
    numbers = _numbers(reading, scores)
    mean = None if reading.mixed or (reading.problem and reading.scale) else _mean(numbers)
    labelled = reading.data_type in {"CATEGORICAL", "TEXT"}
    counts = Counter(str(score.value) for score in scores) if reading.data_type == "CATEGORICAL" else None
    return ScoreSummary(
        name=reading.name,
        data_type=reading.data_type,
        mean=mean,
        display=_display_mixed(shares) if reading.mixed else _display(reading, scores, numbers, mean, counts),
        count=len(scores),
        unscored=unscored,
        min=min(numbers, default=None),
        max=max(numbers, default=None),
        scale=reading.scale.name if reading.scale and not labelled else None,
        scale_source=reading.scale_source,
        clamped=sum(score.clamped for score in scores),
        categories=dict(counts.most_common()) if counts is not None else None,
        makers=shares if len(shares) > 1 else [],
    )


def _shares(reading: ScoreInterpretation, scores: Sequence[Score]) -> list[ScoreShare]:
    """What each maker gave under one name, those that count first; all humans together are one."""
    by_maker: dict[str, list[Score]] = {}
    for score in scores:
        by_maker.setdefault(score.maker.label, []).append(score)
    shares = [
        ScoreShare(
            maker=label,
            count=len(found),
            mean=_mean(_numbers(reading, found)) if reading.counts(found[0]) and reading.is_canonical else None,
            counted=reading.counts(found[0]),
        )
        for label, found in by_maker.items()
    ]
    return sorted(shares, key=lambda share: (not share.counted, -share.count, share.maker))


def _display_mixed(shares: Sequence[ScoreShare]) -> str:
    """Show the mean of each maker, since none stands for all."""
    counted = [share for share in shares if share.counted]
    means = (f"{share.mean:.2f}" if share.mean is not None else "no mean" for share in counted)
    listed = "; ".join(f"{mean} by {share.maker} on {share.count}" for mean, share in zip(means, counted, strict=True))
    return f"no single mean: {listed}"


def _mean(numbers: Sequence[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


def _numbers(reading: ScoreInterpretation, scores: Sequence[Score]) -> list[float]:
    """The canonical values; those as they came where the numbers fit no scale."""
    read = reading.canonical if reading.problem is None else reading.raw
    return [value for score in scores if (value := read(score)) is not None]


def _display(
    reading: ScoreInterpretation,
    scores: Sequence[Score],
    numbers: Sequence[float],
    mean: float | None,
    counts: Counter[str] | None,
) -> str:
    if not scores:
        return "not scored"
    if counts is not None:
        listed = ", ".join(f"{label} {count}" for label, count in counts.most_common(5))
        listed += ", ..." if len(counts) > 5 else ""
        return listed if mean is None else f"{mean:.2f} ({listed})"
    if reading.scale is not None and reading.problem is not None:
        return f"no mean ({min(numbers):g} to {max(numbers):g}, beyond {reading.scale.name})"
    if mean is None:
        return f"{len(scores)} texts"
    if reading.data_type == "BOOLEAN":
        true = sum(score.value is True for score in scores)
        good = "true, lower is better" if reading.scale and reading.scale.lower_is_better else ""
        return f"{mean:.0%} ({true} of {len(scores)}{f' {good}' if good else ''})"
    return f"{mean:g} (no scale)" if reading.scale is None else reading.scale.display(mean)


def _never_scored(name: str, unscored: int) -> ScoreSummary:
    return ScoreSummary(
        name=name,
        data_type="NUMERIC",
        mean=None,
        display=f"not scored ({unscored} failed)",
        count=0,
        unscored=unscored,
        min=None,
        max=None,
        scale=None,
        scale_source=None,
    )
