"""Reports on compared runs: item by item, by a pairwise judge, or on held-out items."""

from collections.abc import Sequence
from dataclasses import replace

from lfexp_mcp.answers.comparison import (
    ChangeList,
    CheckOutcome,
    Comparison,
    ConfirmAnswer,
    Gate,
    PairsAnswer,
    ScoreComparison,
)
from lfexp_mcp.model import Interval
from lfexp_mcp.reports.charts import SHARES, TONES, Chart, Strip, axis_over, drawable, drawable_interval
from lfexp_mcp.reports.layout import (
    Block,
    Cell,
    MarkedLine,
    Report,
    Table,
    cell,
    change,
    charts,
    interval,
    more,
    number,
    probability,
    signed,
    strips_of_differences,
    table,
    warnings,
)


def comparison_report(answer: Comparison) -> Report:
    """Report on a comparison: verdicts, changed items, then what limits the comparison."""
    return Report(
        (
            f"Dataset {answer.dataset!r}, against baseline {answer.baseline!r}:",
            _verdicts(answer),
            *(f"Score {score.score} of run {score.run}: {why(score)}" for score in answer.scores if score.reason),
            *(
                f"Score {score.score} of run {score.run}: {score.corrected.summary}"
                for score in answer.scores
                if score.corrected is not None
            ),
            figures(answer),
            *(contrast.summary for contrast in answer.contrasts),
            *(block for changes in answer.changes if changes.items for block in _changes(changes, answer.pass_mark)),
            *((answer.notice,) if answer.changes else ()),
            *(MarkedLine("Warning" if finding.unfair else "Note", finding.message) for finding in answer.comparability),
            *(_gate(answer.gate) if answer.gate else ()),
            *warnings(answer.warnings),
            *charts(answer.page),
        ),
        answer.next,
        f"{', '.join(run.run for run in answer.runs if run.run != answer.baseline)} against {answer.baseline}",
        answer.backend,
    )


def why(score: ScoreComparison) -> str:
    """Say what a verdict rests on, and how many items would show more."""
    if score.items_needed is None or score.items_needed_for is None:
        return score.reason
    shows = number(abs(score.items_needed_for))
    return f"{score.reason} About {score.items_needed} items would show a difference of {shows}."


def _verdicts(answer: Comparison) -> Block:
    if not answer.scores:
        return "No score to compare."
    scores = answer.scores if len(answer.runs) == 2 else _ranked(answer.scores)
    rows = [
        (
            score.run,
            score.score,
            score.verdict,
            str(score.pairs),
            change(score.baseline_mean, score.mean),
            signed(score.delta),
            interval(score.interval, of_difference=True),
            probability(score.p_adjusted),
            f"{score.wins}/{score.losses}/{score.ties}",
        )
        for score in scores
    ]
    columns = ("run", "score", "verdict", "pairs", "paired mean", "delta", "interval", "p", "won/lost/tied")
    return Table(columns, rows, heading="Scores", chart=_deltas(scores))


def _ranked(scores: Sequence[ScoreComparison]) -> list[ScoreComparison]:
    """Put the runs in the order of their deltas, score by score, the best first; those without one come last."""
    names = list(dict.fromkeys(score.score for score in scores))

    def rank(score: ScoreComparison) -> tuple[int, bool, float]:
        delta = score.delta or 0.0
        return names.index(score.score), score.delta is None, delta if score.lower_is_better else -delta

    return sorted(scores, key=rank)


def _deltas(scores: Sequence[ScoreComparison]) -> Chart:
    strips = [
        replace(strip, band=drawable_interval(Interval(-score.margin, score.margin)))
        for strip, score in zip(strips_of_differences(scores, "Delta"), scores, strict=True)
    ]
    note = (
        "The point is the delta, the line its interval at the level of the verdict, and the mark behind them zero. "
        "Differences too small to matter are shaded. p and the verdict count all that was tried on these items."
    )
    return Chart("delta with its interval", strips, place=3, note=note)


def figures(answer: Comparison) -> Table:
    """Show each run as a whole."""
    rows = [
        (
            Cell(run.run + (" (baseline)" if run.run == answer.baseline else ""), link=run.url),
            f"{run.status}, replayed" if run.replayed else run.status,
            f"{run.succeeded}/{run.items}",
            str(run.failed),
            number(run.seconds_median),
            number(run.cost_usd),
        )
        for run in answer.runs
    ]
    return Table(("run", "status", "succeeded", "failed", "median s", "task USD"), rows, "Runs")


