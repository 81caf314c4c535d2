"""Creating judges."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from lfexp_mcp.answers.catalog import JudgeAnswer
from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Prompt
from lfexp_mcp.judges.discovery import JUDGE_PREFIX, resolve_judge
from lfexp_mcp.judges.model_choice import DEFAULT_MODEL, choose_model
from lfexp_mcp.judges.templates import STANDARD, unknown_placeholders
from lfexp_mcp.model import ResolvedJudge, Scale
from lfexp_mcp.scores.prompt_scale import scale_in_prompt
from lfexp_mcp.services.definitions.prompts import NO_KEY, PromptText, draft_prompt, reference_to, store_prompt
from lfexp_mcp.services.next_steps import judged_run_step
from lfexp_mcp.services.workspace import Workspace


async def create_judge(
    ws: Workspace,
    name: str,
    prompt: PromptText,
    *,
    config: dict[str, JsonValue] | None = None,
    labels: Sequence[str] | None = None,
) -> JudgeAnswer:
    """Create a judge, or a new version of one.

    Args:
        name: Must begin with `judge-`, by which judges are found.
        prompt: Text, or the messages of a chat.
        config: Stored with the prompt; see `judges.discovery.resolve_judge` for the keys.
        labels: Labels of the version; None for `production`, which makes it the one that runs use.

    Raises:
        JudgeError: The name cannot be used, or a run would refuse the prompt or the config; nothing is stored then.
    """
    if not name.startswith(JUDGE_PREFIX) or name == JUDGE_PREFIX:
        raise JudgeError(
            f"A judge's name must begin with `{JUDGE_PREFIX}`: "
            f"use {JUDGE_PREFIX + (name.removeprefix(JUDGE_PREFIX) or 'accuracy')!r}."
        )
    draft = draft_prompt(name, prompt, config or {})
    judge, model = settle_judge(ws, draft, await ws.gateway.score_scales())
    stored = await store_prompt(ws, draft, labels, tags=["judge"])
    return JudgeAnswer(
        backend=str(ws.gateway.backend),
        judge=name,
        version=stored.version,
        labels=list(stored.labels),
        score_name=judge.score_name,
        scale=judge.scale.name,
        scale_source=judge.scale_source,
        model=model,
        placeholders=list(judge.placeholders),
        warnings=[*judge_warnings(judge), *([] if model else [NO_KEY]), *ws.gateway.backend.notes],
        next=[judged_run_step(reference_to(stored))],
    )


def settle_judge(ws: Workspace, prompt: Prompt, scales: Mapping[str, Scale]) -> tuple[ResolvedJudge, str | None]:
    """Resolve a judge as a run does, and return it with its model; None where no provider's key is set.

    Raises:
        JudgeError: A run would refuse it.
    """
    chosen = choose_model(prompt.name, prompt.config, ws.settings)
    return resolve_judge(prompt, scales, chosen or DEFAULT_MODEL, samples=1), chosen.model if chosen else None


def judge_warnings(judge: ResolvedJudge) -> list[str]:
    """Warn about what of a judge may not be meant."""
    warnings: list[str] = []
    unknown = [name for name in judge.placeholders if name not in STANDARD]
    if unknown:
        warnings.append(f"These must be keys of the items' metadata, or: {unknown_placeholders(unknown, [])}")
    if "output" not in judge.placeholders:
        warnings.append("The prompt has no {{output}}, so the judge does not see what it is to score.")
    if judge.scale_source == "default":
        warnings.append(
            f"Neither the prompt nor its config states one scale; {judge.scale.name} is assumed. "
            'Put {"scale": "0-10"} into the config to be sure.'
        )
    stated = scale_in_prompt("\n".join(message.content for message in judge.messages))
    if stated is not None and (stated.low, stated.high) != (judge.scale.low, judge.scale.high):
        warnings.append(
            f"The prompt's text seems to state the scale {stated.name}, but {judge.scale.name} of the "
            f"{judge.scale_source} counts."
        )
    return warnings
