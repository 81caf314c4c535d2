"""Report on compared runs."""

from lfexp_mcp.answers.comparison import ChangeList, CheckOutcome, Comparison, Gate, ScoreComparison
from lfexp_mcp.model import Interval
from lfexp_mcp.reports.layout import Block, MarkedLine, Report, Table, cell, more, number, table, warnings


def comparison_report(answer: Comparison) -> Report:
    """Report on a comparison: verdicts, changed items, then what limits the comparison."""
    return Report(
        (
            f"Dataset {answer.dataset!r}, against baseline {answer.baseline!r}:",
            _verdicts(answer.scores),
            *(f"Score {score.score} of run {score.run}: {why(score)}" for score in answer.scores if score.reason),
            *(
                f"Score {score.score} of run {score.run}: {score.corrected.summary}"
                for score in answer.scores
                if score.corrected is not None
            ),
            _figures(answer),
            *(contrast.summary for contrast in answer.contrasts),
            *(block for changes in answer.changes if changes.items for block in _changes(changes)),
            *((answer.notice,) if answer.changes else ()),
            *(MarkedLine("Warning" if finding.unfair else "Note", finding.message) for finding in answer.comparability),
            *(_gate(answer.gate) if answer.gate else ()),
            *warnings(answer.warnings),
        ),
        answer.next,
    )


def why(score: ScoreComparison) -> str:
    """Say what a verdict rests on, and how many items would show more."""
    if score.items_needed is None or score.items_needed_for is None:
        return score.reason
    shows = number(abs(score.items_needed_for))
    return f"{score.reason} About {score.items_needed} items would show a difference of {shows}."


def _verdicts(scores: list[ScoreComparison]) -> Block:
    if not scores:
        return "No score to compare."
    rows = [
        (
            score.run,
            score.score,
            score.verdict,
            str(score.pairs),
            f"{number(score.baseline_mean)} -> {number(score.mean)}",
            _signed(score.delta),
            _interval(score.interval),
            _probability(score.p_adjusted),
            f"{score.wins}/{score.losses}/{score.ties}",
        )
        for score in scores
    ]
    return Table(("run", "score", "verdict", "pairs", "paired mean", "delta", "interval", "p", "won/lost/tied"), rows)


def _figures(answer: Comparison) -> Table:
    rows = [
        (
            run.run + (" (baseline)" if run.run == answer.baseline else ""),
            f"{run.status}, replayed" if run.replayed else run.status,
            f"{run.succeeded}/{run.items}",
            str(run.failed),
            number(run.seconds_median),
            number(run.cost_usd),
        )
        for run in answer.runs
    ]
    return Table(("run", "status", "succeeded", "failed", "median s", "task USD"), rows, "Runs:")


def _changes(changes: ChangeList) -> tuple[Block, ...]:
    rows = [
        (
            item.item_id,
            f"{number(item.baseline_value)} -> {number(item.value)}",
            cell(item.input, 40),
            cell(item.baseline_output, 30),
            cell(item.output, 30),
            cell(item.reason, 60),
        )
        for item in changes.items
    ]
    score = f", {changes.score}" if changes.score else ""
    title = f"{changes.kind.capitalize()}{score} in {changes.run}: {changes.total}, of which {len(rows)} shown"
    columns = ("item", "value", "input", "baseline output", "output", "reason")
    return (*table(columns, rows, title), *more(changes.next_cursor))


def _gate(gate: Gate) -> tuple[Block, ...]:
    order: tuple[CheckOutcome, ...] = ("failed", "undecided", "passed")
    checks = sorted(gate.checks, key=lambda check: order.index(check.outcome))
    rows = [(check.outcome, check.expression, check.run, check.message) for check in checks]
    verdict = MarkedLine("Gate", f"{'passed' if gate.passed else 'FAILED'} ({len(checks)} checks)")
    return (verdict, *table(("check", "condition", "run", "found"), rows))


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _interval(value: Interval | None) -> str:
    return "" if value is None else f"[{value.low:+.3f}, {value.high:+.3f}]"


def _probability(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if value >= 1e-4 else "<0.0001"
