"""Warnings about a run's scores: missing ones, mixed makers, and values that contradict their scale."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lfexp_mcp.model import RunRecord, Score, scaled_label
from lfexp_mcp.scores.interpretation import OBSERVED, ScoreInterpretation

MIN_CONTRADICTING = 3
"""Values that are enough to doubt a declared scale."""
MAX_REASON_CHARS = 200
NOTHING_SCORES = "Nothing scores this run: it has neither judges nor evaluators."
SCORED_BY_RESUME = (
    "A resume with `judges`, `evaluators` or `evaluator_script` scores these results without running the task."
)
MAX_NAMES = 5
"""Scores whose failures are listed one by one."""


def score_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Return all warnings that a reader of a run's scores needs, beside those of its record.

    Args:
        interpretations: How its scores are read, see `interpret_scores`.
    """
    return [
        *maker_warnings(record, interpretations),
        *scale_warnings(record, interpretations),
        *gap_warnings(record, interpretations),
    ]


def maker_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Warn about scores whose makers cannot be pooled, and about scores of other makers that were left out."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in interpretations}
    others: dict[str, Counter[str]] = {name: Counter() for name in interpretations}
    for item in record.items:
        for score in item.bare_scores:
            if score.maker.origin != "human":
                how = interpretations[score.name]
                label = scaled_label(score.maker) if how.mixed else score.maker.label
                (counted if how.counts(score) else others)[score.name][label] += 1
    mixed = (
        f"{name!r} has no single maker, and so no single mean: {_listed(counted[name])}."
        for name, how in interpretations.items()
        if how.mixed
    )
    left_out = (
        f"Left out as another score than the run's own {name!r}: {_listed(found)}."
        for name, found in others.items()
        if found
    )
    return [*mixed, *left_out]


def _listed(counts: Counter[str]) -> str:
    return "; ".join(f"{count} {label}" for label, count in counts.most_common())


