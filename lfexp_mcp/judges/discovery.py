"""Find the judges of a run: those named, else those of the dataset, else all prompts named `judge-*`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lfexp_mcp.errors import JudgeError, NotFoundError
from lfexp_mcp.gateway import HOW_TO_MAKE_A_PROMPT, Dataset, Gateway, Prompt, PromptInfo
from lfexp_mcp.judges.references import PromptReference, parse_reference
from lfexp_mcp.judges.resolution import PREFIX, check_placeholders, resolve_judge
from lfexp_mcp.model import DatasetItem, ResolvedJudge
from lfexp_mcp.settings import Settings

_HOW = "Make one with create_judge: a name such as `judge-accuracy`, and a prompt that has {{output}}."


@dataclass(frozen=True, slots=True)
class FoundJudges:
    """The judges of a run."""

    judges: tuple[ResolvedJudge, ...]
    warnings: tuple[str, ...]
    """What the user should know of them before the run."""


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
) -> FoundJudges:
    """Find and resolve the judges of a run.

    Args:
        gateway: The way to Langfuse.
        settings: Keys and defaults of models.
        dataset: The dataset; its metadata may name judges under `judge_prompts`.
        items: Its items, which have to provide what the prompts' placeholders ask for.
        names: Prompts by name, `name@label` or `name:version`; they win over discovery.
        use_langfuse_judges: Whether to look for judges where none are named.
        samples: Votes per judge and item.
        versions: Versions that stand for prompts named without one: those that a run was begun with.

    Returns:
        The judges; none where none were asked for.

    Raises:
        NotFoundError: A prompt that is named does not exist, or not in that version.
        JudgeError: None were found, one cannot be used, or two give a score of one name.
    """
    if not names and not use_langfuse_judges:
        return FoundJudges((), ())
    known = {info.name: info for info in await gateway.prompts.all()}
    pinned = versions or {}
    references = [
        replace(one, version=pinned.get(one.name)) if one.version is None and one.label is None else one
        for one in _references(names, dataset, known)
    ]
    score_configs = await gateway.score_configs()
    prompts = [await read_prompt(gateway, reference, known) for reference in references]
    judges = [resolve_judge(prompt, score_configs, settings, samples) for prompt in prompts]
    _check_score_names(judges)
    warnings = [warning for judge in judges for warning in check_placeholders(judge, items)]
    return FoundJudges(tuple(judges), tuple(warnings))


async def read_prompt(gateway: Gateway, reference: PromptReference, known: dict[str, PromptInfo]) -> Prompt:
    """Read the version of a prompt that is meant: without label or version, the one in production, else the latest.

    Raises:
        NotFoundError: There is no such prompt, or not in that version.
    """
    info = known.get(reference.name)
    if info is None:
        raise NotFoundError.of("prompt", reference.name, known, HOW_TO_MAKE_A_PROMPT)
    label = reference.label
    if label is None and reference.version is None and "production" not in info.labels:
        label = "latest"
    return await gateway.prompts.get(reference.name, version=reference.version, label=label)


def _references(names: Sequence[str] | None, dataset: Dataset, known: dict[str, PromptInfo]) -> list[PromptReference]:
    listed = list(names) if names else _named_by(dataset)
    if listed:
        # A prompt whose own name looks like a name with a version is meant as it is.
        found = [PromptReference(name) if name in known else parse_reference(name) for name in listed]
        return list(dict.fromkeys(found))
    discovered = [PromptReference(name) for name in sorted(known) if name.startswith(PREFIX)]
    if not discovered:
        raise JudgeError(f"There are no judges: Langfuse has no prompt whose name begins with `{PREFIX}`. {_HOW}")
    return discovered


def _named_by(dataset: Dataset) -> list[str]:
    listed = dataset.metadata.get("judge_prompts")
    if listed is None:
        return []
    names = [listed] if isinstance(listed, str) else listed
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise JudgeError(
            f"`judge_prompts` in the metadata of dataset {dataset.name!r} must be a list of prompt names, "
            f"not {listed!r}. "
            "Correct it with create_dataset, or name the judges in the call."
        )
    return [str(name) for name in names]


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
