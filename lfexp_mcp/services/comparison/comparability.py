"""Whether two runs can be compared fairly: what differs between them besides the task."""

from collections.abc import Collection, Iterator

from lfexp_mcp.answers.comparison import ComparabilityIssue, IssueKind
from lfexp_mcp.model import (
    BuiltInMaker,
    FileVersion,
    JudgeMaker,
    Provenance,
    RecordedLimits,
    RunRecord,
    ScriptMaker,
    are_mixed,
    param_changes,
    scaled_label,
)
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.comparison.missing_data import MissingReason, count_reasons
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.comparison.stopping import stopped_part
from lfexp_mcp.services.runs.scored_run import ScoredRun

MAX_SHOWN_CHARS = 40
SHOWN_HASH_CHARS = 12

_REASONS: dict[MissingReason, str] = {
    "failed": "failed in the other",
    "pending": "not run in the other",
    "unscored": "not scored in the other, as its evaluator or judge failed",
    "left out": "given no value in the other",
}


def find_issues(pair: RunPair) -> list[ComparabilityIssue]:
    """List what differs between two runs besides the task, and which scores it makes unfair to compare."""
    found = [*_items(pair), *_statuses(pair), *_settings(pair)]
    for score in sorted(pair.baseline.interpretations.keys() & pair.run.interpretations.keys()):
        found += _score(pair, score)
    return [*found, *_unpaired(pair)]


def concurrency_change(baseline: RunRecord, run: RunRecord) -> str | None:
    """Describe a difference in concurrency; None if there is none, or it is not known."""
    first, second = (_limits(record.provenance).max_concurrency for record in (baseline, run))
    if first is None or second is None or first == second:
        return None
    return f"max_concurrency was {first} in {baseline.run_name!r} and {second} in {run.run_name!r}."


def script_change(pair: RunPair, score: str) -> str | None:
    """Describe a change of the script that gives a score; None if there is none.

    It does not make the comparison unfair, since most edits of a script leave its scores as they were.
    """
    first, second = _script_hashes(pair.baseline, score), _script_hashes(pair.run, score)
    if not first or not second or first == second:
        return None
    return (
        f"Its evaluator script differs between the runs ({' and '.join(first)}; {' and '.join(second)}), "
        "which may account for part of the difference."
    )


def _script_hashes(values: ScoredRun, score: str) -> list[str]:
    interpretation = values.interpretations.get(score)
    makers = interpretation.makers if interpretation is not None else ()
    hashes = {maker.sha256 for maker in makers if isinstance(maker, ScriptMaker) and maker.sha256}
    return sorted(digest[:SHOWN_HASH_CHARS] for digest in hashes)


def _issue(
    pair: RunPair, kind: IssueKind, message: str, *, unfair: bool = False, score: str | None = None
) -> ComparabilityIssue:
    return ComparabilityIssue(kind=kind, unfair=unfair, run=pair.run.name, score=score, message=message)


def _items(pair: RunPair) -> Iterator[ComparabilityIssue]:
    yield from _parts(pair)
    both = pair.before.keys() & pair.after.keys()
    only_before, only_after = len(pair.before) - len(both), len(pair.after) - len(both)
    if only_before or only_after:
        message = (
            f"{only_before} items are in {pair.baseline.name!r} only and {only_after} in {pair.run.name!r} only; "
            f"the {len(both)} that both have are compared."
        )
        yield _issue(pair, "items", message, unfair=not both)
    if pair.changed_ids:
        listed = ", ".join(pair.changed_ids[:3]) + (", ..." if len(pair.changed_ids) > 3 else "")
        message = (
            f"{len(pair.changed_ids)} items changed their input or expected output between the runs and are not "
            f"compared: {listed}."
        )
        yield _issue(pair, "content", message, unfair=not pair.item_ids)


def _parts(pair: RunPair) -> Iterator[ComparabilityIssue]:
    """Runs over a part of the dataset; a part that was chosen by the other run's results is unfair to it."""
    for mine, other in ((pair.run, pair.baseline), (pair.baseline, pair.run)):
        plan = mine.record.plan
        if plan is None or plan.part is None:
            continue
        message = f"Run {mine.name!r} is about a part of the dataset, {plan.part_shown}."
        selected = plan.part.choice.run == other.name
        if selected:
            message += (
                f" {other.name!r} is low on them because they were chosen so, and any other run does better there: "
                "run both over a part that was chosen otherwise."
            )
        yield _issue(pair, "part", message, unfair=selected)


