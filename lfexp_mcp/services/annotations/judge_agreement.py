"""How judges agree with humans who scored the same items of a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.answers.annotations import AgreementMeasure, DifferingItem, JudgeAgreement, RateAnswer
from lfexp_mcp.model import Interval, ItemResult, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.agreement import Agreement, gwet_ac1, kappa, spearman
from lfexp_mcp.statistics.proportions import weighted_share
from lfexp_mcp.themes.words import stem

MAX_CATEGORIES = 11
"""Evenly spaced ratings with at most as many steps, such as 0-10, are ordered categories."""
MIN_DISTANCE = 0.3
"""Distance on 0-1 from which two ratings differ even if both pass or both fail."""
_RATER_WORDS = frozenset({"human", "annotation", "annotated", "manual", "review", "judge", "score"})
_WORD = re.compile(r"[A-Z]?[^\W_A-Z]+|[A-Z]+(?![^\W_A-Z])")
"""Of `human-tone`, `human_tone` and `humanTone`, both words."""


@dataclass(frozen=True, slots=True)
class RatedItem:
    """A result of an item that a judge and a human scored; `judge_score` and `human_score` have their names."""

    item: ItemResult
    judge_value: float
    human_value: float
    judge_score: Score
    human_score: Score

    @property
    def differs(self) -> bool:
        """Whether only one of them passes the item, or they are far apart."""
        passes = is_pass(self.judge_value), is_pass(self.human_value)
        return passes[0] != passes[1] or self.distance >= MIN_DISTANCE

    @property
    def distance(self) -> float:
        """Distance on 0-1."""
        return abs(self.judge_value - self.human_value)


def rater_pairs(values: ScoredRun, humans: Mapping[str, ScoreInterpretation]) -> list[list[RatedItem]]:
    """Pair each human score with the judges' scores on the same subject.

    These are those that share its name (`human-accuracy` and `accuracy`), or its words (`tone` and `formal tone`), or
    all judges' scores if none does.

    Args:
        humans: How the human scores are read, by name; those without a scale are ignored.

    Returns:
        Per judge's and human's score, the results that have both, at least one.
    """
    judges = [
        name for name, reading in values.interpretations.items() if reading.origin != "human" and reading.is_canonical
    ]
    pairs = []
    for name in sorted(humans):
        if humans[name].is_canonical:
            pairs += [_rated(values, judge, humans[name]) for judge in _on_subject(name, judges) or judges]
    return [pair for pair in pairs if pair]


def _on_subject(human: str, judges: Sequence[str]) -> list[str]:
    """The judges' scores on the subject of a human's: those of the same words, else those with more or fewer."""
    subject = _subject(human)
    subjects = {judge: _subject(judge) for judge in judges}
    same = [judge for judge, of in subjects.items() if of == subject]
    return same or [judge for judge, of in subjects.items() if of and subject and (of < subject or of > subject)]


def _subject(name: str) -> frozenset[str]:
    """The stems of the words in a score's name, without those that say who gives it."""
    words = (word.casefold() for word in _WORD.findall(name))
    return frozenset(stem(word) for word in words if word not in _RATER_WORDS)


def _rated(values: ScoredRun, judge: str, human: ScoreInterpretation) -> list[RatedItem]:
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
    return rated


def describe_agreement(rated: Sequence[RatedItem], rows: int) -> JudgeAgreement:
    """Describe how far a judge agrees with a human score.

    By Cohen's kappa on pass/fail if humans only pass or fail items; by kappa weighted by squared distance if all
    ratings are evenly spaced; else by Spearman's rank correlation. In any case by Gwet's AC1 on pass/fail. Intervals
    are as sure as there are items, of which each may have several results.

    Args:
        rated: The results that have both scores, at least one.
        rows: Differing ones to list.
    """
    judge_name, human_name = rated[0].judge_score.name, rated[0].human_score.name
    numbers = [(one.judge_value, one.human_value) for one in rated]
    passes = [(is_pass(judge), is_pass(human)) for judge, human in numbers]
    items = [one.item.item_id for one in rated]
    measure, found = _measure(numbers, passes, items)
    ac1 = gwet_ac1(passes, items)
    # The furthest apart first: what is worth reading.
    differing = sorted((one for one in rated if one.differs), key=lambda one: -one.distance)
    alike = sum(judge == human for judge, human in passes) / len(passes)
    coefficients = [_coefficient("AC1", ac1.value, Interval(ac1.low, ac1.high))]
    if measure is not None and found.value is not None:
        coefficients.insert(0, _coefficient(measure, found.value, found.interval))
    return JudgeAgreement(
        judge=judge_name,
        human=human_name,
        pairs=len(numbers),
        measure=measure,
        value=found.value,
        interval=found.interval,
        agreement=alike,
        ac1=ac1,
        true_positive_rate=_rate(rated, passed=True),
        false_positive_rate=_rate(rated, passed=False),
        summary=(
            f"Judge {judge_name!r} and human {human_name!r} pass or fail alike on {alike:.0%} of {_counted(items)}; "
            f"{', '.join(coefficients)}."
        ),
        differing=len(differing),
        differ_on=[
            DifferingItem(item_id=one.item.item_id, judge_value=one.judge_value, human_value=one.human_value)
            for one in differing[:rows]
        ],
    )


def _measure(
    numbers: Sequence[tuple[float, float]], passes: Sequence[tuple[bool, bool]], items: Sequence[str]
) -> tuple[AgreementMeasure | None, Agreement]:
    measure: AgreementMeasure
    if all(human in (0.0, 1.0) for _, human in numbers):
        measure, found = "kappa", kappa(passes, [False, True], items=items)
    elif (grid := _even_grid(numbers)) is not None:
        steps = [(round(judge, 9), round(human, 9)) for judge, human in numbers]
        measure, found = "weighted kappa", kappa(steps, grid, "quadratic", items)
    else:
        measure, found = "Spearman", spearman(numbers, items=items)
    return (measure if found.value is not None else None), found


def _even_grid(numbers: Sequence[tuple[float, float]]) -> list[float] | None:
    """The evenly spaced categories from 0 to 1 that all ratings are of, or None."""
    values = {round(value, 9) for pair in numbers for value in pair}
    for steps in range(1, MAX_CATEGORIES):
        grid = [round(step / steps, 9) for step in range(steps + 1)]
        if values <= set(grid):
            return grid
    return None


def _coefficient(name: str, value: float, interval: Interval | None) -> str:
    # Adding 0.0 turns -0.0 into 0.0.
    shown, *ends = (f"{round(each, 2) + 0.0:.2f}" for each in (value, *(interval or ())))
    return f"{name} {shown}" + (f" (95% interval {' to '.join(ends)})" if ends else "")


def _counted(items: Sequence[str]) -> str:
    different = len(set(items))
    return f"{different} items" if different == len(items) else f"{len(items)} results of {different} items"


def _rate(rated: Sequence[RatedItem], *, passed: bool) -> RateAnswer:
    """How many results the judge passes, of those that the human passes, or fails."""
    judged = [(is_pass(one.judge_value), 1.0, one.item.item_id) for one in rated if is_pass(one.human_value) is passed]
    if not judged:
        return RateAnswer(hits=0, of=0, share=None, interval=None)
    share, interval = weighted_share(judged)
    return RateAnswer(hits=sum(passes for passes, *_ in judged), of=len(judged), share=share, interval=interval)
