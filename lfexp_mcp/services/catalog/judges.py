"""The judges of the project, and one of them whole."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from pydantic import JsonValue

from lfexp_mcp.answers.catalog import JudgeEntry, JudgeList
from lfexp_mcp.errors import JudgeError, NotFoundError
from lfexp_mcp.gateway import Prompt, PromptInfo
from lfexp_mcp.groups import for_each
from lfexp_mcp.judges.discovery import JUDGE_PREFIX
from lfexp_mcp.judges.prompts import PromptReference, read_prompt, resolve_reference
from lfexp_mcp.model import NextStep, ResolvedJudge, Scale
from lfexp_mcp.services.answer_size import MAX_WHOLE_ITEM_TOKENS, AnswerSize, fit
from lfexp_mcp.services.cursors import check_cursor, read_cursor, write_cursor
from lfexp_mcp.services.definitions.judges import judge_warnings, settle_judge
from lfexp_mcp.services.definitions.prompts import NO_KEY
from lfexp_mcp.services.next_steps import judged_run_step
from lfexp_mcp.services.workspace import Workspace

MAX_CONCURRENT_REQUESTS = 8
MAX_LABELS = 20
"""Labels of a judge whose versions are looked up, one request each."""


async def list_judges(ws: Workspace, judge: str | None = None, limit: int = 20, cursor: str | None = None) -> JudgeList:
    """List the prompts named `judge-*`, which are the project's judges, or show one judge whole.

    Args:
        judge: Only this one, named as a run names it: `judge-tone`, `judge-tone@production`, `judge-tone:3`. It may be
            any prompt.
        limit: Judges per page.
        cursor: Where the page begins.

    Raises:
        NotFoundError: There is no such prompt or version.
        UsageError: The cursor is invalid.
    """
    start = read_cursor(cursor)
    known = {info.name: info for info in await ws.gateway.prompts.all()}
    scales = await ws.gateway.score_scales()
    if judge is not None:
        return await _one_judge(ws, judge, known, scales)
    names = sorted(name for name in known if name.startswith(JUDGE_PREFIX))
    check_cursor(start, len(names), "judges")
    entries = await _entries(ws, names[start : start + limit], known, scales)
    lacks_key = any(entry.model is None and entry.error is None for entry in entries)

    def build(size: AnswerSize) -> JudgeList:
        shown = entries[: size.rows]
        end = start + len(shown)
        return JudgeList(
            backend=str(ws.gateway.backend),
            total=len(names),
            judges=shown,
            next_cursor=write_cursor(end) if end < len(names) else None,
            warnings=[*([NO_KEY] if lacks_key else []), *(() if names else ws.gateway.backend.notes)],
            next=_next_steps(shown),
        )

    return fit(build, limit, "summary")


async def _entries(
    ws: Workspace, names: Sequence[str], known: Mapping[str, PromptInfo], scales: Mapping[str, Scale]
) -> list[JudgeEntry]:
    found: dict[str, JudgeEntry] = {}

    async def read(name: str) -> None:
        try:
            prompt = await read_prompt(ws.gateway, PromptReference(name), known)
        except NotFoundError as error:
            # Deleted since it was listed.
            found[name] = JudgeEntry(judge=name, versions=_ranges(known[name].versions), error=str(error))
        else:
            found[name], _ = _settled(ws, prompt, known[name], scales)

    await for_each(names, read, MAX_CONCURRENT_REQUESTS)
    return [found[name] for name in names]


def _settled(
    ws: Workspace, prompt: Prompt, info: PromptInfo, scales: Mapping[str, Scale]
) -> tuple[JudgeEntry, ResolvedJudge | None]:
    """Describe a judge as a run would resolve it; None where it could not."""
    entry = JudgeEntry(judge=prompt.name, version=prompt.version, versions=_ranges(info.versions))
    try:
        judge, model = settle_judge(ws, prompt, scales)
    except JudgeError as error:
        return entry.model_copy(update={"error": str(error)}), None
    update = {
        "score_name": judge.score_name,
        "scale": judge.scale.name,
        "scale_source": judge.scale_source,
        "model": model,
    }
    return entry.model_copy(update=update), judge


async def _one_judge(
    ws: Workspace, asked: str, known: Mapping[str, PromptInfo], scales: Mapping[str, Scale]
) -> JudgeList:
    reference = resolve_reference(asked, known)
    prompt = await read_prompt(ws.gateway, reference, known)
    info = known[reference.name]
    labels = await _label_versions(ws, prompt, info)
    entry, judge = _settled(ws, prompt, info, scales)
    warnings = []
    if judge is not None:
        warnings = [*judge_warnings(judge), *([] if entry.model else [NO_KEY])]
    if reference == PromptReference(prompt.name) and "production" not in info.labels:
        warnings.append(f"No version has the label `production`: a run uses the latest, {prompt.version}.")
    if len(info.labels) > MAX_LABELS:
        warnings.append(f"{MAX_LABELS} of its {len(info.labels)} labels are shown.")
    messages: list[JsonValue] = [
        {"role": message.role, "content": message.content}
        for message in ([] if isinstance(prompt.prompt, str) else prompt.prompt)
    ]

    def build(size: AnswerSize) -> JudgeList:
        update = {
            "labels": labels,
            "prompt": size.truncate(prompt.prompt if isinstance(prompt.prompt, str) else messages),
            "config": {key: size.truncate(value) for key, value in prompt.config.items()},
        }
        whole = entry.model_copy(update=update)
        return JudgeList(
            backend=str(ws.gateway.backend),
            total=1,
            judges=[whole],
            warnings=warnings,
            next=[judged_run_step(asked) if judge else _CREATE],
        )

    return fit(build, 1, "full", MAX_WHOLE_ITEM_TOKENS)


async def _label_versions(ws: Workspace, prompt: Prompt, info: PromptInfo) -> dict[str, int]:
    """Return the version of each label; the API lists labels and versions apart."""
    found = dict.fromkeys(prompt.labels, prompt.version) | {"latest": max(info.versions, default=prompt.version)}

    async def look_up(label: str) -> None:
        try:
            found[label] = (await ws.gateway.prompts.get(prompt.name, label=label)).version
        except NotFoundError:
            # Removed since it was listed.
            return

    unknown = [label for label in sorted(info.labels)[:MAX_LABELS] if label not in found]
    await for_each(unknown, look_up, MAX_CONCURRENT_REQUESTS)
    return dict(sorted(found.items()))


def _ranges(versions: Iterable[int]) -> str:
    """Write numbers in short: `1-3, 5`."""
    runs = [
        [version for _, version in run]
        for _, run in groupby(enumerate(sorted(versions)), key=lambda placed: placed[1] - placed[0])
    ]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _next_steps(shown: Sequence[JudgeEntry]) -> list[NextStep]:
    usable = next((entry.judge for entry in shown if entry.error is None), None)
    if usable is None:
        return [_CREATE]
    return [NextStep("list_judges", {"judge": usable}, "Read one whole."), judged_run_step(usable)]


_CREATE = NextStep("create_judge", {"name": "judge-accuracy", "prompt": "<text>"}, "Create a judge.")
