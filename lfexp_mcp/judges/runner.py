"""Runs judges on items: asks their models, reads the replies, and asks again if a reply has no score."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, Unpack

from pydantic import JsonValue

from lfexp_mcp.errors import BudgetError, JudgeError, JudgeReplyError, LfexpError, ModelRefusedError
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.judge_prompt import JudgeQuestion, answer_schema, judge_question
from lfexp_mcp.judges.model_client import Meter, ModelClient
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.judges.reply import JudgeReply, read_reply
from lfexp_mcp.judges.templates import JudgedItem, as_text, item_values
from lfexp_mcp.judges.trace_text import TraceText, tool_calls_text, trace_text
from lfexp_mcp.judges.verdict import Verdict
from lfexp_mcp.model import Message, ModelUsage, ResolvedJudge, Trace

MAX_QUOTE_CHARS = 200
"""Length of the quotation in the error about a reply without a score."""
CUT_OFF_FACTOR = 4
"""How many times more tokens are allowed when a reply that was cut off is asked for again."""
CUT_OFF_TOKENS = 2048
"""The tokens that are multiplied if the prompt's config has no `max_tokens`."""


class Generation(Protocol):
    """The trace of one question to a model."""

    def answered(self, answer: ModelAnswer) -> None:
        """Record the answer."""

    def failed(self, error: LfexpError) -> None:
        """Record that no answer came."""


OnGeneration = Callable[[ResolvedJudge, ModelRequest], AbstractContextManager[Generation]]
"""Opens the trace of one question; entered before it is asked, left after its last retry."""
OnUsage = Callable[[ResolvedJudge, ModelUsage], None]


