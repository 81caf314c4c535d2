"""From a version of a prompt to a judge: all that can be wrong with it is said before the first item."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Prompt, ScoreConfig
from lfexp_mcp.judges.choice import call_parameters, usable_model
from lfexp_mcp.judges.templates import STANDARD, metadata_keys, missing_keys, placeholders
from lfexp_mcp.model import DatasetItem, Message, PromptMessage, ResolvedJudge, Role, ScaleSource
from lfexp_mcp.scores import Scale, resolve_judge_scale
from lfexp_mcp.settings import Settings

PREFIX = "judge-"
"""Prompts whose name begins so are judges."""

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class JudgeTemplate:
    """What a version of a prompt says of a judge, whichever model answers it."""

    score_name: str
    messages: tuple[Message, ...]
    """A text prompt is one user message."""
    placeholders: tuple[str, ...]
    missing_expected_output: str
    scale: Scale
    scale_source: ScaleSource
    parameters: dict[str, JsonValue]
    """Of the model's calls, as the config declares them."""


def resolve_template(prompt: Prompt, score_configs: Sequence[ScoreConfig]) -> JudgeTemplate:
    """Settle everything about a judge that does not hang on the environment.

    Keys of the prompt's config that count: `score_name`, `scale`, `categories`, `lower_is_better`,
    `missing_expected_output`, `provider`, `model`, and the parameters of the model's calls.

    Args:
        prompt: The version of the prompt.
        score_configs: The project's, newest first.

    Raises:
        JudgeError: Something in its config or messages cannot be used.
    """
    config = prompt.config
    messages = template_of(prompt)
    score_name = score_name_of(prompt.name, config)
    texts = [message.content for message in messages]
    resolved = resolve_judge_scale(
        config, next((known for known in score_configs if known.name == score_name), None), "\n".join(texts)
    )
    missing = config.get("missing_expected_output", "")
    if not isinstance(missing, str):
        raise JudgeError(f"`missing_expected_output` in the config of prompt {prompt.name!r} must be a text.")
    return JudgeTemplate(
        score_name=score_name,
        messages=messages,
        placeholders=tuple(placeholders(texts)),
        missing_expected_output=missing,
        scale=resolved.scale,
        scale_source=resolved.source,
        parameters=call_parameters(prompt.name, config),
    )


def resolve_judge(
    prompt: Prompt, score_configs: Sequence[ScoreConfig], settings: Settings, samples: int
) -> ResolvedJudge:
    """Settle everything about a judge: its template, and the model that answers it.

    Args:
        prompt: The version of the prompt.
        score_configs: The project's, newest first.
        settings: Keys and defaults.
        samples: Votes per item. A judge that is asked once gets temperature 0 by default.

    Raises:
        JudgeError: Something in its config or messages cannot be used, or its provider's key is not set.
    """
    template = resolve_template(prompt, score_configs)
    chosen = usable_model(prompt.name, prompt.config, settings)
    defaults: dict[str, JsonValue] = {}
    if samples == 1 and "temperature" not in template.parameters:
        defaults["temperature"] = 0
    return ResolvedJudge(
        name=prompt.name,
        version=prompt.version,
        score_name=template.score_name,
        messages=template.messages,
        placeholders=template.placeholders,
        missing_expected_output=template.missing_expected_output,
        scale=template.scale,
        scale_source=template.scale_source,
        provider=chosen.provider,
        model=chosen.model,
        parameters=template.parameters,
        defaults=defaults,
        samples=samples,
    )


def score_name_of(name: str, config: Mapping[str, JsonValue]) -> str:
    """The name of a judge's score: its config's `score_name`, else the prompt's name without folders and `judge-`.

    Raises:
        JudgeError: There is none.
    """
    configured = config.get("score_name")
    if configured is not None and not (isinstance(configured, str) and configured.strip()):
        raise JudgeError(f"`score_name` in the config of prompt {name!r} must be a name, not {configured!r}.")
    score_name = configured or name.rsplit("/", 1)[-1].removeprefix(PREFIX)
    if not score_name:
        raise JudgeError(f"Prompt {name!r} leaves no name for its score: give one as `score_name` in its config.")
    return score_name


def template_of(prompt: Prompt) -> tuple[Message, ...]:
    """The prompt's messages; a text prompt is one user message.

    Raises:
        JudgeError: It is empty, or has a message whose role no model knows.
    """
    source = (PromptMessage("user", prompt.prompt),) if isinstance(prompt.prompt, str) else prompt.prompt
    messages: list[Message] = []
    for message in source:
        role = _ROLES.get(message.role.lower())
        if role is None:
            raise JudgeError(
                f"Prompt {prompt.name!r} has a message of the role {message.role!r}: use system, user or assistant."
            )
        messages.append(Message(role, message.content))
    if not any(message.content.strip() for message in messages):
        raise JudgeError(f"Prompt {prompt.name!r} is empty: write what the model shall do.")
    return tuple(messages)


def check_placeholders(judge: ResolvedJudge, items: Sequence[DatasetItem]) -> list[str]:
    """Check a judge's placeholders against what the items provide.

    Args:
        judge: The judge.
        items: The dataset's items.

    Returns:
        Warnings on what only some items provide, or none.

    Raises:
        JudgeError: A placeholder that no item provides.
    """
    metadata = [item.metadata for item in items]
    lacking = missing_keys(judge.placeholders, metadata)
    known = sorted({key for each in metadata for key in each})
    unknown = [name for name, count in lacking.items() if count == len(items)]
    if unknown:
        raise JudgeError(f"Prompt {judge.name!r} cannot be filled: {unknown_placeholders(unknown, known)}")
    warnings = [
        f"Judge {judge.name!r} uses {{{{{name}}}}}, which the metadata of {count} of {len(items)} items lacks: "
        "there it is empty."
        for name, count in lacking.items()
    ]
    if "output" not in judge.placeholders:
        warnings.append(f"Judge {judge.name!r} does not see what it judges: its prompt has no {{{{output}}}}.")
    without = sum(item.expected_output is None for item in items)
    if "expected_output" in judge.placeholders and without:
        reads = repr(judge.missing_expected_output) if judge.missing_expected_output else "nothing"
        warnings.append(
            f"Judge {judge.name!r} compares with an expected output, which {without} of {len(items)} items lack: "
            f"there it reads {reads} (`missing_expected_output` in its config says otherwise)."
        )
    return warnings


def unknown_placeholders(names: Sequence[str], keys: Sequence[str]) -> str:
    """Say which placeholders are not provided, what may be meant, and what is provided.

    Args:
        names: The placeholders.
        keys: The keys of the items' metadata.
    """
    asked = ", ".join(f"{{{{{name}}}}}" for name in names)
    near = [
        match
        for name in names
        for match in difflib.get_close_matches(metadata_keys([name])[name], [*STANDARD, *keys], n=1)
    ]
    hint = f" Did you mean {' or '.join(f'{{{{{name}}}}}' for name in dict.fromkeys(near))}?" if near else ""
    keys_text = f", or a key of the items' metadata ({', '.join(keys[:10])})" if keys else ""
    return f"{asked} is not provided.{hint} Use {', '.join(STANDARD)}{keys_text}."
