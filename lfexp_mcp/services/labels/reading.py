"""The labels that people gave to the drawn results of a run.

Only labels of drawn results tell of the whole run. Of a draw that is labelled in part, the labels up to the first
result that nobody has looked at yet are a random part, since the order is random and people label in that order. Those
beyond it are not: who labels the short ones first chooses. A result that people looked at and left without a label is
counted as skipped; as soon as they skip more than a few, what they did label is no longer a random part either.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.gateway import Queue, QueueItem, ScoreConfig
from lfexp_mcp.model import RUN_MAKERS, ItemResult, ResultKey, Score
from lfexp_mcp.scores.interpretation import interpret_human_scores
from lfexp_mcp.services.labels.draw import Draw, judge_values, labellable, put_in_order, read_draw
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.labelled_sample import DrawnResult

MAX_SKIPPED_SHARE = 0.05
"""Of the results that people looked at, beyond which those that they labelled are not taken for a random part."""
LABEL_DELAY = timedelta(seconds=30)
"""Time until Langfuse shows a label: 3 to 25 s were seen."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the run from which results are drawn separately, with the same chance for each."""

    size: int
    """Results of the run that could be drawn."""
    drawn: int = 0
    """Those in the queue, in the order of the draw."""
    labelled: int = 0
    """Drawn results whose label is part of the random ones."""
    later: int = 0
    """Drawn results that are labelled already, although a result before them is not."""
    skipped: int = 0
    """Drawn results that people looked at and did not label."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one score of one run.

    Each result of a stratum was drawn with the same chance, so that a labelled one stands for `size / labelled` of its
    results; see `weight`.
    """

    score: str
    draw: Draw
    queue: Queue
    results: tuple[DrawnResult, ...]
    """All results that could be drawn, labelled or not."""
    strata: tuple[Stratum, ...]
    """One, or two if the draw is stratified by the judge's score: failed and passed."""
    volunteered: int = 0
    """Results that people labelled although they were not drawn. They correct nothing."""
    queue_only: int = 0
    """Results of the run that are in the queue, but not by the draw: somebody added them."""
    unattributed: int = 0
    """Labels without an author, which came through the API: a program may have given them."""
    void: str | None = None
    """Why the labels say nothing about the judge's scores as they are now, as a sentence; then none is in `results`."""

    @property
    def labelled(self) -> tuple[DrawnResult, ...]:
        """The results with a label that may correct a mean."""
        return tuple(result for result in self.results if result.human is not None)

    @property
    def drawn(self) -> int:
        """How many results were drawn."""
        return sum(stratum.drawn for stratum in self.strata)

    @property
    def given(self) -> int:
        """How many of these people have labelled."""
        return sum(stratum.labelled + stratum.later for stratum in self.strata)

    @property
    def skipped(self) -> int:
        """How many of these people looked at and did not label."""
        return sum(stratum.skipped for stratum in self.strata)

    def weight(self, result: DrawnResult) -> float:
        """How many results a labelled one stands for."""
        stratum = self.strata[result.stratum]
        return stratum.size / stratum.labelled


async def read_labels(
    ws: Workspace, run: ScoredRun, scores: Collection[str] | None = None, queues: Sequence[Queue] | None = None
) -> dict[str, Labels]:
    """Read the labels of a run's scores.

    Args:
        run: The run, read from Langfuse.
        scores: The scores to read labels of; None for all.
        queues: All queues, where they have been read.

    Returns:
        By score; scores whose results were never drawn are absent.

    Raises:
        BackendError: Langfuse did not answer.
    """
    read: dict[str, Labels] = {}
    for score, draws in find_draws(run, await ws.gateway.queues.all() if queues is None else queues).items():
        if scores is None or score in scores:
            # That for the makers which the score has now, else the newest; one that was tampered with comes last.
            current = max(draws, key=lambda each: (each[1].is_genuine, is_made_by(run, each[1])))
            read[score] = await _read(ws, run, *current)
    return read


def find_draws(run: ScoredRun, queues: Iterable[Queue]) -> dict[str, list[tuple[Queue, Draw]]]:
    """Find the draws of a run's results among all queues, by score, in the order of the queues."""
    experiment_id = run.record.experiment_ids[0]
    found: dict[str, list[tuple[Queue, Draw]]] = {}
    for queue in queues:
        draw = read_draw(queue.description)
        if draw is not None and draw.experiment_id == experiment_id and draw.score in run.interpretations:
            found.setdefault(draw.score, []).append((queue, draw))
    return found


def is_made_by(run: ScoredRun, draw: Draw) -> bool:
    """Whether the run's scores are by the maker that they were by when results were drawn."""
    drawn = draw.maker
    makers = run.interpretations[draw.score].makers
    return all(drawn.is_same(now) if isinstance(drawn, RUN_MAKERS) else drawn == now for now in makers)


