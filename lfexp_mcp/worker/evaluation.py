"""Scoring one item: its evaluators and judges, side by side."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.groups import open_group
from lfexp_mcp.model import DatasetItem, Evaluation, EvaluatorFailure, RunMaker, RunSpec, Score
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.scripts import ScriptEvaluator, read_evaluations
from lfexp_mcp.worker.calling import script_item
from lfexp_mcp.worker.declaring import ScriptScale
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.plan import Work
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import Raised, UserCode, error_text

LONGEST_COMMENT = 5000
"""Characters that Langfuse keeps of a comment."""
CUT = "… [cut]"


class Scorer(Protocol):
    """An evaluator or a judge."""

    @property
    def name(self) -> str:
        """The evaluator's name, which is its span's too."""

    @property
    def score_name(self) -> str:
        """Under which name a missing score is reported."""

    def maker_of(self, evaluated: Evaluation) -> RunMaker:
        """Return the maker of a score that `score` gave."""

    async def score(self, item: DatasetItem, ended: ItemEnded, output: object) -> list[Evaluation]:
        """Score one output.

        Args:
            item: The dataset item.
            ended: The result, with the output as JSON holds it.
            output: The output as it came from the task.

        Raises:
            LfexpError: There is no score; the error's text says why.
        """


class ScriptScorer:
    """An evaluator of the user's script."""

    def __init__(self, evaluator: ScriptEvaluator, user: UserCode, run_spec: RunSpec, scale: ScriptScale) -> None:
        self._evaluator = evaluator
        self.maker_of = scale.maker_of
        self._user = user
        self._run_spec = run_spec
        self.name = evaluator.name
        self.score_name = evaluator.name

    async def score(self, item: DatasetItem, ended: ItemEnded, output: object) -> list[Evaluation]:  # noqa: ARG002
        """Call the evaluator; see `Scorer`."""
        given = script_item(item, self._run_spec)
        outcome = await self._user.call(
            lambda: self._evaluator.call(
                input=given.input,
                output=output,
                expected_output=given.expected_output,
                metadata=given.metadata,
                item=given,
            ),
            partial(read_evaluations, self.name),
            is_async=self._evaluator.is_async,
            timeout=self._run_spec.limits.item_timeout,
        )
        if isinstance(outcome, Raised):
            raise EvaluatorError(outcome.error)
        for evaluated in outcome.value:
            # What cannot be read of its scale leaves the item unscored.
            self.maker_of(evaluated)
        return outcome.value


class EvaluatorError(LfexpError):
    """An evaluator raised, or took too long."""


class ItemEvaluation:
    """Evaluates items, journals their scores, and hands those over to be sent."""

    def __init__(
        self,
        run_spec: RunSpec,
        scorers: Sequence[Scorer],
        tracer: RunTracer,
        recorder: Recorder,
        delivery: Delivery,
    ) -> None:
        self._run_spec = run_spec
        self._scorers = scorers
        self._tracer = tracer
        self._recorder = recorder
        self._delivery = delivery
        self.names = tuple(scorer.name for scorer in scorers)
        self.answerable = {*self.names, *(scorer.score_name for scorer in scorers)}

    async def run(self, work: Work, ended: ItemEnded, output: object) -> ItemScored:
        """Evaluate a good result; when this returns, its scores are journaled.

        Args:
            work: What of the item is to evaluate.
            ended: The result.
            output: The task's output, as it came from the task or as the journal kept it.

        Raises:
            StateError: The scores cannot be journaled.
        """
        kept = work.scored.scores if work.scored else ()
        result = _Result(work.item, ended, output)
        collected = _Collected(self._run_spec.experiments[ended.repeat].id, ended, list(kept))
        scorers = [
            scorer
            for scorer in self._scorers
            if work.missing is None or scorer.name in work.missing or scorer.score_name in work.missing
        ]
        if scorers:
            with self._tracer.evaluation(work.item, ended, work.evaluation) as span:
                for given in await self._score_all(scorers, result):
                    collected.add(given)
                span.succeed(collected.summary(len(scorers)))
        event = ItemScored(
            item_id=ended.item_id,
            repeat=ended.repeat,
            evaluators=self._asked(work),
            scores=tuple(collected.scores),
            unscored=(*self._still_missing(work), *collected.unscored),
        )
        await self._recorder.record(event)
        self._delivery.add_scores([attach_score(score, ended) for score in collected.scores[len(kept) :]])
        return event

    def _still_missing(self, work: Work) -> tuple[EvaluatorFailure, ...]:
        """What evaluators failed on before that the run does not have any more."""
        before = work.scored.unscored if work.scored else ()
        return tuple(missing for missing in before if missing.name not in self.answerable)

    def _asked(self, work: Work) -> tuple[str, ...] | None:
        """Name all that have scored the item by now; not known where nobody knows of the scores it had."""
        if work.scored is None:
            return self.names
        if work.scored.evaluators is None:
            return None
        return tuple(dict.fromkeys((*work.scored.evaluators, *self.names)))

    async def _score_all(self, scorers: Sequence[Scorer], result: "_Result") -> "list[_Given]":
        """Let the scorers work side by side; return what they gave in the order of the scorers."""
        if len(scorers) == 1:
            return [await self._score(scorers[0], 0, result)]
        given: dict[int, _Given] = {}

        async def score(index: int, scorer: Scorer) -> None:
            given[index] = await self._score(scorer, index, result)

        async with open_group() as group:
            for index, scorer in enumerate(scorers):
                group.start_soon(score, index, scorer)
        return [given[index] for index in range(len(scorers))]

    async def _score(self, scorer: Scorer, index: int, result: "_Result") -> "_Given":
        evaluated_input: dict[str, JsonValue] = {
            "input": result.item.input,
            "output": result.ended.output,
            "expected_output": result.item.expected_output,
            "metadata": result.item.metadata,
        }
        with self._tracer.evaluator(scorer.name, index, evaluated_input) as span:
            try:
                evaluated = await scorer.score(result.item, result.ended, result.output)
            except LfexpError as error:
                why = error_text(str(error))
                span.fail({"error": why}, why)
                return _Given(scorer, [], why)
            span.succeed([_describe(each) for each in evaluated])
            return _Given(scorer, evaluated)


