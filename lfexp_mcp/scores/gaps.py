"""Warn of what a run's scores cannot tell: that there are none, that some are missing, that zeros mean nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping

from lfexp_mcp.model import ItemResult, RunRecord
from lfexp_mcp.scores.interpretation import ScoreInterpretation

REASON_LENGTH = 200
MOST_NAMES = 5
"""Scores whose gaps are told one by one."""


def nothing_scores(record: RunRecord) -> bool:
    """Tell whether a run has results and no scorer at all, be it one that failed."""
    ended = any(item.status != "pending" for item in record.items)
    scored = any(item.scores or item.unscored for item in record.items) or bool(record.run_scores)
    return ended and not scored and not (record.provenance and record.provenance.evaluators)


def gap_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Say what the scores of a run cannot tell.

    Args:
        record: The run.
        interpretations: How its scores are read, see `interpret_scores`.

    Returns:
        One sentence or two per finding; empty when there is nothing to say.
    """
    if nothing_scores(record):
        nothing = "Nothing scores this run: it has neither judges nor an evaluator script."
        return [
            f"{nothing} A resume with `judges` or `evaluator_script` scores these results without running the task."
        ]
    return [*_unscored(record), *_without_expectation(record, interpretations)]


def _unscored(record: RunRecord) -> Iterator[str]:
    reasons: dict[str, Counter[str]] = {}
    for item in record.items:
        for missing in item.unscored:
            reasons.setdefault(missing.name, Counter())[missing.error] += 1
    for name, errors in sorted(reasons.items(), key=lambda entry: -entry[1].total())[:MOST_NAMES]:
        ((reason, count),) = errors.most_common(1)
        shown = reason.rstrip(".") if len(reason) <= REASON_LENGTH else f"{reason[:REASON_LENGTH]}…"
        judged = record.plan is not None and name in record.plan.scores
        judge = ", asking a new version of the judge if `judges` names it" if judged else ""
        yield (
            f"{errors.total()} of {len(record.items)} results were not scored by {name!r}, which is not a zero; "
            f"the most common reason, of {count}: {shown}. Once that is fixed, a resume scores them without running "
            f"the task{judge}."
        )


def _without_expectation(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> Iterator[str]:
    if any(item.expected_output not in (None, "") for item in record.items):
        return
    zero = [name for name, reading in interpretations.items() if _all_zero(record.items, reading)]
    if not zero:
        return
    live = any("production_output" in item.metadata for item in record.items)
    production = " What production answered is in their metadata, as `production_output`." if live else ""
    yield (
        f"{', '.join(map(repr, zero))} {'is' if len(zero) == 1 else 'are'} 0 throughout, and no item has an "
        f"expected_output: an evaluator that compares with it gives 0 whatever the output.{production}"
    )


def _all_zero(items: tuple[ItemResult, ...], reading: ScoreInterpretation) -> bool:
    if reading.origin not in {"run", "api"} or (reading.scale is not None and reading.scale.lower_is_better):
        return False
    values = [score.value for item in items for score in item.scores if reading.counts(score)]
    return bool(values) and all(not isinstance(value, str) and value == 0 for value in values)
