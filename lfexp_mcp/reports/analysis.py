"""Report on one analyzed run."""

from lfexp_mcp.answers.analysis import Analysis, ExtremeItem
from lfexp_mcp.answers.run import ItemAnswer
from lfexp_mcp.reports.layout import (
    Block,
    Report,
    Table,
    cell,
    more,
    number,
    part_of_dataset,
    repeated,
    results,
    score_value,
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
        ),
        answer.next,
    )


def _distributions(answer: Analysis) -> tuple[Block, ...]:
    scores = answer.scores
    if not scores:
        return () if answer.failures.items else ("No scores.",)
    rows = [
        (
            score.name,
            score.display,
            "" if score.interval is None else f"[{score.interval.low:.3f}, {score.interval.high:.3f}]",
            str(score.count),
            str(score.unscored),
            *(number(score.quantiles.get(name)) for name in ("p5", "p50", "p95")),
            f"{score.failing} below {answer.threshold:g}" if score.failing is not None else "",
            _sparkline(score.histogram),
        )
        for score in scores
    ]
    columns = ("score", "mean", "95%", "scored", "unscored", "p5", "median", "p95", "failing", "spread")
    corrected = (f"Score {score.name}: {score.corrected.summary}" for score in scores if score.corrected is not None)
    return (Table(columns, rows), *corrected)


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
    return table(
        ("count", "by", "where", "what they share", "such as"), rows, "Failures and errors by what they share:"
    )


def _slices(answer: Analysis) -> tuple[Block, ...]:
    rows = [
        (
            f"{cell(part.key, 30)}={cell(part.value, 30)}",
            part.score,
            part.verdict,
            str(part.count),
            number(part.mean),
            number(part.rest_mean),
            number(part.p_adjusted),
        )
        for part in answer.slices
    ]
    columns = ("slice", "score", "verdict", "items", "mean", "rest", "p")
    return table(columns, rows, f"Slices by metadata ({answer.slices_tested} tested):")


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
        *table(columns, rows, "Judge and human disagree:"),
        *_split_votes(answer),
    )


def _price(item: ExtremeItem) -> str:
    return f"{item.tokens or 0} tokens" if item.cost_usd is None else f"{number(item.cost_usd)} USD"


def _split_votes(answer: Analysis) -> tuple[Block, ...]:
    rows = [
        (split.item_id, split.score, ", ".join(map(score_value, split.votes)), number(split.spread))
        for split in answer.split_votes
    ]
    title = f"Judges disagree with themselves on {answer.split_votes_total} items:"
    return table(("item", "score", "votes", "spread"), rows, title)


def _sparkline(counts: list[int]) -> str:
    most = max(counts, default=0)
    return "".join(BARS[count * (len(BARS) - 1) // most] for count in counts) if most else ""