@dataclass(frozen=True, slots=True)
class _Result:
    """A good result, to be scored."""

    item: DatasetItem
    ended: ItemEnded
    output: object


@dataclass(frozen=True, slots=True)
class _Given:
    """What one scorer gave for an item."""

    scorer: Scorer
    evaluated: list[Evaluation]
    error: str | None = None


class _Collected:
    """The scores of one item."""

    def __init__(self, experiment_id: str, ended: ItemEnded, scores: list[Score]) -> None:
        self.experiment_id = experiment_id
        self.ended = ended
        self.scores = scores
        self.unscored: list[EvaluatorFailure] = []

    def add(self, given: _Given) -> None:
        """Take in what a scorer gave; of two scores of one name the first stays.

        The second is missing under its evaluator's name, so that a resume finds it missing again.
        """
        taken = {score.name for score in self.scores}
        for evaluated in given.evaluated:
            if evaluated.name not in taken:
                self.scores.append(self._score(evaluated, given.scorer.maker_of(evaluated)))
        error = given.error or names_taken(given.evaluated, taken)
        if error is not None:
            self.unscored.append(EvaluatorFailure(given.scorer.score_name, error))

    def _score(self, evaluated: Evaluation, maker: RunMaker) -> Score:
        ended = self.ended
        identity = score_id(self.experiment_id, ended.item_id, ended.observation_id, evaluated.name, maker)
        return make_score(identity, evaluated, maker)

    def summary(self, evaluators: int) -> dict[str, JsonValue]:
        return {
            "evaluator_count": evaluators,
            "evaluation_count": len(self.scores),
            "failed_evaluator_count": len(self.unscored),
        }


def names_taken(evaluated: Sequence[Evaluation], taken: Collection[str]) -> str | None:
    """Say which scores of an evaluator have names that are taken; None where none has."""
    names = [each.name for each in evaluated if each.name in taken]
    if not names:
        return None
    return error_text(f"Scores of these names were given already: {', '.join(names)}. Give each a name of its own.")


def make_score(identity: str, result: Evaluation, maker: RunMaker) -> Score:
    """Build the score that an evaluation stands for; a comment that is too long for Langfuse is cut."""
    comment = result.comment
    if comment is not None and len(comment) > LONGEST_COMMENT:
        comment = comment[: LONGEST_COMMENT - len(CUT)] + CUT
    raw = result.metadata.get("raw")
    return Score(
        id=identity,
        name=result.name,
        value=result.value,
        data_type=result.data_type,
        comment=comment,
        raw=float(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else None,
        config_id=result.config_id,
        metadata=result.metadata,
        timestamp=CLOCK.now(),
        maker=maker,
    )


def attach_score(score: Score, ended: ItemEnded | None, experiment_id: str | None = None) -> Score:
    """Return a score with what it is a score of, as Langfuse needs it.

    Args:
        score: The score.
        ended: The result that it is of; None for a score of a whole experiment.
        experiment_id: The experiment that it is of, if it is not of a single result.
    """
    if ended is None:
        return replace(score, experiment_id=experiment_id)
    return replace(score, trace_id=ended.trace_id, observation_id=ended.observation_id)


def _describe(result: Evaluation) -> dict[str, JsonValue]:
    described: dict[str, JsonValue] = {"name": result.name, "value": result.value, "data_type": result.data_type}
    return described | ({"comment": result.comment} if result.comment else {})
