"""Judges among the evaluators of an item, and their calls as generations in its trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from langfuse import Langfuse, LangfuseGeneration, propagate_attributes

from lfexp_mcp.errors import BudgetError, LfexpError, ModelRefusedError
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.judges.runner import Generation, JudgeRunner
from lfexp_mcp.model import DatasetItem, Evaluation, JudgeMaker, ResolvedJudge
from lfexp_mcp.runs.events import ItemEnded
from lfexp_mcp.worker.stopping import GO_ON, Stop


class JudgeScorer:
    """A judge."""

    def __init__(self, judge: ResolvedJudge, runner: JudgeRunner, stop: Stop) -> None:
        self._judge = judge
        self._runner = runner
        self._stop = stop
        self.name = judge.name
        self.score_name = judge.score_name
        self._maker = judge.maker

    def maker_of(self, evaluated: Evaluation) -> JudgeMaker:  # noqa: ARG002
        """Return the judge; see `Scorer`."""
        return self._maker

    async def score(self, item: DatasetItem, ended: ItemEnded, output: object) -> list[Evaluation]:  # noqa: ARG002
        """Let the judge score. See `Scorer`.

        A spent budget, or a model that would refuse every further call, stops the run and leaves the score to a resume.
        """
        try:
            verdict = await self._runner.judge(
                self._judge,
                input=item.input,
                output=ended.output,
                expected_output=item.expected_output,
                metadata=item.metadata,
            )
        except (BudgetError, ModelRefusedError) as error:
            self._stop.request("failed", f"Judge {self.name!r} stopped the run. {error} {GO_ON}")
            raise
        return [verdict.evaluation(self._judge)]


class GenerationTracer:
    """Traces each question to a judge's model as a generation that is linked to the judge's prompt."""

    def __init__(self, client: Langfuse) -> None:
        self._client = client

    @contextmanager
    def __call__(self, judge: ResolvedJudge, request: ModelRequest) -> Iterator[Generation]:
        """Open the generation; see `judges.runner.OnGeneration`."""
        with (
            propagate_attributes(prompt={"name": judge.name, "version": judge.version}),
            self._client.start_as_current_observation(
                name=judge.name,
                as_type="generation",
                model=request.model,
                input=[asdict(message) for message in request.messages],
                metadata={"provider": judge.provider},
            ) as generation,
        ):
            yield _Traced(generation)


class _Traced:
    def __init__(self, generation: LangfuseGeneration) -> None:
        self._generation = generation

    def answered(self, answer: ModelAnswer) -> None:
        usage = {"input": answer.input_tokens, "output": answer.output_tokens} if answer.metered else None
        self._generation.update(
            output=answer.text, usage_details=usage, metadata={"parameters": dict(answer.parameters)}
        )

    def failed(self, error: LfexpError) -> None:
        self._generation.update(level="ERROR", status_message=str(error))
