"""The models that judges and prompt tasks call: what that costs, and its generations in the item's trace."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from langfuse import Langfuse, LangfuseGeneration, propagate_attributes

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BudgetError, LfexpError, ModelRefusedError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.model_client import Meter, ModelClient
from lfexp_mcp.judges.prices import BATCH_SHARE, Price, PriceTable, open_prices
from lfexp_mcp.judges.prompt_task import answer_input
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.judges.runner import Generation, OnGeneration
from lfexp_mcp.model import DatasetItem, ModelCaller, ModelUsage, ResolvedJudge, ResolvedPrompt, RunSpec
from lfexp_mcp.runs.events import Event, ModelsCalled, ProviderRetried
from lfexp_mcp.runs.journal import JournalWriter
from lfexp_mcp.runs.run_state import RunState
from lfexp_mcp.worker.engine import CallTask, TaskOutput
from lfexp_mcp.worker.running_time import running_for_at_most
from lfexp_mcp.worker.stopping import Stop
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, Timing, error_text


class UsageLedger:
    """Collects what judges and prompt tasks use of models, and journals it from time to time."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._usage: dict[ModelCaller, ModelUsage] = {}
        self._retries: Counter[str] = Counter()
        self._rate_limited: Counter[str] = Counter()

    def add(self, caller: ModelCaller, usage: ModelUsage) -> None:
        """Add what some calls used."""
        self._usage[caller] = self._usage.get(caller, ModelUsage()) + usage

    def add_judge(self, judge: ResolvedJudge, usage: ModelUsage) -> None:
        """Add what a judge used."""
        self.add(ModelCaller(judge.score_name, judge.model), usage)

    def add_retry(self, provider: str, *, rate_limited: bool) -> None:
        """Count a call that failed and is made again."""
        self._retries[provider] += 1
        self._rate_limited[provider] += rate_limited

    def write(self) -> None:
        """Journal what was added since the last time.

        Raises:
            StateError: The journal cannot be written.
        """
        events: list[Event] = [ModelsCalled(user=caller, usage=usage) for caller, usage in self._usage.items()]
        events += [
            ProviderRetried(provider=provider, retries=retries, rate_limited=self._rate_limited[provider])
            for provider, retries in self._retries.items()
        ]
        self._usage.clear()
        self._retries.clear()
        self._rate_limited.clear()
        if events:
            self._journal.append(*events)


async def open_run_prices(gateway: Gateway, run_spec: RunSpec, state: RunState) -> PriceTable:
    """Return the prices of a run's models where it needs them: for `max_cost`, and for batches."""
    if run_spec.limits.max_cost is None and not run_spec.batch:
        return PriceTable([])
    models = {caller.model for caller in state.model_usage}
    return await open_prices(await gateway.model_prices(), models.union(run_spec.models))


def open_budget(prices: PriceTable, run_spec: RunSpec, state: RunState) -> Budget | None:
    """Return a run's budget less what its earlier workers spent; None for a run without `max_cost`."""
    max_cost = run_spec.limits.max_cost
    if max_cost is None:
        return None
    spent = [prices.cost(caller.model, usage) for caller, usage in state.model_usage.items()]
    return Budget(max_cost, prices, sum(cost for cost in spent if cost is not None))


def trace_judges(client: Langfuse, prices: PriceTable) -> OnGeneration:
    """Return what traces each question to a judge's model as a generation that is linked to the judge's prompt.

    Args:
        client: Makes the generations.
        prices: Those of answers of batches; Langfuse reckons with full prices, which it does for other answers.
    """

    @contextmanager
    def trace(judge: ResolvedJudge, request: ModelRequest) -> Iterator[Generation]:
        messages = [asdict(message) for message in request.messages]
        with _generation(client, judge, request.model, messages, {"provider": judge.provider}) as generation:
            yield _JudgeGeneration(generation, prices.price_of(request.model))

    return trace


class _JudgeGeneration:
    def __init__(self, generation: LangfuseGeneration, price: Price | None) -> None:
        self._generation = generation
        self._price = price

    def answered(self, answer: ModelAnswer) -> None:
        usage = {"input": answer.input_tokens, "output": answer.output_tokens} if answer.metered else None
        cost: dict[str, float] | None = None
        if answer.batched and answer.metered and self._price is not None:
            shares = self._price.input * BATCH_SHARE, self._price.output * BATCH_SHARE
            cost = {"input": answer.input_tokens * shares[0], "output": answer.output_tokens * shares[1]}
        parameters = {"parameters": dict(answer.parameters)}
        self._generation.update(
            output=answer.text,
            usage_details=usage,
            cost_details=cost,
            metadata={**parameters, "batched": True} if answer.batched else parameters,
        )

    def failed(self, error: LfexpError) -> None:
        self._generation.update(level="ERROR", status_message=str(error))


def prompt_task(
    prompt: ResolvedPrompt,
    models: ModelClient,
    client: Langfuse,
    run_spec: RunSpec,
    stop: Stop,
    ledger: UsageLedger,
) -> CallTask:
    """Return what answers items with a prompt.

    An exceeded budget, or a model that refuses every call, stops the run; a resume runs the item again.
    """
    timeout = run_spec.limits.item_timeout
    caller = ModelCaller(prompt.name, prompt.model, "task")

    async def answer(item: DatasetItem, meter: Meter) -> CallResult[str]:
        try:
            return Returned(await answer_input(prompt, item.input, run_spec.params, models, meter))
        except (BudgetError, ModelRefusedError) as error:
            stop.request_failed(str(error))
            return Raised(error_text(str(error)))
        except LfexpError as error:
            return Raised(error_text(str(error)))

    async def call(item: DatasetItem) -> CallResult[TaskOutput]:
        meter = Meter()
        with _generation(client, prompt, prompt.model, item.input) as generation:
            started_ns = CLOCK.time_ns()
            result: CallResult[str] = Raised(f"TimeoutError: no answer within {timeout} s")
            try:
                with running_for_at_most(timeout):
                    result = await answer(item, meter)
            finally:
                # A call that is given up when the run is cancelled has been paid for, too.
                ledger.add(caller, meter.usage)
            if isinstance(result, Raised):
                generation.update(level="ERROR", status_message=result.error)
                return result
            usage = meter.usage
            tokens = {"input": usage.input_tokens, "output": usage.output_tokens}
            generation.update(output=result.value, usage_details=None if usage.unmetered else tokens)
            # Other calls of the run may have been before this one in the provider's queue.
            ended_ns = CLOCK.time_ns()
            timing = Timing(max(started_ns, ended_ns - round(usage.seconds * 1e9)), ended_ns)
            return Returned(TaskOutput.read(result.value), timing)

    return call


@contextmanager
def _generation(
    client: Langfuse,
    prompt: ResolvedPrompt,
    model: str,
    input: object,
    metadata: dict[str, str] | None = None,
) -> Iterator[LangfuseGeneration]:
    with (
        propagate_attributes(prompt={"name": prompt.name, "version": prompt.version}),
        client.start_as_current_observation(
            name=prompt.name, as_type="generation", model=model, input=input, metadata=metadata
        ) as generation,
    ):
        yield generation
