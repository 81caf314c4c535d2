"""Judges against humans: the scores that both gave to the same items of a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.answers.annotations import AgreementMeasure, DifferingItem, JudgeAgreement, RateAnswer
from lfexp_mcp.model import Interval, ItemResult, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.agreement import (
    Correlation,
    Kappa,
    kappa,
    spearman,
)
from lfexp_mcp.statistics.proportions import wilson

MOST_CATEGORIES = 11
"""Distinct values up to which ratings on an even grid are ordered categories; 0-10 has so many."""
DIFFERENCE = 0.3
"""Distance on 0-1 from which two ratings differ although both pass or both fail."""
_HUMAN_WORDS = ("human", "annotation", "annotated", "manual", "review")


@dataclass(frozen=True, slots=True)
class RatedItem:
    """One item that a judge and a human scored."""

    item: ItemResult
    judge_value: float
    human_value: float
    judge_score: Score
    human_score: Score

    @property
    def differs(self) -> bool:
        """Whether one passes what the other fails, or they lie far apart."""
        passes = (self.judge_value >= PASS_MARK, self.human_value >= PASS_MARK)
        return passes[0] != passes[1] or self.distance >= DIFFERENCE

    @property
    def distance(self) -> float:
        """How far the two lie apart on 0-1."""
        return abs(self.judge_value - self.human_value)


@dataclass(frozen=True, slots=True)
class RaterPair:
    """A judge's score and a human's, on all items that have both."""

    judge: str
    human: str
    items: tuple[RatedItem, ...]


def rater_pairs(values: ScoredRun, humans: Mapping[str, ScoreInterpretation]) -> list[RaterPair]:
    """Pair each human score with the judges' scores that it is about.

    A human score is about the scores that share its name (`human-accuracy` and `accuracy`); one that shares it with
    none is held against all.

    Args:
        values: The run.
        humans: How its human scores are read; those without a scale are left out.
    """
    judges = [
        name for name, reading in values.interpretations.items() if reading.origin != "human" and reading.is_canonical
    ]
    pairs = []
    for name in sorted(humans):
        if humans[name].is_canonical:
            named = [judge for judge in judges if _same_subject(judge, name)]
            pairs += [RaterPair(judge, name, _rated(values, judge, humans[name])) for judge in named or judges]
    return [pair for pair in pairs if pair.items]


def _same_subject(judge: str, human: str) -> bool:
    first, second = _subject(judge), _subject(human)
    return first == second or (bool(first) and bool(second) and (first in second or second in first))


def _subject(name: str) -> str:
    words = re.split(r"[\s._-]+", name.lower())
    return " ".join(word for word in words if word not in (*_HUMAN_WORDS, "judge", "score"))


def _rated(values: ScoredRun, judge: str, human: ScoreInterpretation) -> tuple[RatedItem, ...]:
    rated = []
    for item in values.record.items:
        judged = values.score_of(item, judge)
        judge_value = values.interpretations[judge].canonical(judged) if judged else None
        humans = [score for score in item.scores if human.counts(score)]
        given = [(value, score) for score in humans if (value := human.canonical(score)) is not None]
        if judged is None or judge_value is None or not given:
            continue
        mean = sum(value for value, _ in given) / len(given)
        rated.append(RatedItem(item, judge_value, mean, judged, given[-1][1]))
    return tuple(rated)


def describe_agreement(pair: RaterPair, run_name: str, rows: int) -> JudgeAgreement:
    """Say how far a judge agrees with a human score.

    By Cohen's kappa on what passes, where humans pass or fail; by kappa weighted by squared distance, where all ratings
    lie on one even grid; else by Spearman's rank correlation.

    Args:
        pair: The two scores.
        run_name: Of the run that they are of.
        rows: Items to list on which the two differ.
    """
    numbers = [(rated.judge_value, rated.human_value) for rated in pair.items]
    passes = [(judge >= PASS_MARK, human >= PASS_MARK) for judge, human in numbers]
    measure, value, interval = _measure(numbers, passes)
    differing = sorted((rated for rated in pair.items if rated.differs), key=lambda rated: -rated.distance)
    agreement = sum(judge == human for judge, human in passes) / len(passes)
    return JudgeAgreement(
        judge=pair.judge,
        human=pair.human,
        run_name=run_name,
        pairs=len(numbers),
        measure=measure,
        value=value,
        interval=interval,
        agreement=agreement,
        true_positive_rate=_rate([judge for judge, human in passes if human]),
        false_positive_rate=_rate([judge for judge, human in passes if not human]),
        pass_mark=PASS_MARK,
        summary=_sentence(pair, agreement, measure, value, interval),
        differing=len(differing),
        differ_on=[
            DifferingItem(
                item_id=rated.item.item_id,
                judge_value=rated.judge_value,
                human_value=rated.human_value,
                trace_id=rated.item.trace_id,
            )
            for rated in differing[:rows]
        ],
    )


def _measure(
    numbers: Sequence[tuple[float, float]], passes: Sequence[tuple[bool, bool]]
) -> tuple[AgreementMeasure | None, float | None, Interval | None]:
    found: Kappa | Correlation
    if all(human in (0.0, 1.0) for _, human in numbers):
        found = kappa(passes, [False, True])
        return ("kappa", found.kappa, found.interval) if found.kappa is not None else (None, None, None)
    grid = _even_grid(numbers)
    if grid is not None:
        steps = [(round(judge, 9), round(human, 9)) for judge, human in numbers]
        found = kappa(steps, grid, "quadratic")
        return ("weighted kappa", found.kappa, found.interval) if found.kappa is not None else (None, None, None)
    found = spearman(numbers)
    return ("Spearman", found.rho, found.interval) if found.rho is not None else (None, None, None)


def _even_grid(numbers: Sequence[tuple[float, float]]) -> list[float] | None:
    """The even grid of a few steps from 0 to 1 that all ratings lie on, or None."""
    values = {round(value, 9) for pair in numbers for value in pair}
    for steps in range(1, MOST_CATEGORIES):
        grid = [round(step / steps, 9) for step in range(steps + 1)]
        if values <= set(grid):
            return grid
    return None


def _sentence(
    pair: RaterPair, agreement: float, measure: AgreementMeasure | None, value: float | None, interval: Interval | None
) -> str:
    names = f"Judge {pair.judge!r} and human {pair.human!r}"
    text = f"{names} pass or fail alike on {agreement:.0%} of {len(pair.items)} items"
    if measure is None or value is None:
        return f"{text}; there is too little spread to say more."
    sure = f" (95% interval {_two_places(interval.low)} to {_two_places(interval.high)})" if interval else ""
    return f"{text}; {measure} {_two_places(value)}{sure}."


def _two_places(value: float) -> str:
    """Without the sign that rounding leaves of a small negative number."""
    return f"{round(value, 2) + 0.0:.2f}"


def _rate(judge_passes: Sequence[bool]) -> RateAnswer:
    hits, of = sum(judge_passes), len(judge_passes)
    if not of:
        return RateAnswer(hits=0, of=0, share=None, interval=None)
    return RateAnswer(hits=hits, of=of, share=hits / of, interval=wilson(hits, of))