def scale_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Warn about scores whose values contradict their scale."""
    scores: dict[str, list[Score]] = {name: [] for name in interpretations}
    for item in record.items:
        for score in item.bare_scores:
            if interpretations[score.name].counts(score):
                scores[score.name].append(score)
    found = (_scale_warning(how, scores[name]) for name, how in interpretations.items())
    cut = (_cut_warning(how, scores[name]) for name, how in interpretations.items() if how.prompt is not None)
    return [warning for warning in (*found, *cut) if warning is not None]


def _cut_warning(how: ScoreInterpretation, scores: Sequence[Score]) -> str | None:
    """Warn about a judge that saw traces in part; known where the scores come with their metadata."""
    cut = sum("trace_cut" in score.metadata for score in scores)
    if not cut:
        return None
    return (
        f"{how.name!r}: {cut} of {len(scores)} were judged on a cut trace. Raise `trace_budget` in the config of "
        f"prompt {how.prompt!r}; `trace_cut` in a score's metadata says what was shown."
    )


def _scale_warning(how: ScoreInterpretation, scores: Sequence[Score]) -> str | None:
    raws = [raw for score in scores if (raw := how.raw(score)) is not None]
    likely = _likely_high(raws)
    if how.unit is not None:
        return None
    if how.problem is not None:
        effect = "reported as they are" if how.own_unit else "reported as they are, not compared"
        return f"{how.name!r}: {how.problem}, so its values are {effect} and kept out of gates. {_fix(how, likely)}"
    if how.scale_source == OBSERVED:
        return f"Most values of {how.name!r} lie above 1, so all are read as 0-10. {_declare(how)} to be sure."
    if how.data_type != "NUMERIC" or how.scale is None or not how.stored_canonical:
        return None
    if len(scores) < MIN_CONTRADICTING or likely is None or not how.scale.low < likely < how.scale.high:
        return None
    # A run without harm on 0-10 has zeros and ones.
    if how.scale.lower_is_better and all(float(raw).is_integer() for raw in raws):
        return None
    return (
        f"All {len(scores)} values of {how.name!r} lie between 0 and {likely}, although its scale is "
        f"{how.scale.name} ({how.scale_source}). {_fix(how, likely)}"
    )


def _likely_high(raws: Sequence[float]) -> int | None:
    """Return the end of the narrowest usual scale that contains all values; None if none does, or all are 0."""
    if not raws or min(raws) < 0 or max(raws) == 0:
        return None
    return next((high for high in (1, 10, 100) if max(raws) <= high), None)


def _declare(how: ScoreInterpretation) -> str:
    if how.origin == "run":
        return "Declare its scale with `@evaluator(scale=...)`, in the evaluation's metadata, or in a score config"
    return f"Set the minimum and maximum in a score config named {how.name!r}"


def _fix(how: ScoreInterpretation, high: int | None) -> str:
    if how.prompt is None:
        return f"{_declare(how)}."
    if high is None:
        return f"Declare the scale that the judge uses as `scale` in the config of prompt {how.prompt!r}."
    return f'If the judge answers 0-{high}, put {{"scale": "0-{high}"}} into the config of prompt {how.prompt!r}.'


def nothing_scores(record: RunRecord) -> bool:
    """Whether a run has results and nothing that scores them, not even something that failed."""
    ended = any(item.status != "pending" for item in record.items)
    scored = any(item.bare_scores or item.unscored for item in record.items) or bool(record.run_scores)
    return ended and not scored and not (record.provenance and record.provenance.evaluators)


def gap_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[str]:
    """Warn about missing scores, and about zeros that mean nothing."""
    if nothing_scores(record):
        can_resume = record.status != "running" and not record.is_dry
        return [f"{NOTHING_SCORES} {SCORED_BY_RESUME}" if can_resume else NOTHING_SCORES]
    return [*_failure_warnings(record), *_zero_warnings(record, interpretations)]


def _failure_warnings(record: RunRecord) -> Iterator[str]:
    reasons: dict[str, Counter[str]] = {}
    for item in record.items:
        for missing in item.unscored:
            if missing.name not in record.older_scores:
                reasons.setdefault(missing.name, Counter())[missing.error] += 1
    for name, errors in sorted(reasons.items(), key=lambda entry: -entry[1].total())[:MAX_NAMES]:
        ((reason, count),) = errors.most_common(1)
        shown = reason.rstrip(".") if len(reason) <= MAX_REASON_CHARS else f"{reason[:MAX_REASON_CHARS]}…"
        judged = record.plan is not None and name in record.plan.scores
        call = "the same score_run call" if record.scoring is not None and not judged else "a resume"
        advice = "" if record.is_dry else f" Once that is fixed, {call} scores them without running the task."
        yield (
            f"{errors.total()} of {len(record.items)} results were not scored by {name!r}; they are not counted as "
            f"zero. Most common reason ({count}): {shown}.{advice}"
        )


def _zero_warnings(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> Iterator[str]:
    if any(item.expected_output not in (None, "") for item in record.items):
        return
    zero = [name for name, how in interpretations.items() if _all_zero(record, how)]
    if zero:
        live = any("production_output" in item.metadata for item in record.items)
        production = " What production answered is in their metadata, as `production_output`." if live else ""
        yield (
            f"{', '.join(map(repr, zero))} {'is' if len(zero) == 1 else 'are'} always 0, and no item has an "
            f"expected_output: an evaluator that compares with it gives 0 whatever the output.{production}"
        )


def _all_zero(record: RunRecord, how: ScoreInterpretation) -> bool:
    # Where lower is better, or the numbers are in a unit, 0 is nothing odd.
    if (
        how.origin not in {"run", "api"}
        or how.unit is not None
        or (how.scale is not None and how.scale.lower_is_better)
    ):
        return False
    values = {score.value for item in record.items for score in item.bare_scores if how.counts(score)}
    return values == {0}
