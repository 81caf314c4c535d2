"""Creating judges."""

from collections.abc import Sequence

from pydantic import JsonValue

from lfexp_mcp.answers.definitions import JudgeAnswer
from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Prompt
from lfexp_mcp.judges.discovery import JUDGE_PREFIX, resolve_judge
from lfexp_mcp.judges.model_choice import DEFAULT_MODEL, choose_model
from lfexp_mcp.judges.prompts import parse_reference
from lfexp_mcp.judges.templates import STANDARD, unknown_placeholders
from lfexp_mcp.model import NextStep, PromptMessage, ResolvedJudge
from lfexp_mcp.services.definitions.new_items import check_json
from lfexp_mcp.services.workspace import Workspace

MAX_NAME_CHARS = 255
"""Characters of a prompt's name in Langfuse."""
DEFAULT_LABELS = ("production",)
"""Makes the new version the one that runs use."""


async def create_judge(
    ws: Workspace,
    name: str,
    prompt: str | Sequence[PromptMessage],
    *,
    config: dict[str, JsonValue] | None = None,
    labels: Sequence[str] | None = None,
) -> JudgeAnswer:
    """Create a judge, or a new version of one.

    Args:
        ws: The workspace.
        name: Must begin with `judge-`, by which judges are found.
        prompt: Text, or the messages of a chat.
        config: Stored with the prompt; see `judges.discovery.resolve_judge` for the keys.
        labels: Labels of the version; None for `production`, which makes it the one that runs use.

    Raises:
        JudgeError: The name cannot be used, or a run would refuse the prompt or the config; nothing is stored then.
    """
    config = config or {}
    try:
        check_json(config)
    except ValueError as error:
        raise JudgeError(f"The config of judge {name!r} cannot be stored: {error}. Change it.") from None
    draft = _draft(name, prompt, config)
    chosen = choose_model(name, config, ws.settings)
    judge = resolve_judge(draft, await ws.gateway.score_scales(), chosen or DEFAULT_MODEL, samples=1)
    model = chosen.model if chosen else None
    stored = await ws.gateway.prompts.create(
        name, prompt, config=config, labels=list(DEFAULT_LABELS if labels is None else labels), tags=["judge"]
    )
    return JudgeAnswer(
        backend=ws.gateway.backend,
        judge=name,
        version=stored.version,
        labels=list(stored.labels),
        score_name=judge.score_name,
        scale=judge.scale.name,
        scale_source=judge.scale_source,
        model=model,
        placeholders=list(judge.placeholders),
        warnings=_warnings(judge, model),
        next=[_next_step(stored)],
    )


def _draft(name: str, prompt: str | Sequence[PromptMessage], config: dict[str, JsonValue]) -> Prompt:
    if not name.startswith(JUDGE_PREFIX) or name == JUDGE_PREFIX:
        raise JudgeError(
            f"A judge's name must begin with `{JUDGE_PREFIX}`: "
            f"use {JUDGE_PREFIX + (name.removeprefix(JUDGE_PREFIX) or 'accuracy')!r}."
        )
    if len(name) > MAX_NAME_CHARS:
        raise JudgeError(f"The judge's name has {len(name):,} characters; the limit is {MAX_NAME_CHARS}. Shorten it.")
    if parse_reference(name).name != name:
        raise JudgeError(
            f"The judge's name {name!r} would be read as a name with a version or label: leave out `:` and `@`."
        )
    return Prompt(name, 0, prompt if isinstance(prompt, str) else tuple(prompt), config)


def _warnings(judge: ResolvedJudge, model: str | None) -> list[str]:
    warnings: list[str] = []
    unknown = [name for name in judge.placeholders if name not in STANDARD]
    if unknown:
        warnings.append(f"These must be keys of the items' metadata, or: {unknown_placeholders(unknown, [])}")
    if "output" not in judge.placeholders:
        warnings.append("The prompt has no {{output}}, so the judge does not see what it is to score.")
    if judge.scale_source == "default":
        warnings.append(
            f"Neither the prompt nor its config states a scale; {judge.scale.name} is assumed. "
            'Put {"scale": "0-10"} into the config to be sure.'
        )
    if model is None:
        warnings.append("No API key of a model provider is set: set OPENAI_API_KEY or ANTHROPIC_API_KEY before a run.")
    return warnings


def _next_step(stored: Prompt) -> NextStep:
    judge = stored.name if "production" in stored.labels else f"{stored.name}:{stored.version}"
    arguments: dict[str, JsonValue] = {
        "dataset": "<a dataset>",
        "run_name": "<a new name>",
        "task_script": "<path>.py",
        "judges": [judge],
    }
    return NextStep(tool="run_experiment", arguments=arguments, why="Score a run with this judge.")
