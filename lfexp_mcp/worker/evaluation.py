"""Evaluate results and whole runs, and record their scores."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from pydantic import JsonValue

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.providers.messages import ModelRequest
from lfexp_mcp.model import (
    DatasetItem,
    Evaluation,
    EvaluatorFailure,
    ProviderName,
    RunMaker,
    RunSpec,
    Score,
    ScriptMaker,
)
from lfexp_mcp.runs.events import ItemEnded, ItemScored, RunScored
from lfexp_mcp.runs.identity import score_id
from lfexp_mcp.runs.run_state import ItemKey, RunState
from lfexp_mcp.scripts import RunEvaluator, ScriptItemResult, read_evaluations
from lfexp_mcp.strict_json import finite_number
from lfexp_mcp.worker.delivery import Delivery
from lfexp_mcp.worker.engine import script_item
from lfexp_mcp.worker.item_evaluators import Evaluated, ItemEvaluator, JudgeEvaluator, ScriptMakers
from lfexp_mcp.worker.pending import PendingItem, TaskResult
from lfexp_mcp.worker.recorder import Recorder
from lfexp_mcp.worker.tracing import RunTracer
from lfexp_mcp.worker.user_code import UserCode, error_text

MAX_COMMENT_CHARS = 5000
"""Of a comment that Langfuse stores."""
CUT = "… [cut]"


class ScoreCollector:
    """Collects new scores of one result, or of a whole run.

    Args:
        experiment_id: The experiment.
        ended: The result; None for scores of the run.
        taken: Names of scores that it has by the current makers.
        again: Whether a score of a run is another one than that which another maker gave before.
    """

    def __init__(
        self, experiment_id: str, ended: ItemEnded | None = None, taken: Iterable[str] = (), *, again: bool = False
    ) -> None:
        self.scores: list[Score] = []
        self.failures: list[EvaluatorFailure] = []
        self._experiment_id = experiment_id
        self._ended = ended
        self._taken = set(taken)
        self._again = again

    def add(self, evaluator: str, maker: RunMaker, outcome: Sequence[Evaluated] | EvaluatorFailure) -> None:
        """Add what an evaluator returned, or its failure.

        A score whose name is taken is a failure of its evaluator, so that a resume evaluates the result again. Scores
        of makers that score the run no longer take no names.
        """
        if isinstance(outcome, EvaluatorFailure):
            self.failures.append(outcome)
            return
        names = self._taken | {score.name for score in self.scores}
        taken = [evaluation.name for evaluation, _ in outcome if evaluation.name in names]
        self.scores += [self._score(*evaluated) for evaluated in outcome if evaluated[0].name not in names]
        if taken:
            error = f"Scores with these names already exist: {', '.join(taken)}. Give each a name of its own."
            self.failures.append(EvaluatorFailure(evaluator, error_text(error), maker, CLOCK.now()))

    def _score(self, evaluation: Evaluation, maker: RunMaker) -> Score:
        ended, name = self._ended, evaluation.name
        if ended is None:
            identity = score_id(self._experiment_id, None, None, name, maker if self._again else None)
        else:
            identity = score_id(self._experiment_id, ended.item_id, ended.observation_id, name, maker)
        comment = evaluation.comment
        if comment is not None and len(comment) > MAX_COMMENT_CHARS:
            comment = comment[: MAX_COMMENT_CHARS - len(CUT)] + CUT
        return Score(
            id=identity,
            name=name,
            value=evaluation.value,
            data_type=evaluation.data_type,
            comment=comment,
            raw=finite_number(evaluation.metadata.get("raw")),
            config_id=evaluation.config_id,
            metadata=evaluation.metadata,
            timestamp=CLOCK.now(),
            maker=maker,
            trace_id=ended.trace_id if ended else None,
            observation_id=ended.observation_id if ended else None,
            experiment_id=None if ended else self._experiment_id,
        )


class ItemEvaluation:
    """Evaluates results, journals the scores and hands them over for delivery."""

    def __init__(
        self,
        run_spec: RunSpec,
        evaluators: Sequence[ItemEvaluator],
        tracer: RunTracer,
        recorder: Recorder,
        delivery: Delivery,
        *,
        scores_only: bool = False,
    ) -> None:
        # A resume does not count what has scored the results again.
        self._named = () if scores_only else tuple(evaluator.name for evaluator in evaluators)
        self._score_names = {name for evaluator in evaluators for name in (evaluator.name, evaluator.score_name)}
        self._again = tuple(evaluator.key for evaluator in evaluators if evaluator.again)
        self._run_spec = run_spec
        self._evaluators = evaluators
        self._tracer = tracer
        self._recorder = recorder
        self._delivery = delivery

    def needed(self, scored: ItemScored) -> frozenset[str]:
        """Return the keys of the evaluators and judges that have not scored a result."""
        return frozenset(evaluator.key for evaluator in self._evaluators if not evaluator.has_scored(scored))

    async def run(self, pending: PendingItem, result: TaskResult) -> ItemScored:
        """Evaluate a good result by what is pending; its scores are journaled when this returns.

        Raises:
            StateError: The scores cannot be journaled.
        """
        ended, scored = result.ended, pending.scored
        evaluators = self._evaluators_of(pending)
        # A new score of the same evaluator replaces the old one, such as of a pair whose other output has changed.
        kept = [
            score
            for score in (scored.scores if scored else ())
            if not any(each.maker.is_same(score.maker) for each in evaluators)
        ]
        taken = (score.name for score in kept if any(each.maker.is_same(score.maker) for each in self._evaluators))
        collector = ScoreCollector(self._run_spec.experiments[ended.repeat].id, ended, taken)
        if evaluators:
            with self._tracer.evaluation(result.item, ended, pending.evaluation) as span:
                outcomes = await self._evaluate_all(evaluators, result)
                for evaluator, outcome in zip(evaluators, outcomes, strict=True):
                    collector.add(evaluator.score_name, evaluator.maker, outcome)
                span.succeed(
                    {
                        "evaluator_count": len(evaluators),
                        "evaluation_count": len(kept) + len(collector.scores),
                        "failed_evaluator_count": len(collector.failures),
                    }
                )
        # What evaluators that the run no longer has failed on stays missing.
        missing = [failure for failure in scored.unscored if failure.name not in self._score_names] if scored else []
        event = ItemScored(
            item_id=ended.item_id,
            repeat=ended.repeat,
            evaluators=self._all_evaluators(scored),
            scores=(*kept, *collector.scores),
            unscored=(*missing, *collector.failures),
            again=tuple(dict.fromkeys((*(scored.again if scored else ()), *self._again))),
        )
        await self._recorder.record(event)
        self._delivery.add_scores(collector.scores)
        return event

    async def requests(self, pending: PendingItem) -> list[tuple[ProviderName, ModelRequest]]:
        """Return what the judges that are pending ask first about a result, for batches."""
        found: list[tuple[ProviderName, ModelRequest]] = []
        for judge in self._evaluators_of(pending):
            if isinstance(judge, JudgeEvaluator) and pending.result is not None:
                # One that cannot be asked, for lack of a trace, says so when it is to give its verdict.
                with suppress(LfexpError):
                    found += await judge.requests(pending.result)
        return found

    def _evaluators_of(self, pending: PendingItem) -> list[ItemEvaluator]:
        return [each for each in self._evaluators if pending.missing is None or each.key in pending.missing]

    def _all_evaluators(self, scored: ItemScored | None) -> tuple[str, ...] | None:
        """Return all evaluators of a result so far; None if those of its earlier scores are not known."""
        if scored is None:
            return self._named
        return None if scored.evaluators is None else tuple(dict.fromkeys((*scored.evaluators, *self._named)))

    async def _evaluate_all(
        self, evaluators: Sequence[ItemEvaluator], result: TaskResult
    ) -> list[list[Evaluated] | EvaluatorFailure]:
        """Run the evaluators concurrently, and return their outcomes in order."""
        if len(evaluators) == 1:
            return [await self._evaluate(evaluators[0], 0, result)]
        outcomes: dict[int, list[Evaluated] | EvaluatorFailure] = {}

        async def evaluate(index: int) -> None:
            outcomes[index] = await self._evaluate(evaluators[index], index, result)

        async with open_group() as group:
            for index in range(len(evaluators)):
                group.start_soon(evaluate, index)
        return [outcomes[index] for index in range(len(evaluators))]

    async def _evaluate(
        self, evaluator: ItemEvaluator, index: int, result: TaskResult
    ) -> list[Evaluated] | EvaluatorFailure:
        shown: dict[str, JsonValue] = {
            "input": result.item.input,
            "output": result.ended.output,
            "expected_output": result.item.expected_output,
            "metadata": result.item.metadata,
        }
        with self._tracer.evaluator(evaluator.name, index, shown) as span:
            try:
                evaluated = await evaluator.evaluate(result)
            except LfexpError as error:
                text = error_text(str(error))
                span.fail({"error": text}, text)
                return EvaluatorFailure(evaluator.score_name, text, evaluator.maker, CLOCK.now())
            span.succeed([_describe(evaluation) for evaluation, _ in evaluated])
            return evaluated


class RunEvaluation:
    """Collects good results, and runs the run evaluators on them in the end.

    Args:
        run_spec: The run spec.
        evaluators: The run evaluators.
        user_code: Calls them.
        recorder: Records their scores.
        delivery: Sends them.
        earlier: The scores of the run, by repetition, which stay beside new ones; None if those replace them.
    """

    def __init__(
        self,
        run_spec: RunSpec,
        evaluators: Sequence[tuple[RunEvaluator, ScriptMakers]],
        user_code: UserCode,
        recorder: Recorder,
        delivery: Delivery,
        earlier: Mapping[int, RunScored] | None = None,
    ) -> None:
        self._run_spec = run_spec
        self._evaluators = evaluators
        self._earlier = earlier
        self._user_code = user_code
        self._recorder = recorder
        self._delivery = delivery
        self._results: dict[ItemKey, ScriptItemResult] = {}

    def add_earlier(self, items: Iterable[DatasetItem], state: RunState) -> None:
        """Add the good results of earlier workers of this run."""
        if not self._evaluators:
            return
        for item in items:
            for repeat in range(self._run_spec.repeats):
                key = (repeat, item.id)
                if state.succeeded(key) and key in state.scored:
                    ended = state.ended[key]
                    self.add(TaskResult(item, ended, ended.output), state.scored[key])

    def add(self, result: TaskResult, scored: ItemScored) -> None:
        """Add a good result."""
        if self._evaluators:
            self._results[result.ended.repeat, result.item.id] = ScriptItemResult(
                item=script_item(result.item, self._run_spec),
                output=result.output_here,
                evaluations=[_evaluation(score) for score in self._current(scored.scores).values()],
                trace_id=result.ended.trace_id,
            )

    async def run(self) -> None:
        """Evaluate each repetition.

        Raises:
            StateError: The scores cannot be journaled.
        """
        if not self._evaluators:
            return
        for repeat, experiment in enumerate(self._run_spec.experiments):
            results = [result for (of, _), result in self._results.items() if of == repeat]
            collector = ScoreCollector(experiment.id, again=self._earlier is not None)
            for evaluator, makers in self._evaluators:
                outcome: list[Evaluated] | EvaluatorFailure
                try:
                    read = partial(read_evaluations, evaluator.name)
                    call = partial(evaluator.call, results)
                    outcome = makers.read(await self._user_code.call(call, read, is_async=evaluator.is_async))
                except LfexpError as error:
                    outcome = EvaluatorFailure(evaluator.name, str(error), makers.default, CLOCK.now())
                collector.add(evaluator.name, makers.default, outcome)
            event = RunScored(
                repeat=repeat,
                scores=(*self._kept(repeat, collector.scores), *collector.scores),
                unscored=tuple(collector.failures),
            )
            await self._recorder.record(event)
            self._delivery.add_scores(collector.scores)

    def _current(self, scores: Iterable[Score]) -> dict[str, Score]:
        """Return the newest score of each name, without those of other versions of the script that scores again."""
        scripts = (makers.default for _, makers in self._evaluators if self._earlier is not None)
        versions = {script.sha256 for script in scripts if isinstance(script, ScriptMaker)}
        return {
            score.name: score
            for score in scores
            if not versions or not isinstance(score.maker, ScriptMaker) or score.maker.sha256 in versions
        }

    def _kept(self, repeat: int, new: Iterable[Score]) -> list[Score]:
        earlier = (self._earlier or {}).get(repeat)
        replaced = {score.id for score in new}
        return [score for score in earlier.scores if score.id not in replaced] if earlier else []


def _evaluation(score: Score) -> Evaluation:
    return Evaluation(score.name, score.value, score.data_type, score.comment, score.metadata, score.config_id)


def _describe(evaluation: Evaluation) -> dict[str, JsonValue]:
    described: dict[str, JsonValue] = {
        "name": evaluation.name,
        "value": evaluation.value,
        "data_type": evaluation.data_type,
    }
    return described | ({"comment": evaluation.comment} if evaluation.comment else {})
