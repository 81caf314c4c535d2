"""A task that is a prompt: its calls as generations in the item's trace."""

import anyio
from langfuse import Langfuse, propagate_attributes

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.errors import BudgetError, LfexpError, ModelRefusedError
from lfexp_mcp.judges.models import Models
from lfexp_mcp.judges.prompt_task import PromptTask
from lfexp_mcp.model import DatasetItem, ModelCaller, ResolvedTaskPrompt, RunSpec
from lfexp_mcp.worker.calling import CallTask, TaskOutput, read_output, script_item
from lfexp_mcp.worker.costs import UsageLedger
from lfexp_mcp.worker.stopping import GO_ON, Stop
from lfexp_mcp.worker.user_code import CallResult, Raised, Returned, Timing, error_text


def prompt_caller(
    task: ResolvedTaskPrompt, models: Models, client: Langfuse, run_spec: RunSpec, stop: Stop, ledger: UsageLedger
) -> CallTask:
    """Answer items with a prompt; a spent budget or a refused model stops the run, and leaves the item to a resume.

    Args:
        task: The prompt.
        models: The way to its model.
        client: Traces the calls.
        run_spec: The run's order.
        stop: Told when the budget is spent.
        ledger: Told what the calls use.
    """
    timeout = run_spec.limits.item_timeout
    user = ModelCaller(task.name, task.model, "task")

    async def call(item: DatasetItem) -> CallResult[TaskOutput]:
        # One for each item, so that its usage is the item's.
        prompt_task = PromptTask(task, models)
        with (
            propagate_attributes(prompt={"name": task.name, "version": task.version}),
            client.start_as_current_observation(
                name=task.name, as_type="generation", model=task.model, input=item.input
            ) as generation,
        ):
            started_ns = CLOCK.time_ns()
            outcome: CallResult[str] = Raised(f"TimeoutError: no answer within {timeout} s")
            try:
                with anyio.move_on_after(timeout):
                    outcome = await _answer(prompt_task, item, run_spec, stop)
            finally:
                # A call that a cancelled run gives up has been paid for, too.
                ledger.add(user, prompt_task.usage)
            used = prompt_task.usage
            tokens = {"input": used.input_tokens, "output": used.output_tokens}
            if isinstance(outcome, Returned):
                generation.update(output=outcome.value, usage_details=None if used.unmetered else tokens)
                return Returned(read_output(outcome.value), _timing(started_ns, used.seconds))
            generation.update(level="ERROR", status_message=outcome.error)
            return outcome

    return call


def _timing(started_ns: int, answering_seconds: float) -> Timing:
    """Time an answer by the call that brought it: others of the run were before it in the queue for the provider."""
    ended_ns = CLOCK.time_ns()
    return Timing(max(started_ns, ended_ns - round(answering_seconds * 1e9)), ended_ns)


async def _answer(task: PromptTask, item: DatasetItem, run_spec: RunSpec, stop: Stop) -> CallResult[str]:
    try:
        return Returned(await task.call(script_item(item, run_spec)))
    except (BudgetError, ModelRefusedError) as error:
        stop.request("failed", f"{error} {GO_ON}")
        return Raised(error_text(str(error)))
    except LfexpError as error:
        return Raised(error_text(str(error)))
