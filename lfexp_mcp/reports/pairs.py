"""Report on runs compared by a pairwise judge."""

from lfexp_mcp.answers.pairs import PairsAnswer
from lfexp_mcp.reports.layout import Report, number, warnings


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