class JudgeRunner:
    """Asks judges for their verdicts.

    Example:
        async with ModelClient(settings) as models:
            verdict = await JudgeRunner(models).judge(
                judge, input="2+2?", output="4", expected_output="4", metadata={}
            )
    """

    def __init__(
        self,
        models: ModelClient,
        on_generation: OnGeneration | None = None,
        on_usage: OnUsage | None = None,
        secret: bytes | None = None,
    ) -> None:
        """Create a runner.

        Args:
            on_generation: Traces each question to a model.
            on_usage: Called once per item with what judging it used, failed calls and unreadable replies included.
            secret: Identifies the requests of a batch, so that they are the same ones in another process; None without
                batches.
        """
        self._secret = secret
        self._models = models
        self._on_generation = on_generation
        self._on_usage = on_usage

    async def judge(
        self,
        judge: ResolvedJudge,
        *,
        result_id: str = "",
        trace: Trace | None = None,
        further: Mapping[str, object] | None = None,
        **item: Unpack[JudgedItem],
    ) -> Verdict:
        """Let a judge score one item, with `judge.samples` votes.

        A judge whose prompt has `{{trace}}` or `{{tool_calls}}` needs the trace. Failed votes are left out as long as
        one succeeds. The first request of each vote may be one of a batch, see `requests`; a reply that cannot be read
        is asked for again by a call.

        Args:
            result_id: Tells the output from others that say the same.
            trace: What the task did, for a judge that looks at it.
            further: Values of placeholders that not every judge has.
            **item: What it is asked about.

        Raises:
            JudgeReplyError: No reply has a score, though the judge was asked again.
            ProviderError: The model gave no answer.
            ModelRefusedError: The model refuses all calls.
            BudgetError: The budget does not cover another call.
        """
        texts = _trace_texts(judge, trace)
        question, requests = self._ask_about(judge, item, texts, result_id, further)
        votes, usage = await self._votes(judge, question, requests)
        cut = "; ".join(f"{name}: {shown.cut}" for name, shown in texts.items() if shown.cut)
        return replace(Verdict.of_votes(judge, votes, usage), cut=cut or None)

    async def _votes(
        self, judge: ResolvedJudge, question: JudgeQuestion, requests: Sequence[ModelRequest]
    ) -> tuple[list[JudgeReply], ModelUsage]:
        """Return the votes that succeeded, at least one, and what all of them used."""
        meter = Meter()
        votes: dict[int, JudgeReply] = {}
        errors: list[LfexpError] = []

        async def vote(number: int, request: ModelRequest) -> None:
            try:
                votes[number] = await self._vote(judge, question, request, meter)
            except LfexpError as error:
                errors.append(error)

        try:
            if judge.samples == 1:
                await vote(0, requests[0])
            else:
                async with open_group() as group:
                    for number, request in enumerate(requests):
                        group.start_soon(vote, number, request)
        finally:
            # What failed or was cancelled has been paid for, too.
            if self._on_usage is not None:
                self._on_usage(judge, meter.usage)
        stopping = next((error for error in errors if isinstance(error, BudgetError | ModelRefusedError)), None)
        if stopping is not None or not votes:
            raise stopping or errors[0]
        # Not in the order of the answers: an even split on labels would go to the shorter one.
        return [votes[number] for number in sorted(votes)], meter.usage

    def requests(
        self,
        judge: ResolvedJudge,
        *,
        result_id: str,
        trace: Trace | None = None,
        **item: Unpack[JudgedItem],
    ) -> list[ModelRequest]:
        """Return the first request of each vote on one item, for a batch; see `judge`.

        There is none of a judge that looks at the trace, if it is not given: such a judge is asked by calls.

        Args:
            result_id: Tells the output from others that say the same.
            trace: What the task did, for a judge that looks at it.
            **item: What it is asked about.
        """
        if judge.takes_trace and trace is None:
            return []
        return self._ask_about(judge, item, _trace_texts(judge, trace), result_id)[1]

    def _ask_about(
        self,
        judge: ResolvedJudge,
        item: JudgedItem,
        shown: Mapping[str, TraceText],
        result_id: str,
        further: Mapping[str, object] | None = None,
    ) -> tuple[JudgeQuestion, list[ModelRequest]]:
        values = item_values(item, judge.missing_expected_output)
        values |= {name: each.text for name, each in shown.items()} | dict(further or {})
        question = judge_question(judge, values, self._secret)
        parameters = {**judge.defaults, **judge.parameters}
        asked = _request(judge, question.messages, parameters)
        if self._secret is None:
            return question, [asked] * judge.samples
        texts = {name: as_text(value) for name, value in values.items()}
        known = [result_id, judge.model_dump(mode="json", exclude_defaults=True), texts]
        identity = json.dumps(known, sort_keys=True).encode()
        ids = [
            hashlib.blake2b(b"%d:%b" % (sample, identity), digest_size=20, key=self._secret).hexdigest()
            for sample in range(judge.samples)
        ]
        return question, [replace(asked, id=each) for each in ids]

    async def _vote(
        self, judge: ResolvedJudge, question: JudgeQuestion, request: ModelRequest, meter: Meter
    ) -> JudgeReply:
        parameters = request.parameters
        answer = await self._ask(judge, request, meter)
        try:
            return self._read(answer, judge)
        except JudgeReplyError:
            if answer.ending == "cut off":
                given = parameters.get("max_tokens")
                limit = given if isinstance(given, int) else CUT_OFF_TOKENS
                parameters = {**parameters, "max_tokens": limit * CUT_OFF_FACTOR}
            again = _request(judge, question.once_more(answer), parameters)
            meter.add(ModelUsage(asked_again=1))
            return self._read(await self._ask(judge, again, meter), judge)

    async def _ask(self, judge: ResolvedJudge, request: ModelRequest, meter: Meter) -> ModelAnswer:
        if self._on_generation is None:
            return await self._models.ask(judge.provider, request, meter)
        with self._on_generation(judge, request) as generation:
            try:
                answer = await self._models.ask(judge.provider, request, meter)
            except LfexpError as error:
                generation.failed(error)
                raise
            generation.answered(answer)
            return answer

    def _read(self, answer: ModelAnswer, judge: ResolvedJudge) -> JudgeReply:
        # What the model was asked to judge may hold a secret, and so may its reply.
        text = self._models.mask(answer.text).strip()
        quote = f" It begins: {text[:MAX_QUOTE_CHARS]!r}" if text else ""
        if answer.ending == "refused":
            raise JudgeReplyError(f"{judge.model!r} refused to judge.{quote}")
        try:
            return read_reply(answer.text, judge.scale, judge.score_name)
        except JudgeReplyError as error:
            if answer.ending == "complete":
                raise JudgeReplyError(f"{error}{quote}") from None
            raise JudgeReplyError(
                f"The answer of {judge.model!r} was cut off before its score. "
                f"Raise `max_tokens` in the config of prompt {judge.name!r}.{quote}"
            ) from None


def _trace_texts(judge: ResolvedJudge, trace: Trace | None) -> dict[str, TraceText]:
    if not judge.takes_trace:
        return {}
    if trace is None:
        raise JudgeError(f"Judge {judge.name!r} looks at the trace, which is not given.")
    writers = {"trace": trace_text, "tool_calls": tool_calls_text}
    return {name: write(trace, judge.trace_budget) for name, write in writers.items() if name in judge.placeholders}


def _request(judge: ResolvedJudge, messages: tuple[Message, ...], parameters: Mapping[str, JsonValue]) -> ModelRequest:
    return ModelRequest(
        judge.model, messages, parameters, schema=answer_schema(judge.scale), added=frozenset(judge.defaults)
    )
