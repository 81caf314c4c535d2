"""Report on one analyzed run."""

from lfexp_mcp.answers.analysis import Analysis, ExtremeItem, ScoreDistribution, SliceResult
from lfexp_mcp.answers.run import ItemAnswer
from lfexp_mcp.reports.charts import SHARES, Axis, Chart, Strip, axis_over, drawable, drawable_interval
from lfexp_mcp.reports.layout import (
    Block,
    Report,
    Table,
    cell,
    charts,
    interval,
    more,
    number,
    part_of_dataset,
    probability,
    repeated,
    results,
    score_value,
    spoken,
    strips_of_differences,
    table,
    warnings,
)

BARS = "▁▂▃▄▅▆▇█"


def analysis_report(answer: Analysis) -> Report:
    """Report on an analysis: distributions, failures and their causes, then unusual items."""
    return Report(
        (
            (
                f"Run {answer.run_name!r} on dataset {answer.dataset!r}: {answer.status}; {answer.succeeded} of "
                f"{results(answer.total_items, answer.repeats)} succeeded, "
                f"{answer.failed} failed, {answer.pending} pending."
            ),
            *part_of_dataset(answer.part),
            *_distributions(answer),
            *_failures(answer),
            *_groups(answer),
            *_slices(answer),
            *_correlations(answer),
            *_oddities(answer),
            answer.notice,
            *warnings(answer.warnings),
            *charts(answer.page),
        ),
        answer.next,
        answer.run_name,
        answer.experiment_url or answer.backend,
    )


def _distributions(answer: Analysis) -> tuple[Block, ...]:
    scores = answer.scores
    if not scores:
        return () if answer.failures.items else ("No scores.",)
    rows = [
        (
            score.name,
            score.display,
            interval(score.interval),
            str(score.count),
            str(score.unscored),
            *(number(score.quantiles.get(name)) if score.quantiles else "" for name in ("p5", "p50", "p95")),
            f"{score.failing} below {answer.threshold:g}" if score.failing is not None else "",
            _sparkline(score.histogram),
        )
        for score in scores
    ]
    columns = ("score", "mean", "95%", "scored", "unscored", "p5", "median", "p95", "failing", "spread")
    corrected = (f"Score {score.name}: {score.corrected.summary}" for score in scores if score.corrected is not None)
    return (Table(columns, rows, heading="Scores", chart=_spreads(scores, answer.threshold)), *corrected)


def _spreads(scores: list[ScoreDistribution], threshold: float) -> Chart:
    """Draw how the values lie in ten bins, with the mean and its interval."""
    note = (
        f"Bars count the values in ten equal bins, the point is the mean, the line its interval. The mark is at "
        f"{number(threshold)}, below which an item fails."
    )
    return Chart("spread", [_spread(score, threshold) for score in scores], place=9, replaces=True, note=note)


def _spread(score: ScoreDistribution, threshold: float) -> Strip:
    bins = f" In ten equal bins: {', '.join(map(str, score.histogram))}." if score.histogram else ""
    ends = [drawable(score.quantiles.get(end)) for end in ("min", "max")]
    has_scale = score.failing is not None
    within = SHARES if has_scale else axis_over((score.mean, *(score.interval or ())))
    if not has_scale and score.histogram:
        # The bins go from the lowest value to the highest.
        within = Axis((ends[0], ends[1])) if ends[0] is not None and ends[1] is not None else within
    return Strip(
        within,
        spoken("Mean", score.mean, score.interval) + bins,
        value=drawable(score.mean),
        interval=drawable_interval(score.interval),
        counts=score.histogram if has_scale or None not in ends else (),
        reference=threshold if has_scale else None,
    )


def _failures(answer: Analysis) -> tuple[Block, ...]:
    failures, what = answer.failures, "items" if answer.repeats == 1 else "results"
    if not failures.items:
        return (f"Failing {what}: {failures.total}.",) if failures.total else ()
    title = f"Failing {what}, lowest first: {failures.total}, of which {len(failures.items)} shown"
    rows = [
        (
            repeated(item.item_id, item.repeat),
            number(_lowest(item)),
            cell(item.input, 40),
            cell(item.output, 40),
            cell(item.expected_output, 30),
            cell(_reason(item), 80),
        )
        for item in failures.items
    ]
    columns = ("item", "lowest", "input", "output", "expected", "why")
    return (*table(columns, rows, title), *more(failures.next_cursor))


