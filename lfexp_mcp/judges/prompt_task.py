"""A task that is a prompt of Langfuse instead of a script: a model answers it for each item."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError, ProviderError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.judges.model_choice import call_parameters, usable_model
from lfexp_mcp.judges.model_client import Meter, ModelClient
from lfexp_mcp.judges.prompts import prompt_messages, read_prompt, resolve_reference
from lfexp_mcp.judges.providers.messages import ModelRequest
from lfexp_mcp.judges.templates import fill, placeholders
from lfexp_mcp.model import DatasetItem, Message, ProviderName, ResolvedPrompt
from lfexp_mcp.settings import Settings

_BEGIN = Message("user", "Go on.")
_OF_THE_ITEM = frozenset({"input", "question", "expected_output", "metadata"})


async def resolve_task_prompt(
    gateway: Gateway,
    settings: Settings,
    reference: str,
    items: Sequence[DatasetItem],
    params: Mapping[str, JsonValue],
    *,
    model: str | None = None,
    provider: ProviderName | None = None,
) -> ResolvedPrompt:
    """Resolve a prompt that is the task: its version, model and parameters.

    Args:
        reference: `name`, `name@label` or `name:version`.
        items: The dataset's items, whose inputs have to fill the prompt's variables.
        model: Replaces the model in the prompt's config.
        params: What the run gives its task, which fills variables too.

    Raises:
        NotFoundError: There is no such prompt or version.
        JudgeError: No item's input fills the prompt, a parameter fills nothing or what an input fills, or no model can
            answer it.
    """
    known = {info.name: info for info in await gateway.prompts.all()}
    prompt = await read_prompt(gateway, resolve_reference(reference, known), known)
    config = {**prompt.config}
    if model is not None:
        config |= {"model": model, "provider": None}
    if provider is not None:
        config["provider"] = provider
    chosen = usable_model(prompt.name, config, settings)
    messages = prompt_messages(prompt)
    resolved = ResolvedPrompt(
        name=prompt.name,
        version=prompt.version,
        messages=messages,
        placeholders=tuple(placeholders(message.content for message in messages)),
        provider=chosen.provider,
        model=chosen.model,
        parameters=call_parameters(prompt.name, config),
    )
    _check_params(resolved, items, params)
    _check_inputs(resolved, items, params)
    return resolved


def _check_params(task: ResolvedPrompt, items: Sequence[DatasetItem], params: Mapping[str, JsonValue]) -> None:
    """Refuse parameters that the prompt does not use, and those that an item's input fills, too."""
    for name in params:
        inputs = sum(isinstance(item.input, Mapping) and name in item.input for item in items)
        if name in _OF_THE_ITEM or inputs:
            which = "the item" if name in _OF_THE_ITEM else f"the input of {inputs} items"
            raise JudgeError(f"params: {{{{{name}}}}} of prompt {task.name!r} is filled by {which}. Use another name.")
        if not {name, f"params.{name}"}.intersection(task.placeholders):
            used = ", ".join(f"{{{{{each}}}}}" for each in task.placeholders) or "no variables"
            raise JudgeError(
                f"params: prompt {task.name!r} has no {{{{{name}}}}}, so it would change nothing; it has {used}."
            )


def _check_inputs(task: ResolvedPrompt, items: Sequence[DatasetItem], params: Mapping[str, JsonValue]) -> None:
    """Refuse a prompt that no item's input fills; if only some do not, the task fails on those."""
    first: JudgeError | None = None
    for item in items:
        try:
            variables(task, item.input, params)
        except JudgeError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def variables(task: ResolvedPrompt, given: JsonValue, params: Mapping[str, JsonValue]) -> dict[str, object]:
    """Return the values of a prompt's variables for an item's input.

    Parameters fill those of their names, also as `{{params.name}}`. An input that is an object fills the others by key,
    and `{{input}}` with all of it. Anything else fills `{{input}}`, `{{question}}`, or the only other variable.

    Raises:
        JudgeError: The input does not fill a variable.
    """
    # A parameter that is null is filled in as such; an empty text is how to say nothing.
    own = {name: "null" if value is None else value for name, value in params.items()}
    values: dict[str, object] = {**own, **{f"params.{name}": value for name, value in own.items()}}
    rest = [name for name in task.placeholders if name not in values]
    if isinstance(given, Mapping):
        values = {"input": given, **given, **values}
    else:
        values |= {rest[0]: given} if len(rest) == 1 else {"input": given, "question": given}
    missing = [name for name in task.placeholders if name not in values]
    if missing:
        keys = f"has the keys {', '.join(given)}" if isinstance(given, Mapping) else "is not an object"
        listed = ", ".join(f"{{{{{name}}}}}" for name in missing)
        raise JudgeError(f"Prompt {task.name!r} needs {listed}, but the item's input {keys}.")
    return values


async def answer_input(
    task: ResolvedPrompt, given: JsonValue, params: Mapping[str, JsonValue], models: ModelClient, meter: Meter
) -> str:
    """Answer one item.

    Args:
        given: The item's input.
        params: The run's parameters.
        meter: Counts all calls made, failed ones included.

    Raises:
        JudgeError: The item's input does not fill the prompt.
        ProviderError: There was no answer, or it was a refusal or cut off.
        BudgetError: The budget does not cover the call.
    """
    values = variables(task, given, params)
    messages = tuple(Message(message.role, fill(message.content, values)) for message in task.messages)
    if all(message.role == "system" for message in messages):
        messages = (*messages, _BEGIN)
    answer = await models.ask(task.provider, ModelRequest(task.model, messages, task.parameters), meter)
    if answer.ending == "refused":
        raise ProviderError(f"{task.model!r} refused to answer: {answer.text[:200]!r}")
    if answer.ending == "cut off":
        raise ProviderError(
            f"The answer of {task.model!r} was cut off after {answer.output_tokens} tokens. "
            f"Raise `max_tokens` in the config of prompt {task.name!r}."
        )
    return answer.text
