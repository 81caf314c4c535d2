"""Find the judges of a run and resolve them, so that whatever is wrong with one is reported before the first item.

A judge is a prompt of Langfuse. Judges are those that the caller names, else those that the dataset's metadata names
under `judge_prompts`, else all prompts named `judge-*`. Resolving one settles its version, model, parameters and scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import Dataset, Gateway, Prompt, PromptInfo
from lfexp_mcp.judges.model_choice import ChosenModel, call_parameters, parameter_warnings, usable_model
from lfexp_mcp.judges.pairs import OUTPUTS, is_pairwise, pair_judge
from lfexp_mcp.judges.prompts import PromptReference, prompt_messages, read_prompt, resolve_reference
from lfexp_mcp.judges.templates import missing_keys, placeholders, unknown_placeholders
from lfexp_mcp.judges.trace_text import DEFAULT_BUDGET, MAX_BUDGET, MIN_BUDGET
from lfexp_mcp.model import TRACE_PLACEHOLDERS, DatasetItem, NextStep, ResolvedJudge, Scale
from lfexp_mcp.scores import resolve_judge_scale
from lfexp_mcp.settings import Settings

JUDGE_PREFIX = "judge-"
"""Prompts with this prefix are judges."""


@dataclass(frozen=True, slots=True)
class FoundJudges:
    """The judges of a run."""

    judges: tuple[ResolvedJudge, ...]
    warnings: tuple[str, ...]
    """What the user should know about them before the run."""


async def find_judges(
    gateway: Gateway,
    settings: Settings,
    dataset: Dataset,
    items: Sequence[DatasetItem],
    *,
    names: Sequence[str] | None,
    use_langfuse_judges: bool,
    samples: int = 1,
    versions: Mapping[str, int] | None = None,
    against: str | None = None,
) -> FoundJudges:
    """Find and resolve the judges of a run.

    Args:
        dataset: Its metadata may name judges under `judge_prompts`.
        items: Its items, which have to provide the values of the prompts' placeholders.
        names: Prompts as `name`, `name@label` or `name:version`; they replace discovery.
        use_langfuse_judges: Whether to look for judges if none are named.
        samples: Votes per judge and item.
        versions: Versions of prompts that are named without one, as a resumed run started with them.
        against: The run whose outputs the judges compare with, if they are pairwise ones.

    Returns:
        The judges; empty if none were asked for.

    Raises:
        NotFoundError: A named prompt or version does not exist.
        JudgeError: No judge was found, one cannot be used, or two give scores of the same name.
    """
    if not names and not use_langfuse_judges:
        return FoundJudges((), ())
    known = {info.name: info for info in await gateway.prompts.all()}
    score_scales = await gateway.score_scales()
    listed = names or _judge_prompts(dataset)
    judges: list[ResolvedJudge] = []
    for reference in _references(listed, known):
        if reference.version is None and reference.label is None:
            reference = replace(reference, version=(versions or {}).get(reference.name))
        prompt = await read_prompt(gateway, reference, known)
        chosen = usable_model(prompt.name, prompt.config, settings)
        judge = resolve_judge(prompt, score_scales, chosen, samples)
        # Discovery finds pairwise judges as well, but only `judge_pairs` has two outputs for them.
        if not listed and is_pairwise(judge):
            continue
        judges.append(judge if against is None else pair_judge(judge, against))
    _check_score_names(judges)
    warnings = [
        warning for judge in judges for warning in (*check_placeholders(judge, items), *parameter_warnings(judge))
    ]
    return FoundJudges(tuple(judges), tuple(warnings))


def _references(listed: Sequence[str], known: dict[str, PromptInfo]) -> list[PromptReference]:
    if listed:
        return list(dict.fromkeys(resolve_reference(name, known) for name in listed))
    discovered = [PromptReference(name) for name in sorted(known) if name.startswith(JUDGE_PREFIX)]
    if not discovered:
        raise JudgeError(
            f"There are no judges: Langfuse has no prompt whose name begins with `{JUDGE_PREFIX}`.",
            next=[NextStep("create_judge", {"name": "judge-accuracy"}, "Create one; its prompt has {{output}}.")],
        )
    return discovered


def _judge_prompts(dataset: Dataset) -> list[str]:
    listed = dataset.metadata.get("judge_prompts")
    if listed is None:
        return []
    names = [listed] if isinstance(listed, str) else listed
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        metadata: dict[str, JsonValue] = {"judge_prompts": ["<judge>"]}
        raise JudgeError(
            f"`judge_prompts` in the metadata of dataset {dataset.name!r} must be a list of prompt names, "
            f"not {listed!r}. Correct it, or name the judges in the call.",
            next=[NextStep("create_dataset", {"name": dataset.name, "metadata": metadata}, "Correct it.")],
        )
    return [str(name) for name in names]


def resolve_judge(
    prompt: Prompt, score_scales: Mapping[str, Scale], chosen: ChosenModel, samples: int
) -> ResolvedJudge:
    """Resolve a judge, so that its calls need nothing else.

    These keys of the prompt's config count: `score_name`, `scale`, `categories`, `lower_is_better`,
    `missing_expected_output`, `trace_budget`, `provider`, `model`, and the parameters of the model calls.

    Args:
        score_scales: The scales of the project's score configs, by name.
        samples: Votes per item. With a single one the default temperature is 0.

    Raises:
        JudgeError: Something in its config or messages cannot be used.
    """
    config = prompt.config
    messages = prompt_messages(prompt)
    score_name = _score_name(prompt.name, config)
    texts = [message.content for message in messages]
    scale, scale_source = resolve_judge_scale(config, score_scales.get(score_name), "\n".join(texts))
    missing = config.get("missing_expected_output", "")
    if not isinstance(missing, str):
        raise JudgeError(f"`missing_expected_output` in the config of prompt {prompt.name!r} must be a string.")
    budget = config.get("trace_budget", DEFAULT_BUDGET)
    if not isinstance(budget, int) or isinstance(budget, bool) or not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise JudgeError(
            f"`trace_budget` in the config of prompt {prompt.name!r} must be a number of characters from {MIN_BUDGET} "
            f"to {MAX_BUDGET:,}, such as {DEFAULT_BUDGET}, not {budget!r}."
        )
    parameters = call_parameters(prompt.name, config)
    return ResolvedJudge(
        name=prompt.name,
        version=prompt.version,
        score_name=score_name,
        messages=messages,
        placeholders=tuple(placeholders(texts)),
        missing_expected_output=missing,
        scale=scale,
        scale_source=scale_source,
        provider=chosen.provider,
        model=chosen.model,
        parameters=parameters,
        defaults={"temperature": 0} if samples == 1 and "temperature" not in parameters else {},
        trace_budget=budget,
        samples=samples,
    )


def _score_name(name: str, config: Mapping[str, JsonValue]) -> str:
    """Return the config's `score_name`, else the prompt's name without folders and `judge-`."""
    configured = config.get("score_name")
    if configured is not None and not (isinstance(configured, str) and configured.strip()):
        raise JudgeError(f"`score_name` in the config of prompt {name!r} must be a name, not {configured!r}.")
    score_name = configured or name.rsplit("/", 1)[-1].removeprefix(JUDGE_PREFIX)
    if not score_name:
        raise JudgeError(f"Prompt {name!r} leaves no name for its score: set `score_name` in its config.")
    return score_name


def _check_score_names(judges: Sequence[ResolvedJudge]) -> None:
    by_score: dict[str, ResolvedJudge] = {}
    for judge in judges:
        other = by_score.setdefault(judge.score_name, judge)
        if other is not judge:
            raise JudgeError(
                f"Judges {other.name!r} (version {other.version}) and {judge.name!r} (version {judge.version}) "
                f"both give the score {judge.score_name!r}. "
                "Use one of them, or set another `score_name` in a prompt's config."
            )


def check_placeholders(judge: ResolvedJudge, items: Sequence[DatasetItem]) -> list[str]:
    """Check that the items provide values for a judge's placeholders.

    Returns:
        Warnings about placeholders that some items leave empty.

    Raises:
        JudgeError: No item provides a value for some placeholder.
    """
    metadata = [item.metadata for item in items]
    provided = OUTPUTS if judge.against is not None else ()
    missing = missing_keys([name for name in judge.placeholders if name not in provided], metadata)
    unknown = [name for name, count in missing.items() if count == len(items)]
    if unknown and is_pairwise(judge):
        raise JudgeError(f"Prompt {judge.name!r} is a pairwise judge: it compares two runs, by judge_pairs.")
    if unknown:
        keys = sorted({key for each in metadata for key in each})
        raise JudgeError(f"Prompt {judge.name!r} cannot be filled: {unknown_placeholders(unknown, keys)}")
    warnings = [
        f"Judge {judge.name!r} uses {{{{{name}}}}}, which is missing from the metadata of {count} of {len(items)} "
        "items: it is empty there."
        for name, count in missing.items()
    ]
    warnings += [
        f"Judge {judge.name!r} uses {{{{{name}}}}}, which is what the task did. For the items' metadata of that name, "
        f"write {{{{metadata.{name}}}}}."
        for name in sorted(TRACE_PLACEHOLDERS.intersection(judge.placeholders))
        if any(name in each for each in metadata)
    ]
    if judge.against is None and "output" not in judge.placeholders and not judge.takes_trace:
        warnings.append(f"Judge {judge.name!r} does not see the output: its prompt has no {{{{output}}}}.")
    without = sum(item.expected_output is None for item in items)
    if "expected_output" in judge.placeholders and without:
        reads = repr(judge.missing_expected_output) if judge.missing_expected_output else "nothing"
        warnings.append(
            f"Judge {judge.name!r} compares with an expected output, which {without} of {len(items)} items do not "
            f"have: it reads {reads} there (set `missing_expected_output` in its config to change that)."
        )
    return warnings