def _lowest(item: ItemAnswer) -> float | None:
    """The lowest of the scores that make it fail."""
    values = (score.value for score in item.scores if score.failed)
    return min((float(value) for value in values if isinstance(value, int | float)), default=None)


def _reason(item: ItemAnswer) -> str:
    reasons = [f"{score.name}: {score.comment or score_value(score.value)}" for score in item.scores if score.failed]
    return "; ".join(reasons)


def _groups(answer: Analysis) -> tuple[Block, ...]:
    rows = [
        (
            f"{group.count} of {group.of}" + (f" ({group.items} items)" if group.items is not None else ""),
            group.by,
            cell(group.where, 30),
            cell(group.key, 80),
            cell(", ".join(group.examples), 80),
        )
        for group in answer.groups
    ]
    strips = [
        Strip(SHARES, f"{group.count} of {group.of}.", bar=group.count / group.of if group.of else None)
        for group in answer.groups
    ]
    chart = Chart("share", strips, place=1)
    columns = ("count", "by", "where", "what they share", "such as")
    return table(columns, rows, "Failures and errors by what they share", chart)


def _slices(answer: Analysis) -> tuple[Block, ...]:
    rows = [
        (
            f"{cell(part.key, 30)}={cell(part.value, 30)}",
            part.score,
            part.verdict,
            str(part.count),
            number(part.mean),
            number(part.rest_mean),
            probability(part.p_adjusted),
        )
        for part in answer.slices
    ]
    columns = ("slice", "score", "verdict", "items", "mean", "rest", "p")
    return table(columns, rows, f"Slices by metadata ({answer.slices_tested} tested)", _slice_deltas(answer.slices))


def _slice_deltas(slices: list[SliceResult]) -> Chart:
    strips = strips_of_differences(slices, "Difference to the rest")
    note = "The point is the mean minus that of the rest, the line its interval, and the mark behind them zero."
    return Chart("difference to the rest", strips, place=3, note=note)


def _correlations(answer: Analysis) -> tuple[Block, ...]:
    return tuple(
        f"Scores {pair.first} and {pair.second} have rank correlation {pair.rho:.2f} ({pair.pairs} items)."
        for pair in answer.correlations
    )


def _oddities(answer: Analysis) -> tuple[Block, ...]:
    slowest = [f"{repeated(item.item_id, item.repeat)} {number(item.seconds)} s" for item in answer.slowest]
    most_expensive = [f"{item.item_id} {_price(item)}" for item in answer.most_expensive]
    rows = [
        (
            repeated(item.item_id, item.repeat),
            f"{item.judge} {number(item.judge_value)}",
            f"{item.human} {number(item.human_value)}",
            cell(item.untrusted_judge_reason, 50),
            cell(item.untrusted_human_comment, 50),
        )
        for item in answer.disagreements
    ]
    columns = ("item", "judge", "human", "judge's reason", "human's comment")
    return (
        *([f"Slowest: {', '.join(slowest)}"] if slowest else []),
        *([f"Most expensive: {', '.join(most_expensive)}"] if most_expensive else []),
        *table(columns, rows, "Judge and human disagree"),
        *_split_votes(answer),
    )


def _price(item: ExtremeItem) -> str:
    return f"{item.tokens or 0} tokens" if item.cost_usd is None else f"{number(item.cost_usd)} USD"


def _split_votes(answer: Analysis) -> tuple[Block, ...]:
    rows = [
        (split.item_id, split.score, ", ".join(map(score_value, split.votes)), number(split.spread))
        for split in answer.split_votes
    ]
    title = f"Judges disagree with themselves on {answer.split_votes_total} items"
    return table(("item", "score", "votes", "spread"), rows, title)


def _sparkline(counts: list[int]) -> str:
    most = max(counts, default=0)
    return "".join(BARS[count * (len(BARS) - 1) // most] for count in counts) if most else ""
