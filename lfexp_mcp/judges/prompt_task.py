"""A task without a script: a prompt of Langfuse that a model answers."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError, ProviderError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.judges.choice import call_parameters, usable_model
from lfexp_mcp.judges.discovery import read_prompt
from lfexp_mcp.judges.models import Models
from lfexp_mcp.judges.providers.messages import ModelRequest
from lfexp_mcp.judges.references import PromptReference, parse_reference
from lfexp_mcp.judges.resolution import template_of
from lfexp_mcp.judges.templates import fill, placeholders
from lfexp_mcp.judges.usage import Meter
from lfexp_mcp.model import DatasetItem, Message, ModelUsage, ProviderName, ResolvedTaskPrompt
from lfexp_mcp.scripts.script_item import ScriptItem
from lfexp_mcp.settings import Settings

_BEGIN = Message("user", "Go on.")


async def resolve_task_prompt(
    gateway: Gateway,
    settings: Settings,
    reference: str,
    items: Sequence[DatasetItem],
    *,
    model: str | None = None,
    provider: ProviderName | None = None,
) -> ResolvedTaskPrompt:
    """Settle everything about a task that is a prompt.

    Args:
        gateway: The way to Langfuse.
        settings: Keys and default models.
        reference: `name`, `name@label` or `name:version`.
        items: The dataset's items, whose inputs have to fill the prompt's variables.
        model: Answers in place of the one that the prompt's config names.
        provider: Whose model it is.

    Raises:
        NotFoundError: There is no such prompt, or not in that version.
        JudgeError: It cannot be filled from any item's input, or nobody can answer it.
    """
    known = {info.name: info for info in await gateway.prompts.all()}
    named = PromptReference(reference) if reference in known else parse_reference(reference)
    prompt = await read_prompt(gateway, named, known)
    config = {**prompt.config}
    if model is not None:
        config |= {"model": model, "provider": None}
    if provider is not None:
        config["provider"] = provider
    chosen = usable_model(prompt.name, config, settings)
    messages = template_of(prompt)
    resolved = ResolvedTaskPrompt(
        name=prompt.name,
        version=prompt.version,
        messages=messages,
        placeholders=tuple(placeholders(message.content for message in messages)),
        provider=chosen.provider,
        model=chosen.model,
        parameters=call_parameters(prompt.name, config),
    )
    _check_inputs(resolved, items)
    return resolved


def _check_inputs(task: ResolvedTaskPrompt, items: Sequence[DatasetItem]) -> None:
    """Refuse a prompt that no item's input fills; one that some do not fill fails for these alone."""
    refusal: JudgeError | None = None
    for item in items:
        try:
            variables(task, item.input)
        except JudgeError as error:
            refusal = refusal or error
        else:
            return
    if refusal is not None:
        raise refusal


def variables(task: ResolvedTaskPrompt, given: JsonValue) -> dict[str, object]:
    """Work out what an item's input fills the prompt's variables with.

    An object fills them by key, and `{{input}}` with the whole of itself. Anything else fills `{{input}}` or
    `{{question}}`, or the only variable that there is, whatever its name.

    Args:
        task: The prompt.
        given: The item's input.

    Raises:
        JudgeError: A variable is left that the input does not fill.
    """
    values: dict[str, object] = {"input": given}
    if isinstance(given, Mapping):
        values |= given
    else:
        values["question"] = given
        if len(task.placeholders) == 1:
            values = {task.placeholders[0]: given}
    lacking = [name for name in task.placeholders if name not in values]
    if lacking:
        keys = f"has the keys {', '.join(given)}" if isinstance(given, Mapping) else "is no object"
        asked = ", ".join(f"{{{{{name}}}}}" for name in lacking)
        raise JudgeError(f"Prompt {task.name!r} needs {asked}, but the item's input {keys}.")
    return values


class PromptTask:
    """Answers items with a prompt, in the place of a script's `Task`."""

    def __init__(self, task: ResolvedTaskPrompt, models: Models) -> None:
        self._task = task
        self._models = models
        self._meter = Meter()

    @property
    def usage(self) -> ModelUsage:
        """What all calls have used so far."""
        return self._meter.usage

    async def call(self, item: ScriptItem) -> str:
        """Answer one item.

        Raises:
            JudgeError: The item's input does not fill the prompt.
            ProviderError: No answer came, it was refused, or cut off.
            BudgetError: The budget does not cover it.
        """
        values = variables(self._task, item.input)
        messages = tuple(Message(message.role, fill(message.content, values)) for message in self._task.messages)
        if all(message.role == "system" for message in messages):
            messages = (*messages, _BEGIN)
        request = ModelRequest(self._task.model, messages, self._task.parameters)
        answer = await self._models.ask(self._task.provider, request, self._meter)
        if answer.ending == "refused":
            raise ProviderError(f"{self._task.model!r} refused to answer: {answer.text[:200]!r}")
        if answer.ending == "cut off":
            raise ProviderError(
                f"The answer of {self._task.model!r} was cut off after {answer.output_tokens} tokens. "
                f"Raise `max_tokens` in the config of prompt {self._task.name!r}."
            )
        return answer.text
