"""Creating prompts: those that are a task, and what all prompts have in common with judges."""

from collections.abc import Sequence

from pydantic import JsonValue

from lfexp_mcp.answers.catalog import PromptAnswer
from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Prompt
from lfexp_mcp.judges.discovery import JUDGE_PREFIX
from lfexp_mcp.judges.model_choice import call_parameters, choose_model
from lfexp_mcp.judges.prompts import parse_reference, prompt_messages
from lfexp_mcp.judges.templates import placeholders
from lfexp_mcp.model import NextStep, PromptMessage
from lfexp_mcp.services.definitions.new_items import check_json
from lfexp_mcp.services.workspace import Workspace

PromptText = str | Sequence[PromptMessage]
"""A text prompt, or the messages of a chat prompt."""

MAX_NAME_CHARS = 255
"""Characters of a prompt's name in Langfuse."""
DEFAULT_LABELS = ("production",)
"""Makes the new version the one that runs use."""
NO_KEY = "No API key of a model provider is set: set OPENAI_API_KEY or ANTHROPIC_API_KEY before a run."


async def create_prompt(
    ws: Workspace,
    name: str,
    prompt: PromptText,
    *,
    config: dict[str, JsonValue] | None = None,
    labels: Sequence[str] | None = None,
) -> PromptAnswer:
    """Create a prompt that is a task, or a new version of one.

    Args:
        name: Its name, which must not begin with `judge-`.
        prompt: Text, or the messages of a chat.
        config: Stored with the prompt: provider, model and parameters of the calls.
        labels: Labels of the version; None for `production`, which makes it the one that runs use.

    Raises:
        JudgeError: The name cannot be used, or a run would refuse the prompt or the config; nothing is stored then.
    """
    if name.startswith(JUDGE_PREFIX):
        arguments: dict[str, JsonValue] = {"name": name, "prompt": "<text>"}
        raise JudgeError(
            f"A prompt named {name!r} is a judge: create it as one, which checks its scale and placeholders.",
            next=[NextStep("create_judge", arguments, "Create it as a judge.")],
        )
    draft = draft_prompt(name, prompt, config or {})
    names = placeholders(message.content for message in prompt_messages(draft))
    call_parameters(name, draft.config)
    chosen = choose_model(name, draft.config, ws.settings)
    stored = await store_prompt(ws, draft, labels)
    reference = reference_to(stored)
    step: dict[str, JsonValue] = {"dataset": "<a dataset>", "run_name": "<a new name>", "task_prompt": reference}
    return PromptAnswer(
        backend=str(ws.gateway.backend),
        prompt=name,
        version=stored.version,
        labels=list(stored.labels),
        model=chosen.model if chosen else None,
        placeholders=names,
        warnings=[*([] if names else [_NO_PLACEHOLDER]), *([] if chosen else [NO_KEY]), *ws.gateway.backend.notes],
        next=[NextStep("run_experiment", step, "Run it over a dataset.")],
    )


_NO_PLACEHOLDER = "The prompt has no placeholder such as {{input}}: it is the same for each item."


def draft_prompt(name: str, prompt: PromptText, config: dict[str, JsonValue]) -> Prompt:
    """Make the version of a prompt that is to be stored.

    Raises:
        JudgeError: Its name could not be used in a run, or the config cannot be stored.
    """
    try:
        check_json(config)
    except ValueError as error:
        raise JudgeError(f"The config of prompt {name!r} cannot be stored: {error}. Change it.") from None
    if not name.strip():
        raise JudgeError("The prompt needs a name. Pass one, such as 'answer-questions'.")
    if len(name) > MAX_NAME_CHARS:
        raise JudgeError(f"The prompt's name has {len(name):,} characters; the limit is {MAX_NAME_CHARS}. Shorten it.")
    if parse_reference(name).name != name:
        raise JudgeError(
            f"The prompt's name {name!r} would be read as a name with a version or label: leave out `:` and `@`."
        )
    return Prompt(name, 0, prompt if isinstance(prompt, str) else tuple(prompt), config)


async def store_prompt(ws: Workspace, draft: Prompt, labels: Sequence[str] | None, tags: Sequence[str] = ()) -> Prompt:
    """Store a draft as the next version of its prompt, and return it."""
    given = list(DEFAULT_LABELS if labels is None else labels)
    return await ws.gateway.prompts.create(draft.name, draft.prompt, config=draft.config, labels=given, tags=tags)


def reference_to(stored: Prompt) -> str:
    """Return how a run names a version: by the prompt's name where that means it."""
    return stored.name if "production" in stored.labels else f"{stored.name}:{stored.version}"
