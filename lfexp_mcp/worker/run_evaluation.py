"""Scoring a run as a whole."""

from collections.abc import Iterable, Sequence
from functools import partial

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import DatasetItem, Evaluation, EvaluatorFailure, RunSpec, Score
from lfexp_mcp.runs.events import ItemEnded, ItemScored, RunScored
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.scripts import RunEvaluator, ScriptItemResult, read_evaluations
from lfexp_mcp.worker.calling import script_item
from lfexp_mcp.worker.declaring import ScriptScale
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.evaluation import attach_score, make_score, names_taken
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, UserCode


class RunEvaluation:
    """Gathers good results for the evaluators of the whole run, and runs those in the end; does nothing without any."""

    def __init__(
        self,
        run_spec: RunSpec,
        evaluators: Sequence[tuple[RunEvaluator, ScriptScale]],
        user: UserCode,
        recorder: Recorder,
        delivery: Delivery,
    ) -> None:
        self._run_spec = run_spec
        self._evaluators = evaluators
        self._user = user
        self._recorder = recorder
        self._delivery = delivery
        self._results: dict[ItemKey, ScriptItemResult] = {}

    def add_earlier(self, items: Iterable[DatasetItem], state: RunState) -> None:
        """Take in what earlier workers of this run have done."""
        if not self._evaluators:
            return
        for item in items:
            for repeat in range(self._run_spec.repeats):
                key = (repeat, item.id)
                if state.succeeded(key) and key in state.scored:
                    self.add(item, state.ended[key], state.ended[key].output, state.scored[key])

    def add(self, item: DatasetItem, ended: ItemEnded, output: object, scored: ItemScored) -> None:
        """Take in one good result."""
        if self._evaluators:
            self._results[ended.repeat, item.id] = ScriptItemResult(
                item=script_item(item, self._run_spec),
                output=output,
                evaluations=[_evaluated(score) for score in scored.scores],
                trace_id=ended.trace_id,
            )

    async def run(self) -> None:
        """Score each repetition.

        Raises:
            StateError: The scores cannot be journaled.
        """
        if not self._evaluators:
            return
        for repeat, experiment in enumerate(self._run_spec.experiments):
            results = [result for (of, _), result in self._results.items() if of == repeat]
            scores: dict[str, Score] = {}
            unscored: list[EvaluatorFailure] = []
            for evaluator, scale in self._evaluators:
                outcome = await self._call(evaluator, scale, results)
                given = outcome.value if isinstance(outcome, Returned) else []
                error = outcome.error if isinstance(outcome, Raised) else names_taken(given, scores)
                if error is not None:
                    unscored.append(EvaluatorFailure(evaluator.name, error))
                for result in given:
                    identity = score_id(experiment.id, None, None, result.name)
                    scores.setdefault(result.name, make_score(identity, result, scale.maker_of(result)))
            event = RunScored(repeat=repeat, scores=tuple(scores.values()), unscored=tuple(unscored))
            await self._recorder.record(event)
            self._delivery.add_scores([attach_score(score, None, experiment.id) for score in event.scores])

    async def _call(
        self, evaluator: RunEvaluator, scale: ScriptScale, results: Sequence[ScriptItemResult]
    ) -> CallResult[list[Evaluation]]:
        outcome = await self._user.call(
            lambda: evaluator.call(results), partial(read_evaluations, evaluator.name), is_async=evaluator.is_async
        )
        if isinstance(outcome, Returned):
            try:
                for evaluated in outcome.value:
                    scale.maker_of(evaluated)
            except ScriptError as error:
                return Raised(str(error))
        return outcome


def _evaluated(score: Score) -> Evaluation:
    return Evaluation(
        name=score.name,
        value=score.value,
        data_type=score.data_type,
        comment=score.comment,
        metadata=score.metadata,
        config_id=score.config_id,
    )
