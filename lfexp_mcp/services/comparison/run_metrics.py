"""Metrics of a run besides its scores: errors, time, tokens and cost; alone and against the baseline."""

import math
from collections.abc import Callable, Mapping, Sequence

from lfexp_mcp.answers.comparison import Contrast, RatioMetric, RunMetrics
from lfexp_mcp.answers.run import ScoreSummary
from lfexp_mcp.model import Interval, ItemResult, RunRecord
from lfexp_mcp.services.comparison.comparability import concurrency_change
from lfexp_mcp.services.runs.observations import TaskUsage
from lfexp_mcp.services.runs.scored_run import MeanByItem
from lfexp_mcp.statistics.distribution import quantiles
from lfexp_mcp.statistics.paired import compare_pairs

_WORDS: dict[RatioMetric, tuple[str, str]] = {
    "seconds": ("takes", "the time"),
    "tokens": ("uses", "the tokens"),
    "cost_usd": ("costs", "the money"),
}
MIN_TWO_DECIMAL_RATIO = 0.1
"""Smaller ratios are shown with one significant digit instead of two decimals."""


def error_rate(items: Sequence[ItemResult]) -> float | None:
    """The share of failed items among those that ended; None when none did."""
    ended = [item for item in items if item.status != "pending"]
    return sum(item.status == "failed" for item in ended) / len(ended) if ended else None


def error_rate_delta(baseline: RunRecord, run: RunRecord) -> float | None:
    """The error rate of a run minus the baseline's, on the items that ended in both; None if there are none."""
    pairs = _pairs(_failures(baseline), _failures(run))
    return math.fsum(second - first for first, second in pairs) / len(pairs) if pairs else None


def describe_metrics(
    record: RunRecord, summaries: Sequence[ScoreSummary], usage: Mapping[str, TaskUsage], url: str | None
) -> RunMetrics:
    """Sum up one run.

    Args:
        usage: By item id; of its tasks' model calls.
        url: Its page in Langfuse.
    """
    succeeded = sum(item.status == "succeeded" for item in record.items)
    failed = sum(item.status == "failed" for item in record.items)
    seconds = [item.seconds for item in record.items if item.seconds is not None]
    median, p95 = (round(each, 4) for each in quantiles(seconds, [0.5, 0.95])) if seconds else (None, None)
    costs = _costs(usage)
    return RunMetrics(
        run=record.run_name,
        status=record.status,
        part=record.part_shown,
        items=record.total_items,
        succeeded=succeeded,
        failed=failed,
        pending=max(record.total_items - succeeded - failed, 0),
        means={summary.name: summary.mean for summary in summaries if summary.mean is not None},
        error_rate=error_rate(record.items),
        seconds_median=median,
        seconds_p95=p95,
        input_tokens=round(sum(one.input_tokens for one in usage.values())) if usage else None,
        output_tokens=round(sum(one.output_tokens for one in usage.values())) if usage else None,
        # A sum that lacks the price of an item would be too low.
        cost_usd=math.fsum(costs.values()) if costs and len(costs) == len(usage) else None,
        url=url,
        replayed=record.is_replayed,
    )


def contrast_runs(
    baseline: RunRecord, run: RunRecord, first_usage: Mapping[str, TaskUsage], second_usage: Mapping[str, TaskUsage]
) -> list[Contrast]:
    """Compare errors, time, tokens and cost of two runs, on the items that both have.

    Times are not compared if the runs had different concurrency, which changes how long each item takes.
    """
    names = (baseline.run_name, run.run_name)
    tokens, more_tokens = (
        {item_id: one.tokens for item_id, one in usage.items()} for usage in (first_usage, second_usage)
    )
    contrasts = [
        _error_contrast(names, _failures(baseline), _failures(run)),
        _time_contrast(baseline, run),
        _ratio("tokens", names, tokens, more_tokens),
        _ratio("cost_usd", names, _costs(first_usage), _costs(second_usage)),
    ]
    return [contrast for contrast in contrasts if contrast is not None]


def _failures(record: RunRecord) -> dict[str, float]:
    return _by_item(record, lambda item: None if item.status == "pending" else float(item.status == "failed"))


def _costs(usage: Mapping[str, TaskUsage]) -> dict[str, float]:
    return {item_id: one.cost for item_id, one in usage.items() if one.cost is not None}


def _by_item(record: RunRecord, measure: Callable[[ItemResult], float | None]) -> dict[str, float]:
    """One value per item: the mean over its repeats."""
    found = MeanByItem()
    for item in record.items:
        if (value := measure(item)) is not None:
            found.add(item.item_id, value)
    return found.means()


def _pairs(first: Mapping[str, float], second: Mapping[str, float]) -> list[tuple[float, float]]:
    return [(first[item_id], second[item_id]) for item_id in sorted(first.keys() & second.keys())]


def _error_contrast(names: tuple[str, str], first: Mapping[str, float], second: Mapping[str, float]) -> Contrast | None:
    result = compare_pairs(_pairs(first, second), 1.0)
    # Two runs without an error are not worth a line.
    if result is None or (result.first_mean == 0 and result.second_mean == 0):
        return None
    return Contrast(
        run=names[1],
        measure="error_rate",
        pairs=result.pairs,
        difference=result.delta,
        interval=result.interval,
        summary=f"{result.first_mean:.1%} of items failed in {names[0]!r}, {result.second_mean:.1%} in {names[1]!r}.",
    )


def _time_contrast(baseline: RunRecord, run: RunRecord) -> Contrast | None:
    first, second = (
        _by_item(record, lambda item: item.seconds if item.status == "succeeded" else None)
        for record in (baseline, run)
    )
    concurrency = concurrency_change(baseline, run)
    if concurrency is None:
        return _ratio("seconds", (baseline.run_name, run.run_name), first, second)
    pairs = len(first.keys() & second.keys())
    summary = f"Times are not compared: {concurrency}"
    return Contrast(run=run.run_name, measure="seconds", pairs=pairs, summary=summary) if pairs else None


def _ratio(
    measure: RatioMetric, names: tuple[str, str], first: Mapping[str, float], second: Mapping[str, float]
) -> Contrast | None:
    """Compare logarithms, since times and costs differ by factors and have long tails."""
    pairs = [(math.log(one), math.log(other)) for one, other in _pairs(first, second) if one > 0 and other > 0]
    result = compare_pairs(pairs, None)
    if result is None:
        return None
    ratio, logs = math.exp(result.delta), result.interval
    interval = Interval(math.exp(logs.low), math.exp(logs.high)) if logs else None
    verb, unit = _WORDS[measure]
    sure = f" (95% interval {_factor(interval.low)} to {_factor(interval.high)})" if interval else ""
    return Contrast(
        run=names[1],
        measure=measure,
        pairs=result.pairs,
        ratio=ratio,
        interval=interval,
        summary=f"Run {names[1]!r} {verb} {_factor(ratio)} times {unit} of {names[0]!r}{sure}, "
        f"as the geometric mean over {result.pairs} items.",
    )


def _factor(ratio: float) -> str:
    """Show a ratio, never as 0."""
    return f"{ratio:.2f}" if ratio >= MIN_TWO_DECIMAL_RATIO else f"{ratio:.1g}"
