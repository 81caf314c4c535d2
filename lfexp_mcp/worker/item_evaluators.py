"""What scores a run's items: functions of the user's script, and judges."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from pydantic import JsonValue

from lfexp_mcp.errors import BudgetError, LfexpError, ModelRefusedError, ScriptError
from lfexp_mcp.judges.pairs import judge_pair, output_key
from lfexp_mcp.judges.providers.messages import ModelRequest
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import (
    BuiltInMaker,
    Evaluation,
    OtherMaker,
    ProviderName,
    ResolvedJudge,
    RunMaker,
    Scale,
    ScriptMaker,
)
from lfexp_mcp.runs.events import ItemScored
from lfexp_mcp.runs.run_state import ItemKey
from lfexp_mcp.scores.declared_scale import read_declaration, with_direction
from lfexp_mcp.scripts import RunEvaluator, ScriptEvaluator
from lfexp_mcp.worker.engine import Engine, ToEvaluate
from lfexp_mcp.worker.pending import TaskResult
from lfexp_mcp.worker.stopping import Stop
from lfexp_mcp.worker.traces import TaskTraces
from lfexp_mcp.worker.user_code import CallResult, Raised

Evaluated = tuple[Evaluation, RunMaker]
Maker = ScriptMaker | BuiltInMaker


class EvaluatorError(LfexpError):
    """An evaluator raised, or took too long."""


class ScriptItemEvaluator:
    """An evaluator of the user's script.

    Attributes:
        name: Its name, which its span has too.
        score_name: The name under which a missing score is reported.
        key: Tells it from an edited one.
        maker: The maker of its scores, if they declare no scale.
        again: Whether it scores what another version of the script has scored.
    """

    def __init__(
        self,
        evaluator: ScriptEvaluator,
        makers: "ScriptMakers",
        engine: Engine,
        traces: TaskTraces,
        *,
        is_replay: bool = False,
        again: bool = False,
    ) -> None:
        self.name = self.score_name = evaluator.name
        self.maker: RunMaker = makers.default
        self.again = again
        maker = makers.default
        self.key = f"{self.name}@{maker.sha256 if isinstance(maker, ScriptMaker) else maker.label}"
        self._evaluator = evaluator
        self._makers = makers
        self._engine = engine
        self._is_replay = is_replay
        self._traces = traces

    def has_scored(self, scored: ItemScored) -> bool:
        """Whether it has scored a result, or has chosen to give no score."""
        if any(failure.name == self.name for failure in scored.unscored):
            return False
        if isinstance(self.maker, BuiltInMaker):
            return any(score.name == self.name and self.maker.is_same(score.maker) for score in scored.scores)
        if self.again:
            return self.key in scored.again or any(self.maker.is_same(score.maker) for score in scored.scores)
        # Which evaluators scored the results of another machine is not known.
        return scored.evaluators is None or self.name in scored.evaluators

    async def evaluate(self, result: TaskResult) -> list[Evaluated]:
        """Score a good result.

        Raises:
            LfexpError: There is no score; the text says why.
        """
        to_evaluate = ToEvaluate(
            item=result.item,
            output=result.output,
            stored=result.ended.output,
            seconds=None if self._is_replay else result.ended.seconds,
            trace=await self._traces.read(result) if self._evaluator.takes_trace else None,
        )
        return self._makers.read(await self._engine.evaluate(self._evaluator, to_evaluate))


class _AskingEvaluator:
    """What evaluators that ask a judge have in common: the attributes of a `ScriptItemEvaluator`."""

    def __init__(self, judge: ResolvedJudge, runner: JudgeRunner, stop: Stop) -> None:
        self.name = judge.name
        self.score_name = judge.score_name
        self.maker: RunMaker = judge.maker
        self.key = f"{judge.name}:{judge.version}" + (f" against {judge.against}" if judge.against else "")
        self.again = False
        self._judge = judge
        self._runner = runner
        self._stop = stop

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Stop the run on an exceeded budget, or a model that refuses every call; a resume asks the judge again."""
        try:
            yield
        except (BudgetError, ModelRefusedError) as error:
            self._stop.request_failed(f"Judge {self.name!r} stopped the run. {error}")
            raise


class JudgeEvaluator(_AskingEvaluator):
    """A judge."""

    def __init__(self, judge: ResolvedJudge, runner: JudgeRunner, stop: Stop, traces: TaskTraces) -> None:
        super().__init__(judge, runner, stop)
        self._traces = traces

    def has_scored(self, scored: ItemScored) -> bool:
        """Whether this very judge has scored a result: another version of it is another judge."""
        return any(
            self.maker.is_same(score.maker)
            # Version 0.1 did not journal who made a score.
            or (score.name == self.score_name and isinstance(score.maker, OtherMaker))
            for score in scored.scores
        )

    async def evaluate(self, result: TaskResult) -> list[Evaluated]:
        """Score a good result; see `ScriptItemEvaluator.evaluate`."""
        item = result.item
        with self._asking():
            verdict = await self._runner.judge(
                self._judge,
                input=item.input,
                output=result.ended.output,
                expected_output=item.expected_output,
                metadata=item.metadata,
                trace=await self._traces.read(result) if self._judge.takes_trace else None,
                result_id=result.ended.observation_id,
            )
        return [(verdict.evaluation(self._judge), self.maker)]

    async def requests(self, result: TaskResult) -> list[tuple[ProviderName, ModelRequest]]:
        """Return what `evaluate` asks first, for a batch."""
        item = result.item
        requests = self._runner.requests(
            self._judge,
            input=item.input,
            output=result.ended.output,
            expected_output=item.expected_output,
            metadata=item.metadata,
            result_id=result.ended.observation_id,
            trace=await self._traces.read(result) if self._judge.takes_trace else None,
        )
        return [(self._judge.provider, request) for request in requests]