def _statuses(pair: RunPair) -> Iterator[ComparabilityIssue]:
    for values in (pair.baseline, pair.run):
        if values.record.status != "completed":
            message = f"Run {values.name!r} is {values.record.status}: missing results may change the comparison."
            if part := stopped_part(values.record):
                message = f"Run {values.name!r} is a part, {part}: what it shows is of these alone."
            yield _issue(pair, "status", message)


def _settings(pair: RunPair) -> Iterator[ComparabilityIssue]:
    first, second = pair.baseline.record.provenance, pair.run.record.provenance
    if first is None or second is None:
        return
    if changes := param_changes(first.params or {}, second.params or {}):
        yield _issue(pair, "params", f"Parameters, {pair.baseline.name!r} -> {pair.run.name!r}: {', '.join(changes)}.")
    compared: tuple[tuple[IssueKind, str, str | float | None, str | float | None], ...] = (
        ("dataset version", "dataset version", first.dataset_version, second.dataset_version),
        ("time-out", "time-out per item", _limits(first).item_timeout, _limits(second).item_timeout),
        ("evaluator script", "evaluator script", _script_hash(first), _script_hash(second)),
    )
    for kind, what, before, after in compared:
        if before != after:
            message = (
                f"The {what} differs: {_shown(before)} in {pair.baseline.name!r}, {_shown(after)} in {pair.run.name!r}."
            )
            yield _issue(pair, kind, message)
    if first.replayed or second.replayed:
        yield _replay(pair, first.replayed, second.replayed)
    concurrency = concurrency_change(pair.baseline.record, pair.run.record)
    if concurrency is not None and not (first.replayed or second.replayed):
        yield _issue(pair, "concurrency", f"{concurrency} Concurrency affects latency, so times are not compared.")


def _replay(pair: RunPair, first: FileVersion | None, second: FileVersion | None) -> ComparabilityIssue:
    if first is not None and second is not None:
        message = "Both runs were answered from recorded replies: they show what the code makes of these, and no model."
        if first.sha256 != second.sha256:
            message += f" The recordings differ: {first.file!r} and {second.file!r}."
        return _issue(pair, "replay", message)
    replay, other = (pair.run, pair.baseline) if second is not None else (pair.baseline, pair.run)
    message = (
        f"Run {replay.name!r} was answered from recorded replies and {other.name!r} was not, so that they differ in "
        "more than the code. Replay both, or measure both."
    )
    return _issue(pair, "replay", message, unfair=True)


def _limits(provenance: Provenance | None) -> RecordedLimits:
    return (provenance and provenance.limits) or RecordedLimits()


def _script_hash(provenance: Provenance) -> str | None:
    digest = provenance.evaluator_script.sha256 if provenance.evaluator_script else None
    return digest and digest[:SHOWN_HASH_CHARS]


def _score(pair: RunPair, score: str) -> Iterator[ComparabilityIssue]:
    runs = (pair.baseline, pair.run)
    first, second = (values.interpretations[score] for values in runs)
    made = [_made_in(values, score) for values in runs]
    if first.origin != second.origin:
        # A script may have sent what an evaluator gave in the other run; a judge's scores are nobody else's.
        unfair = not {first.origin, second.origin} <= {"run", "api"} or any(map(_judge_of, (first, second)))
        message = f"{score!r} is not from the same source: {made[0]}, {made[1]}."
        yield _issue(pair, "source", message, unfair=unfair, score=score)
    for interpretation, makers in zip((first, second), made, strict=True):
        if interpretation.mixed:
            message = f"{score!r} has several makers, whose values cannot be pooled: {makers}."
            yield _issue(pair, "judge", message, unfair=True, score=score)
    if not first.mixed and not second.mixed:
        yield from _scales(pair, score)
        yield from _judges(pair, score, _judge_of(first), _judge_of(second))
        together = (*first.makers, *second.makers)
        if any(isinstance(maker, BuiltInMaker) for maker in together) and are_mixed(together):
            message = f"{score!r} is by {made[0]}, {made[1]}. Score both with the same evaluator to compare them."
            yield _issue(pair, "evaluator script", message, unfair=True, score=score)
        is_time = any(isinstance(maker, BuiltInMaker) and maker.evaluator == "latency" for maker in together)
        if is_time and (concurrency := concurrency_change(pair.baseline.record, pair.run.record)) is not None:
            yield _issue(pair, "concurrency", f"{score!r} is not compared: {concurrency}", unfair=True, score=score)


