"""Whether two runs can be compared fairly: what differs between them beside the task."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.answers.comparison import ComparabilityIssue, IssueKind
from lfexp_mcp.model import JudgeMaker, Provenance, RecordedLimits, RunRecord, ScriptMaker, scaled_label
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.services.comparison.coverage import Lack, lacks
from lfexp_mcp.services.runs.scored_run import ScoredRun, first_results

SHOWN = 40
"""Characters of a recorded value that a message shows."""
HASH_SHOWN = 12
"""Characters of a hash that tell it from others."""


_LACKS: dict[Lack, str] = {
    "failed": "failed in the other",
    "pending": "not run in the other",
    "unscored": "not scored in the other, as its evaluator or judge failed",
    "left out": "given no value in the other",
}


@dataclass(frozen=True, slots=True)
class Shared:
    """The items that two runs can be compared on."""

    item_ids: tuple[str, ...]
    """In the order of their ids."""
    changed: tuple[str, ...]
    """Left out, since their input or expected output differs between the runs."""


def shared_items(baseline: ScoredRun, run: ScoredRun) -> Shared:
    """Find the items that both runs have with the same content."""
    first, second = first_results(baseline.record), first_results(run.record)
    both = sorted(first.keys() & second.keys())
    changed = tuple(
        item_id
        for item_id in both
        if not _same(first[item_id].input, second[item_id].input)
        or not _same(first[item_id].expected_output, second[item_id].expected_output)
    )
    left_out = set(changed)
    return Shared(tuple(item_id for item_id in both if item_id not in left_out), changed)


def _same(first: JsonValue, second: JsonValue) -> bool:
    """Whether two values are equal, given that Langfuse stores JSON as text and nothing as an empty text."""
    return first == second or _text(first) == _text(second)


def _text(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def findings(baseline: ScoredRun, run: ScoredRun, shared: Shared) -> list[ComparabilityIssue]:
    """List what makes two runs differ beside the task, and which scores cannot be compared fairly."""
    found = [*_of_runs(baseline, run, shared)]
    for score in sorted(baseline.interpretations.keys() & run.interpretations.keys()):
        found += _of_score(baseline, run, score)
    return [*found, *_unpaired(baseline, run, shared)]


def _of_runs(baseline: ScoredRun, run: ScoredRun, shared: Shared) -> Iterator[ComparabilityIssue]:
    yield from _items(baseline, run, shared)
    for values in (baseline, run):
        if values.record.status != "completed":
            message = f"Run {values.name!r} is {values.record.status}: what it lacks may change the comparison."
            yield ComparabilityIssue(kind="status", unfair=False, run=run.name, message=message)
    yield from _of_provenance(baseline, run)
    concurrency = concurrency_change(baseline.record, run.record)
    if concurrency is not None:
        message = f"{concurrency} Items that wait for each other take longer, so times are not compared."
        yield ComparabilityIssue(kind="concurrency", unfair=False, run=run.name, message=message)


def _of_provenance(baseline: ScoredRun, run: ScoredRun) -> Iterator[ComparabilityIssue]:
    first, second = baseline.record.provenance, run.record.provenance
    if first is None or second is None:
        return
    compared: tuple[tuple[IssueKind, str, str | float | None, str | float | None], ...] = (
        ("dataset version", "dataset version", first.dataset_version, second.dataset_version),
        ("time-out", "time-out per item", _limits(first).item_timeout, _limits(second).item_timeout),
        ("evaluator script", "evaluator script", _script_hash(first), _script_hash(second)),
    )
    for kind, what, one, other in compared:
        if one != other:
            message = f"The {what} differs: {_shown(one)} in {baseline.name!r}, {_shown(other)} in {run.name!r}."
            yield ComparabilityIssue(kind=kind, unfair=False, run=run.name, message=message)


def _limits(provenance: Provenance | None) -> RecordedLimits:
    return (provenance and provenance.limits) or RecordedLimits()


def _script_hash(provenance: Provenance) -> str | None:
    digest = provenance.evaluator_script.sha256 if provenance.evaluator_script else None
    return digest and digest[:HASH_SHOWN]


def concurrency_change(baseline: RunRecord, run: RunRecord) -> str | None:
    """Say that two runs had different numbers of items at work at once; None where they had not, or it is not known."""
    first, second = (_limits(record.provenance).max_concurrency for record in (baseline, run))
    if first is None or second is None or first == second:
        return None
    return f"max_concurrency was {first} in {baseline.run_name!r} and {second} in {run.run_name!r}."


def _items(baseline: ScoredRun, run: ScoredRun, shared: Shared) -> Iterator[ComparabilityIssue]:
    first = {item.item_id for item in baseline.record.items}
    second = {item.item_id for item in run.record.items}
    only_first, only_second = len(first - second), len(second - first)
    if only_first or only_second:
        message = (
            f"{only_first} items are in {baseline.name!r} only and {only_second} in {run.name!r} only; "
            f"the {len(first & second)} that both have are compared."
        )
        yield ComparabilityIssue(kind="items", unfair=not first & second, run=run.name, message=message)
    if shared.changed:
        listed = ", ".join(shared.changed[:3]) + (", ..." if len(shared.changed) > 3 else "")
        message = (
            f"{len(shared.changed)} items changed their input or expected output between the runs and are left out: "
            f"{listed}."
        )
        yield ComparabilityIssue(kind="content", unfair=not shared.item_ids, run=run.name, message=message)


def _of_score(baseline: ScoredRun, run: ScoredRun, score: str) -> Iterator[ComparabilityIssue]:
    first, second = baseline.interpretations[score], run.interpretations[score]
    if first.origin != second.origin:
        unfair = not {first.origin, second.origin} <= {"run", "api"} or _is_judged(first) or _is_judged(second)
        message = f"{score!r} is not from the same source: {_made_in(baseline, score)}, {_made_in(run, score)}."
        yield ComparabilityIssue(kind="source", unfair=unfair, run=run.name, score=score, message=message)
    for values in (baseline, run):
        if values.interpretations[score].mixed:
            message = f"{score!r} has no single maker: {_made_in(values, score)}. Their values are not one score's."
            yield ComparabilityIssue(kind="judge", unfair=True, run=run.name, score=score, message=message)
    if first.mixed or second.mixed:
        return
    yield from _scales(baseline, run, score)
    yield from _judges(baseline, run, score)


def _scales(baseline: ScoredRun, run: ScoredRun, score: str) -> Iterator[ComparabilityIssue]:
    """Say that values are on no scale, or on two; declared ones meet on the canonical 0-1."""
    first, second = baseline.interpretations[score], run.interpretations[score]
    if first.own_unit and second.own_unit:
        return
    problems = [
        f"in {one.name!r} {one.interpretations[score].problem}"
        for one in (baseline, run)
        if one.interpretations[score].problem
    ]
    if problems:
        message = f"{score!r}: {'; '.join(problems)}."
        yield ComparabilityIssue(kind="scale", unfair=True, run=run.name, score=score, message=message)
    elif first.scale and second.scale and first.scale.name != second.scale.name:
        declared = first.is_declared and second.is_declared
        message = f"{score!r} was scored on {_scale_in(baseline, score)} and on {_scale_in(run, score)}" + (
            ": both are compared on the canonical 0-1."
            if declared
            else ". Declare its scale where the score is made, and score both runs with it."
        )
        yield ComparabilityIssue(kind="scale", unfair=not declared, run=run.name, score=score, message=message)


def _scale_in(values: ScoredRun, score: str) -> str:
    reading = values.interpretations[score]
    name = reading.scale.name if reading.scale else "no scale"
    return f"{name} in {values.name!r} ({reading.scale_source or 'its data type'})"


def _is_judged(reading: ScoreInterpretation) -> bool:
    return any(isinstance(maker, JudgeMaker) for maker in reading.makers)


def _made_in(values: ScoredRun, score: str) -> str:
    reading = values.interpretations[score]
    labels = dict.fromkeys(scaled_label(maker) if reading.mixed else maker.label for maker in reading.makers)
    return f"{' and '.join(labels)} in {values.name!r}"


def _unpaired(baseline: ScoredRun, run: ScoredRun, shared: Shared) -> Iterator[ComparabilityIssue]:
    """Say which scores lack a value on one side, once for all that lack it alike."""
    alike: dict[str, list[str]] = {}
    for score in sorted(baseline.interpretations.keys() & run.interpretations.keys()):
        scored = [values.numbers.get(score, {}).keys() & set(shared.item_ids) for values in (baseline, run)]
        sides = (
            _one_sided(baseline, run, score, scored[0] - scored[1]),
            _one_sided(run, baseline, score, scored[1] - scored[0]),
        )
        if any(sides):
            alike.setdefault(" and ".join(filter(None, sides)), []).append(score)
    for text, scores in alike.items():
        message = f"{', '.join(map(repr, scores))}: of the shared items, {text}; these are not compared."
        only = scores[0] if len(scores) == 1 else None
        yield ComparabilityIssue(kind="unpaired scores", unfair=False, run=run.name, score=only, message=message)


def _one_sided(having: ScoredRun, lacking: ScoredRun, score: str, item_ids: Collection[str]) -> str:
    if not item_ids:
        return ""
    why = ", ".join(f"{count} {_LACKS[lack]}" for lack, count in lacks(lacking, score, item_ids).items())
    return f"{len(item_ids)} {'is' if len(item_ids) == 1 else 'are'} scored in {having.name!r} only ({why})"


def _judges(baseline: ScoredRun, run: ScoredRun, score: str) -> Iterator[ComparabilityIssue]:
    first, second = _judge_of(baseline, score), _judge_of(run, score)
    if first is None or second is None:
        return
    pairs = {
        "name": (first.prompt, second.prompt),
        "version": (first.version, second.version),
        "provider": (first.provider, second.provider),
        "model": (first.model, second.model),
    }
    differing = [
        f"{what} {_shown(one)} and {_shown(other)}"
        for what, (one, other) in pairs.items()
        if one is not None and other is not None and one != other
    ]
    if differing:
        message = (
            f"{score!r} was judged differently in {baseline.name!r} and {run.name!r}: {'; '.join(differing)}. "
            "Score both with the same judge to compare them."
        )
        yield ComparabilityIssue(kind="judge", unfair=True, run=run.name, score=score, message=message)


def _judge_of(values: ScoredRun, score: str) -> JudgeMaker | None:
    """The judge that gives a score, one for all; None for scripts and for runs of others."""
    return next((maker for maker in values.interpretations[score].makers if isinstance(maker, JudgeMaker)), None)


def script_change(baseline: ScoredRun, run: ScoredRun, score: str) -> str | None:
    """Say that the script which gives a score differs between two runs; None for other scores, and where it does not.

    Such a difference makes no comparison unfair, since most edits of a script leave the score what it was.
    """
    first, second = _script_hashes(baseline, score), _script_hashes(run, score)
    if not first or not second or first == second:
        return None
    return (
        f"Its evaluator script differs between the runs ({' and '.join(first)}; {' and '.join(second)}): "
        "part of the difference may be the script's."
    )


def _script_hashes(values: ScoredRun, score: str) -> list[str]:
    reading = values.interpretations.get(score)
    makers = reading.makers if reading is not None else ()
    return sorted({maker.sha256[:HASH_SHOWN] for maker in makers if isinstance(maker, ScriptMaker) and maker.sha256})


def _shown(value: JsonValue) -> str:
    return "none" if value is None else str(value)[:SHOWN]
