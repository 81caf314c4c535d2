"""The judges of a run, at work."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import anyio
from pydantic import JsonValue

from lfexp_mcp.errors import BudgetError, JudgeReplyError, LfexpError, ModelRefusedError
from lfexp_mcp.judges.judged import Judged, count_votes
from lfexp_mcp.judges.models import Models
from lfexp_mcp.judges.prompting import JudgeQuestion, answer_schema, judge_question
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.judges.reply import ReadReply, read_reply
from lfexp_mcp.judges.templates import item_values
from lfexp_mcp.judges.usage import Meter
from lfexp_mcp.model import Message, ModelUsage, ResolvedJudge

QUOTED_CHARACTERS = 200
"""Of a reply without a score, that its error quotes."""
LONGER = 4
"""Times as many tokens are allowed when an answer that was cut off is asked for again."""
TOKENS_OF_A_CUT_OFF_ANSWER = 2048
"""What is multiplied where nothing was said of the answer's length."""


class Generation(Protocol):
    """One question to a model, as it is traced."""

    def answered(self, answer: ModelAnswer) -> None:
        """Note the answer."""

    def failed(self, error: LfexpError) -> None:
        """Note that no answer came."""


OnGeneration = Callable[[ResolvedJudge, ModelRequest], AbstractContextManager[Generation]]
"""Opens what traces one question; entered before it is asked, left when all its retries are done."""


OnUsage = Callable[[ResolvedJudge, ModelUsage], None]


class _Untraced:
    def answered(self, answer: ModelAnswer) -> None: ...
    def failed(self, error: LfexpError) -> None: ...


def untraced(_judge: ResolvedJudge, _request: ModelRequest) -> AbstractContextManager[Generation]:
    """Trace nothing."""
    return nullcontext(_Untraced())


def unnoted(_judge: ResolvedJudge, _usage: ModelUsage) -> None:
    """Note nothing of what a judge used."""


class JudgePanel:
    """Asks judges about items, and tells what that uses."""

    def __init__(self, models: Models, on_generation: OnGeneration = untraced, on_usage: OnUsage = unnoted) -> None:
        """Make a panel.

        Args:
            models: The way to the models.
            on_generation: Traces each question to a model.
            on_usage: Told what scoring an item used, failed calls and unreadable answers included.
        """
        self._models = models
        self._on_generation = on_generation
        self._on_usage = on_usage

    async def judge(
        self,
        judge: ResolvedJudge,
        *,
        input: JsonValue,
        output: object,
        expected_output: JsonValue,
        metadata: dict[str, JsonValue],
    ) -> Judged:
        """Let a judge score one item, as often as `judge.samples` says.

        Votes that cannot be had are left out, as long as there is one.

        Raises:
            JudgeReplyError: No reply states a score, though it was asked for once more.
            ProviderError: The model gave no answer.
            ModelRefusedError: No call to the model would be answered.
            BudgetError: The budget does not cover another call.
        """
        values = item_values(
            input=input,
            output=output,
            expected_output=expected_output,
            metadata=metadata,
            missing=judge.missing_expected_output,
        )
        question = judge_question(judge, values)
        meter = Meter()
        votes: list[ReadReply] = []
        errors: list[LfexpError] = []

        async def vote() -> None:
            try:
                votes.append(await self._vote(judge, question, meter))
            except LfexpError as error:
                errors.append(error)

        try:
            if judge.samples == 1:
                await vote()
            else:
                async with anyio.create_task_group() as group:
                    for _ in range(judge.samples):
                        group.start_soon(vote)
        finally:
            self._on_usage(judge, meter.usage)
        hopeless = next((error for error in errors if isinstance(error, BudgetError | ModelRefusedError)), None)
        if hopeless is not None or not votes:
            raise hopeless or errors[0]
        return count_votes(judge, votes, meter.usage)

    async def _vote(self, judge: ResolvedJudge, question: JudgeQuestion, meter: Meter) -> ReadReply:
        parameters = {**judge.defaults, **judge.parameters}
        answer = await self._ask(judge, _request(judge, question.messages, parameters), meter)
        try:
            return self._read(answer, judge)
        except JudgeReplyError:
            if answer.ending == "cut off":
                given = parameters.get("max_tokens")
                limit = given if isinstance(given, int) else TOKENS_OF_A_CUT_OFF_ANSWER
                parameters = {**parameters, "max_tokens": limit * LONGER}
            again = _request(judge, question.once_more(answer), parameters)
            meter.add(ModelUsage(asked_again=1))
            return self._read(await self._ask(judge, again, meter), judge)

    async def _ask(self, judge: ResolvedJudge, request: ModelRequest, meter: Meter) -> ModelAnswer:
        with self._on_generation(judge, request) as generation:
            try:
                answer = await self._models.ask(judge.provider, request, meter)
            except LfexpError as error:
                generation.failed(error)
                raise
            generation.answered(answer)
            return answer

    def _read(self, answer: ModelAnswer, judge: ResolvedJudge) -> ReadReply:
        # A model may have been told a secret by what it judges, or by its provider.
        said = self._models.mask(answer.text).strip()
        quoted = f" It begins: {said[:QUOTED_CHARACTERS]!r}" if said else ""
        if answer.ending == "refused":
            raise JudgeReplyError(f"{judge.model!r} refused to judge.{quoted}")
        try:
            return read_reply(answer.text, judge.scale, judge.score_name)
        except JudgeReplyError as error:
            if answer.ending == "complete":
                raise JudgeReplyError(f"{error}{quoted}") from None
            raise JudgeReplyError(
                f"The answer of {judge.model!r} was cut off before its score. "
                f"Raise `max_tokens` in the config of prompt {judge.name!r}.{quoted}"
            ) from None


def _request(judge: ResolvedJudge, messages: tuple[Message, ...], parameters: Mapping[str, JsonValue]) -> ModelRequest:
    return ModelRequest(
        judge.model, messages, parameters, schema=answer_schema(judge.scale), added=frozenset(judge.defaults)
    )
