"""What an answer says of all results of a run together, which takes several passes over them."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from lfexp_mcp.answers.run import ItemError, RepeatedScore, ScoreSummary
from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import UnreadError
from lfexp_mcp.model import LOWER_IS_BETTER, EvaluatorInfo, JudgeMaker, RunRecord, Scale, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.scores.warnings import score_warnings
from lfexp_mcp.services.next_steps import run_step
from lfexp_mcp.services.run_cache import RunSummary
from lfexp_mcp.services.runs.local_runs import in_thread
from lfexp_mcp.services.runs.scored_run import configured_scales, interpret_run
from lfexp_mcp.services.workspace import Workspace

MAX_ERRORS = 5
MAX_ERROR_CHARS = 300


async def summarise_in_time(ws: Workspace, record: RunRecord, until: float) -> RunSummary:
    """Summarise a run, or return its last summary if there is not time enough for a new one.

    Args:
        until: When to give up, on anyio's clock.

    Returns:
        The summary, from memory if the results are the same. A warning tells that it is an earlier one.

    Raises:
        UnreadError: There was no time, and there is no earlier summary.
    """
    scales = await configured_scales(ws, record.bare_scores)
    kept = ws.run_cache.summaries
    run_id = record.experiment_ids[0]
    summary = await in_thread(lambda: kept.get(run_id, record, scales, lambda: summarise(record, scales)), until)
    if summary is not None:
        return summary
    earlier = kept.last(run_id)
    if earlier is None:
        raise UnreadError(
            f"Run {record.run_name!r} is read, and the time of this call was too short to summarise its "
            f"{record.total_items} results. The next call finds the summary.",
            next=[run_step("get_run", record.dataset, record.run_name, "Look again.", wait_seconds=45)],
        )
    seconds = (CLOCK.now() - earlier.made).total_seconds()
    old = f"Counts and scores are those of {seconds:.0f} s ago: this call had no time to read all results again."
    return replace(earlier, warnings=[old, *earlier.warnings])


def summarise(record: RunRecord, scales: Mapping[str, Scale]) -> RunSummary:
    """Summarise a run.

    Args:
        scales: Those that score configs state, by name.
    """
    run = interpret_run(record, scales)
    return RunSummary(
        made=CLOCK.now(),
        interpretations=run.interpretations,
        humans=run.humans,
        counts=Counter(item.status for item in record.items),
        scores=summarise_scores(record, run.interpretations),
        repeated_scores=summarise_repeats(record, run.interpretations),
        evaluators=_evaluators(record),
        errors=_errors(record),
        warnings=score_warnings(record, run.interpretations),
    )


def _errors(record: RunRecord) -> list[ItemError]:
    """The first errors: of failed tasks, then of evaluators and judges."""
    errors = [(item.item_id, item.error) for item in record.items if item.error]
    errors += [(item.item_id, f"{lost.name}: {lost.error}") for item in record.items for lost in item.unscored]
    return [
        ItemError(
            item_id=item_id,
            error=text if len(text) <= MAX_ERROR_CHARS else f"{text[:MAX_ERROR_CHARS]}… ({len(text)} characters)",
        )
        for item_id, text in errors[:MAX_ERRORS]
    ]


def _evaluators(record: RunRecord) -> list[str]:
    """The evaluators that the newest worker recorded, and the judges that scored earlier; none for runs of others."""
    found = record.provenance.evaluators if record.provenance else ()
    known = {(info.name, info.version, info.model) for info in found}
    judges = dict.fromkeys(score.maker for score in record.bare_scores if isinstance(score.maker, JudgeMaker))
    earlier = (judge for judge in judges if (judge.prompt, judge.version, judge.model) not in known)
    return [info.label for info in (*found, *map(EvaluatorInfo.of_judge, earlier))]


MAX_FLIPS_SHOWN = 10


def summarise_scores(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[ScoreSummary]:
    """Summarise each score of a run, in one pass over its items.

    Args:
        interpretations: How its scores are read, see `interpret_scores`.

    Returns:
        One summary per score name, in alphabetical order. Means are over the scored items; failures are counted
        beside them.
    """
    scores: dict[str, list[Score]] = {name: [] for name in interpretations}
    unscored: Counter[str] = Counter()
    for item in record.items:
        unscored.update(failure.name for failure in item.unscored)
        for score in item.bare_scores:
            scores[score.name].append(score)
    summaries = [_summary(interpretations[name], scores[name], unscored[name]) for name in interpretations]
    summaries += [
        ScoreSummary(name=name, display=f"not scored ({failed} failed)", count=0, unscored=failed)
        for name, failed in unscored.items()
        if name not in interpretations
    ]
    return sorted(summaries, key=lambda summary: summary.name)


def _summary(how: ScoreInterpretation, given: Sequence[Score], unscored: int) -> ScoreSummary:
    scores = [score for score in given if how.counts(score)]
    shares = _shares(how, given)
    numbers = _numbers(how, scores)
    mean = None if how.mixed or (how.problem and how.scale) else _mean(numbers)
    labelled = how.data_type in {"CATEGORICAL", "TEXT"}
    counts = Counter(str(score.value) for score in scores) if how.data_type == "CATEGORICAL" else None
    return ScoreSummary(
        name=how.name,
        mean=mean,
        display=_display_mixed(shares) if how.mixed else _display(how, scores, numbers, mean, counts),
        count=len(scores),
        unscored=unscored,
        min=min(numbers, default=None),
        max=max(numbers, default=None),
        scale=how.scale.name if how.scale and not labelled else None,
        scale_source=how.scale_source,
        clamped=sum(score.clamped for score in scores),
        categories=dict(counts.most_common()) if counts is not None else {},
        makers=[str(share) for share in shares] if len(shares) > 1 else [],
    )


@dataclass(frozen=True, slots=True)
class _Share:
    """The scores of one name from one maker."""

    maker: str
    count: int
    mean: float | None
    counted: bool

    def __str__(self) -> str:
        mean = f" with mean {self.mean:.2f}" if self.mean is not None else ""
        return f"{self.count} by {self.maker}{mean}{'' if self.counted else ' (left out)'}"


def _shares(how: ScoreInterpretation, scores: Sequence[Score]) -> list[_Share]:
    """Return each maker's share of a score, those that count first; all humans together are one."""
    by_maker: dict[str, list[Score]] = {}
    for score in scores:
        by_maker.setdefault(score.maker.label, []).append(score)
    shares = [
        _Share(
            maker=label,
            count=len(found),
            mean=_mean(_numbers(how, found)) if how.counts(found[0]) and how.is_canonical else None,
            counted=how.counts(found[0]),
        )
        for label, found in by_maker.items()
    ]
    return sorted(shares, key=lambda share: (not share.counted, -share.count, share.maker))