def _changes(changes: ChangeList, pass_mark: float) -> tuple[Block, ...]:
    rows = [
        (
            item.item_id,
            change(item.baseline_value, item.value),
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
    return (*table(columns, rows, title, _moves(changes, pass_mark)), *more(changes.next_cursor))


def _moves(changes: ChangeList, pass_mark: float) -> Chart | None:
    """Draw how the values of items changed; None for items without."""
    values = [value for item in changes.items for value in (item.baseline_value, item.value)]
    if all(value is None for value in values):
        return None
    axis = axis_over(values, within=SHARES)
    note = "From the baseline's value, the ring, to the run's."
    if axis is SHARES:
        note += f" The mark is at {number(pass_mark)}, from which an item passes."
    strips = [
        Strip(
            axis,
            f"Value {change(item.baseline_value, item.value)}.",
            TONES.get(changes.kind, "neutral"),
            value=drawable(item.value),
            before=drawable(item.baseline_value),
            reference=pass_mark if axis is SHARES else None,
        )
        for item in changes.items
    ]
    return Chart("change", strips, place=2, note=note)


def _gate(gate: Gate) -> tuple[Block, ...]:
    verdict = MarkedLine("Gate", f"{'passed' if gate.passed else 'FAILED'} ({len(gate.checks)} checks)")
    return (verdict, checks_table(gate))


def checks_table(gate: Gate) -> Table:
    """Show the conditions of a gate, those that do not hold first."""
    order: tuple[CheckOutcome, ...] = ("failed", "undecided", "passed")
    checks = sorted(gate.checks, key=lambda check: order.index(check.outcome))
    rows = [(check.outcome, check.expression, check.run, check.message) for check in checks]
    return Table(("check", "condition", "run", "found"), rows, heading="Conditions of the gate")


def pairs_report(answer: PairsAnswer) -> Report:
    """Report on a judging: the preference, what it rests on, and the judge's position bias."""
    lines = [
        f"Run {answer.run_b!r} against {answer.run_a!r} by {answer.judge}: {answer.status}"
        + (f", {answer.progress}" if answer.progress else ""),
        (
            f"Of its items, {answer.wins} won, {answer.losses} lost, {answer.ties} tied "
            f"({answer.inconsistent} inconsistent, {answer.identical} identical); {answer.unscored} without a verdict, "
            f"{answer.unpaired} unpaired."
        ),
    ]
    if answer.preference is not None and answer.interval is not None:
        lines.append(
            f"Preference for {answer.run_b!r}: {number(answer.preference)} "
            f"(95% {answer.interval.low:.3f} to {answer.interval.high:.3f}, p {number(answer.p)})"
            + (f": {answer.verdict}." if answer.verdict else ".")
        )
    if answer.asked:
        lines.append(
            f"Position bias: of {answer.asked} pairs, the output shown first won in both orders in "
            f"{answer.first_preferred}, the one shown second in {answer.second_preferred}."
        )
    if answer.score_name:
        lines.append(f"Stored in {answer.backend} as score {answer.score_name!r}.")
    return Report((*lines, *warnings(answer.warnings)), answer.next)


def confirmation_report(answer: ConfirmAnswer) -> Report:
    """Report on a confirmation: the verdict, how sure it is, and what was stated beforehand."""
    needed = "an unknown number" if answer.items_needed is None else answer.items_needed
    baseline, run = answer.code
    lines = [
        (
            f"Run {run!r} against {baseline!r} by {answer.score_name!r} on {answer.held_out} held-out items, look "
            f"{answer.look}: {answer.verdict or answer.status}"
        ),
        answer.reason,
        f"Planned: to show a difference of {answer.min_delta:g} takes {needed} items with power 0.8.",
        f"Code: {', '.join(f'{name!r} {version}' for name, version in answer.code.items())}.",
    ]
    if answer.delta is not None and answer.interval is not None:
        figures = f"{answer.delta:+.2f} ({answer.interval.low:+.2f} to {answer.interval.high:+.2f})"
        lines.insert(2, f"Difference, rounded: {figures}, adjusted p at most {number(answer.p_adjusted)}.")
    return Report((*lines, *warnings(answer.warnings)), answer.next)