async def _read(ws: Workspace, run: ScoredRun, queue: Queue, draw: Draw) -> Labels:
    results = labellable(run.record)
    values = judge_values(run, draw.score, results)
    strata = put_in_order(results, values, draw.seed, draw.split)
    listed = {item.object_id: item for item in await ws.gateway.queues.items(queue.id)}
    traces = [result.trace_id for result in results if result.trace_id and result.observation_id in listed]
    given = await ws.gateway.scores.find(trace_ids=traces, source="ANNOTATION") if traces else []
    own = [score for score in given if score.config_id in queue.score_config_ids]
    configs = [config for config in await ws.gateway.score_configs() if config.id in queue.score_config_ids]
    void = _void(run, draw, configs)
    people, unreadable = _values(run, draw, configs, own) if configs else ({}, None)
    void = void or unreadable
    counted: list[Stratum] = []
    labels: dict[ResultKey, float] = {}
    for stratum in strata:
        counts, usable = _walk(stratum, listed, people)
        counted.append(counts)
        labels |= usable
    void = void or _skipped(counted)
    if void:
        labels = {}
    drawn = {each.key for order, of in zip(strata, counted, strict=True) for each in order[: of.drawn]}
    queued = sum(result.observation_id in listed for result in results)
    return Labels(
        score=draw.score,
        draw=draw,
        queue=queue,
        results=tuple(
            DrawnResult(*result.key, values.get(result.key), number, labels.get(result.key))
            for number, stratum in enumerate(strata)
            for result in stratum
        ),
        strata=tuple(counted),
        volunteered=sum(
            result.key not in drawn and any(score.source == "ANNOTATION" for score in result.scores)
            for result in results
        ),
        queue_only=queued - len(drawn),
        unattributed=sum(score.author is None for score in own),
        void=void,
    )


def _void(run: ScoredRun, draw: Draw, configs: Sequence[ScoreConfig]) -> str | None:
    reading = run.interpretations[draw.score]
    if not draw.is_genuine:
        return "The record of the draw was changed, so that it is not known to be random."
    if not is_made_by(run, draw):
        now = ", ".join(dict.fromkeys(maker.label for maker in reading.makers))
        return f"The results were drawn when they were scored by {draw.maker.label}; now they are by {now}."
    if not reading.is_canonical:
        return f"Score {draw.score!r} has no values on 0-1: {reading.problem or 'it has no scale'}."
    if not configs or configs[0].scale is None:
        return "The score config of the queue is gone, archived, or has no scale."
    return None


def _values(
    run: ScoredRun, draw: Draw, configs: Sequence[ScoreConfig], given: Sequence[Score]
) -> tuple[dict[str, float], str | None]:
    """Return what people gave each observation or trace on 0-1, on average, or why it cannot be read."""
    scale, judged = configs[0].scale, run.interpretations[draw.score].scale
    if scale is not None and judged is not None and judged.lower_is_better:
        scale = scale.lower_better()
    readings = interpret_human_scores(given, {configs[0].name: scale} if scale else {})
    problem = next((reading.problem for reading in readings.values() if reading.problem), None)
    if problem is not None:
        return {}, f"The labels cannot be read: {problem}."
    newest: dict[str, dict[str, float]] = {}
    for score in sorted(given, key=lambda score: score.timestamp.timestamp() if score.timestamp else 0.0):
        value = readings[score.name].canonical(score)
        if value is not None:
            # Of labels without an author nobody knows whether one person gave them.
            newest.setdefault(score.observation_id or score.trace_id or "", {})[score.author or score.id] = value
    return {subject: sum(values.values()) / len(values) for subject, values in newest.items()}, None


def _walk(
    stratum: Sequence[ItemResult], listed: Mapping[str, QueueItem], people: Mapping[str, float]
) -> tuple[Stratum, dict[ResultKey, float]]:
    """Follow the order of the draw, as far as results are in the queue.

    Returns:
        How far it goes, and the labels up to the first result that nobody has looked at.
    """
    counts, now = Counter[str](), CLOCK.now()
    usable: dict[ResultKey, float] = {}
    is_open = True
    for result in stratum:
        item = listed.get(result.observation_id or "")
        if item is None:
            break
        counts["drawn"] += 1
        label = people.get(result.observation_id or "", people.get(result.trace_id or ""))
        if label is not None:
            counts["labelled" if is_open else "later"] += 1
            if is_open:
                usable[result.key] = label
        # Langfuse shows that a result was completed before it shows its label.
        elif item.status == "COMPLETED" and (item.completed or now) < now - LABEL_DELAY:
            counts["skipped"] += 1
        else:
            is_open = False
    return Stratum(len(stratum), **counts), usable


def _skipped(strata: Sequence[Stratum]) -> str | None:
    skipped = sum(stratum.skipped for stratum in strata)
    looked_at = skipped + sum(stratum.labelled + stratum.later for stratum in strata)
    if skipped <= MAX_SKIPPED_SHARE * looked_at:
        return None
    return (
        f"{skipped} of the {looked_at} results that people looked at have no label: those that are easy to label are "
        "not a random part. Label them too."
    )