def _display_mixed(shares: Sequence[_Share]) -> str:
    """Show the mean of each maker, since they cannot be pooled."""
    counted = [share for share in shares if share.counted]
    means = (f"{share.mean:.2f}" if share.mean is not None else "no mean" for share in counted)
    listed = "; ".join(f"{mean} by {share.maker} on {share.count}" for mean, share in zip(means, counted, strict=True))
    return f"no single mean: {listed}"


def _mean(numbers: Sequence[float]) -> float | None:
    return math.fsum(numbers) / len(numbers) if numbers else None


def _numbers(how: ScoreInterpretation, scores: Sequence[Score]) -> Sequence[float]:
    """Return the canonical values, or the raw ones if the numbers fit no scale."""
    read = how.canonical if how.problem is None else how.raw
    return array("d", (value for score in scores if (value := read(score)) is not None))


def _display(
    how: ScoreInterpretation,
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
    if how.scale is not None and how.problem is not None:
        return f"no mean ({min(numbers):g} to {max(numbers):g}, beyond {how.scale.name})"
    if mean is None:
        return f"{len(scores)} texts"
    if how.data_type == "BOOLEAN":
        true = sum(score.value is True for score in scores)
        good = "true, lower is better" if how.scale and how.scale.lower_is_better else ""
        return f"{mean:.0%} ({true} of {len(scores)}{f' {good}' if good else ''})"
    if how.unit is not None:
        return f"{mean:.4g} {how.unit}" + (LOWER_IS_BETTER if how.lower_is_better else "")
    return f"{mean:g} (no scale)" if how.scale is None else how.scale.display(mean)


def summarise_repeats(record: RunRecord, interpretations: Mapping[str, ScoreInterpretation]) -> list[RepeatedScore]:
    """Summarise how the scores of a run vary over its repeats.

    A failed result does not pass. pass@k is the chance that at least one of k results passes, pass^k that all do. With
    k repeats, the unbiased estimator of pass@k (Chen et al. 2021, arXiv 2107.03374, section 2.1) is the share of items
    with a passing result.

    Args:
        interpretations: How its scores are read, see `interpret_scores`.

    Returns:
        One entry per score with canonical values, in alphabetical order; empty for a run without repeats.
    """
    if len(record.experiment_ids) < 2:
        return []
    values: dict[str, dict[str, list[float]]] = {name: {} for name in interpretations}
    failed: dict[str, int] = {}
    for item in record.items:
        failed[item.item_id] = failed.get(item.item_id, 0) + (item.status == "failed")
        for score in item.bare_scores:
            how = interpretations[score.name]
            value = how.canonical(score) if how.counts(score) else None
            if value is not None:
                values[score.name].setdefault(item.item_id, []).append(value)
    return [_repeated(name, by_item, failed, len(record.experiment_ids)) for name, by_item in values.items() if by_item]


def _repeated(name: str, by_item: dict[str, list[float]], failed: dict[str, int], repeats: int) -> RepeatedScore:
    passes = {
        item_id: [is_pass(value) for value in by_item.get(item_id, [])] + [False] * failures
        for item_id, failures in failed.items()
        if item_id in by_item or failures
    }
    complete = [results for results in passes.values() if len(results) == repeats]
    flips = sorted(item_id for item_id, results in passes.items() if len(set(results)) > 1)
    return RepeatedScore(
        name=name,
        items=len(complete),
        pass_at_1=_mean([fmean(results) for results in complete]),
        pass_at_k=_mean([any(results) for results in complete]),
        pass_all_k=_mean([all(results) for results in complete]),
        spread=_mean([stdev(values) for values in by_item.values() if len(values) > 1]),
        flips=len(flips),
        flipping_items=flips[:MAX_FLIPS_SHOWN],
    )