def _made_in(values: ScoredRun, score: str) -> str:
    interpretation = values.interpretations[score]
    labels = dict.fromkeys(
        scaled_label(maker) if interpretation.mixed else maker.label for maker in interpretation.makers
    )
    return f"{' and '.join(labels)} in {values.name!r}"


def _judge_of(interpretation: ScoreInterpretation) -> JudgeMaker | None:
    return next((maker for maker in interpretation.makers if isinstance(maker, JudgeMaker)), None)


def _scales(pair: RunPair, score: str) -> Iterator[ComparabilityIssue]:
    """Values without a known scale, or on two scales; two declared scales are compared on the canonical 0-1."""
    runs = (pair.baseline, pair.run)
    first, second = (values.interpretations[score] for values in runs)
    if first.own_unit and second.own_unit and first.unit == second.unit:
        return
    problems = [
        f"in {values.name!r} {problem}" for values in runs if (problem := values.interpretations[score].problem)
    ]
    if problems:
        yield _issue(pair, "scale", f"{score!r}: {'; '.join(problems)}.", unfair=True, score=score)
    elif first.scale and second.scale and first.scale.name != second.scale.name:
        scales = [
            f"{one.scale.name if one.scale else 'no scale'} in {values.name!r} ({one.scale_source or 'its data type'})"
            for values, one in zip(runs, (first, second), strict=True)
        ]
        declared = first.is_declared and second.is_declared
        advice = (
            ": both are compared on the canonical 0-1."
            if declared
            else ". Declare its scale in the judge or evaluator, and score both runs with it."
        )
        message = f"{score!r} was scored on {scales[0]} and on {scales[1]}{advice}"
        yield _issue(pair, "scale", message, unfair=not declared, score=score)


def _judges(
    pair: RunPair, score: str, first: JudgeMaker | None, second: JudgeMaker | None
) -> Iterator[ComparabilityIssue]:
    if first is None or second is None:
        return
    compared = {
        "name": (first.prompt, second.prompt),
        "version": (first.version, second.version),
        "provider": (first.provider, second.provider),
        "model": (first.model, second.model),
    }
    differing = [
        f"{what} {_shown(before)} and {_shown(after)}"
        for what, (before, after) in compared.items()
        if before is not None and after is not None and before != after
    ]
    if differing:
        message = (
            f"{score!r} was judged differently in {pair.baseline.name!r} and {pair.run.name!r}: "
            f"{'; '.join(differing)}. Score both with the same judge to compare them."
        )
        yield _issue(pair, "judge", message, unfair=True, score=score)


def _unpaired(pair: RunPair) -> Iterator[ComparabilityIssue]:
    """Scores with values in one run only; scores with the same message share an issue."""
    by_message: dict[str, list[str]] = {}
    for score in sorted(pair.baseline.interpretations.keys() & pair.run.interpretations.keys()):
        before, after = (
            values.numbers.get(score, {}).keys() & set(pair.item_ids) for values in (pair.baseline, pair.run)
        )
        sides = (
            _one_sided(pair.baseline, pair.run, score, before - after),
            _one_sided(pair.run, pair.baseline, score, after - before),
        )
        if any(sides):
            by_message.setdefault(" and ".join(filter(None, sides)), []).append(score)
    for message, scores in by_message.items():
        names = ", ".join(map(repr, scores))
        text = f"{names}: of the shared items, {message}; these are not compared."
        yield _issue(pair, "unpaired scores", text, score=scores[0] if len(scores) == 1 else None)


def _one_sided(scored: ScoredRun, other: ScoredRun, score: str, item_ids: Collection[str]) -> str:
    if not item_ids:
        return ""
    why = ", ".join(f"{count} {_REASONS[reason]}" for reason, count in count_reasons(other, score, item_ids).items())
    return f"{len(item_ids)} {'is' if len(item_ids) == 1 else 'are'} scored in {scored.name!r} only ({why})"


def _shown(value: str | float | None) -> str:
    return "none" if value is None else str(value)[:MAX_SHOWN_CHARS]