class PairEvaluator(_AskingEvaluator):
    """A pairwise judge.

    Args:
        judge: The judge.
        runner: Asks it.
        stop: Stops the run if it cannot be asked.
        against: The outputs of the other run, by repetition and item id. A result that has none gets no score.
    """

    def __init__(
        self, judge: ResolvedJudge, runner: JudgeRunner, stop: Stop, against: Mapping[ItemKey, JsonValue]
    ) -> None:
        super().__init__(judge, runner, stop)
        self._against = against

    def has_scored(self, scored: ItemScored) -> bool:
        """Whether this very judge has compared a result with this very output, or there is nothing to compare with."""
        key = (scored.repeat, scored.item_id)
        if key not in self._against:
            return True
        mine = [score.metadata for score in scored.scores if self.maker.is_same(score.maker)]
        # What another machine read from Langfuse may lack its metadata.
        return any("against" not in each or each["against"] == output_key(self._against[key]) for each in mine)

    async def evaluate(self, result: TaskResult) -> list[Evaluated]:
        """Score a good result; see `JudgeEvaluator.evaluate`."""
        item, ended = result.item, result.ended
        key = (ended.repeat, ended.item_id)
        if key not in self._against:
            return []
        with self._asking():
            verdict = await judge_pair(
                self._runner,
                self._judge,
                input=item.input,
                output=ended.output,
                against=self._against[key],
                expected_output=item.expected_output,
                metadata=item.metadata,
            )
        return [(verdict.evaluation(self._judge, self._against[key]), self.maker)]


ItemEvaluator = ScriptItemEvaluator | JudgeEvaluator | PairEvaluator


class ScriptMakers:
    """The makers of the scores of one evaluator of a script, with the scales that it declares.

    Args:
        evaluator: The evaluator.
        script: Its script.
        configured: The scales of score configs by score name, for scores whose scale the script does not declare.

    Attributes:
        evaluator: The evaluator.
        default: The maker of scores that declare nothing themselves.

    Raises:
        ScriptError: The evaluator's declaration cannot be read.
    """

    def __init__(
        self, evaluator: ScriptEvaluator | RunEvaluator, script: ScriptMaker, configured: Mapping[str, Scale]
    ) -> None:
        self.evaluator = evaluator
        self._configured = configured
        try:
            self._own = read_declaration(evaluator.declared)
            maker = evaluator.built_in.maker if evaluator.built_in else replace(script, function=evaluator.name)
            self.default = _maker(maker, self._own.scale, "evaluator", self._own.lower_is_better, self._own.unit)
        except ValueError as error:
            raise ScriptError(f"The evaluator `{evaluator.name}` declares {error}") from None

    def read(self, returned: CallResult[list[Evaluation]]) -> list[Evaluated]:
        """Return what a call of the evaluator returned, with the makers.

        Raises:
            EvaluatorError: It raised, took too long or returned something else.
            ScriptError: The declaration in an evaluation's metadata cannot be read.
        """
        if isinstance(returned, Raised):
            raise EvaluatorError(returned.error)
        return [(evaluation, self._maker_of(evaluation)) for evaluation in returned.value]

    def _maker_of(self, evaluation: Evaluation) -> Maker:
        own, configured = self._own, self._configured.get(evaluation.name)
        if not evaluation.metadata and (configured is None or own.scale is not None or own.unit is not None):
            return self.default
        try:
            # A `unit` in metadata may be about anything.
            given = read_declaration(evaluation.metadata | {"unit": None})
            lower = own.lower_is_better if given.lower_is_better is None else given.lower_is_better
            if given.scale is not None:
                return _maker(self.default, given.scale, "evaluation metadata", lower)
            if own.scale is not None:
                return _maker(self.default, own.scale, "evaluator", lower)
            return _maker(self.default, None if own.unit else configured, "score config", lower, own.unit)
        except ValueError as error:
            raise ScriptError(f"The evaluator `{self.evaluator.name}` declares {error}") from None


def _maker(maker: Maker, scale: Scale | None, source: str, lower: bool | None, unit: str | None = None) -> Maker:
    if scale is None:
        return replace(maker, scale=None, scale_source=None, lower_is_better=lower, unit=unit)
    return replace(maker, scale=with_direction(scale, lower), scale_source=source, lower_is_better=None, unit=None)
