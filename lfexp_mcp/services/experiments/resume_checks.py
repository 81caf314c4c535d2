"""Which version of its judges a resumed run asks, and what becomes of the scores that it has."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.judges.references import parse_reference
from lfexp_mcp.model import JudgeMaker, ResolvedJudge, RunSpec
from lfexp_mcp.runs.replay import RunState
from lfexp_mcp.services.experiments.request import RunRequest
from lfexp_mcp.services.runs.outdated_judges import find_outdated
from lfexp_mcp.services.workspace import Workspace


@dataclass(frozen=True, slots=True)
class JudgeProgress:
    """A judge of a run that is resumed."""

    judge: ResolvedJudge
    scored: int
    """Results that it has scored, in this version."""
    failures: Counter[str] = field(default_factory=Counter)
    """Why it did not score others."""


def judge_progress(before: RunSpec, state: RunState) -> dict[str, JudgeProgress]:
    """Read what the judges of a run have done so far, by the names of their prompts."""
    scored: Counter[tuple[str, int | None]] = Counter()
    failures: dict[str, Counter[str]] = {}
    for item in state.scored.values():
        for score in item.scores:
            if isinstance(score.maker, JudgeMaker):
                scored[score.maker.prompt, score.maker.version] += 1
        for missing in item.unscored:
            failures.setdefault(missing.name, Counter())[missing.error] += 1
    return {
        judge.name: JudgeProgress(judge, scored[judge.name, judge.version], failures.get(judge.score_name, Counter()))
        for judge in before.judges
    }


async def check_versions(
    ws: Workspace, request: RunRequest, judges: Sequence[ResolvedJudge], so_far: dict[str, JudgeProgress]
) -> list[str]:
    """Check the versions of the judges that a resume is going to ask.

    Args:
        ws: The workspace.
        request: The request; a judge that it names with a version or label is asked in that, whatever it did so far.
        judges: Those of the resume.
        so_far: What the run's judges have done, see `judge_progress`.

    Returns:
        What the user should know of versions that differ.

    Raises:
        JudgeError: A version that has scored nothing would be asked again though there is a newer one.
    """
    references = [parse_reference(name) for name in request.judges or ()]
    chosen = {one.name for one in references if one.version is not None or one.label is not None}
    warnings = list(_other_versions(judges, so_far))
    failing = [
        judge for judge in judges if (known := so_far.get(judge.name)) and known.failures and _same(judge, known)
    ]
    for newer in await find_outdated(ws, (judge.maker for judge in failing)):
        known = so_far[newer.name]
        if known.scored or newer.name in chosen:
            warnings.append(newer.advice)
            continue
        ((reason, _),) = known.failures.most_common(1)
        raise JudgeError(
            f"Judge {newer.name!r} has scored none of {known.failures.total()} results in version {newer.version}, "
            f"mostly since: {reason} It has version {newer.latest} now. Name the one to ask: "
            f'judges=["{newer.reference}"], or judges=["{newer.name}:{newer.version}"] to ask the same again.'
        )
    return warnings


def check_score_names(judges: Sequence[ResolvedJudge], state: RunState) -> None:
    """Check that no judge of a resume is to give scores under a name that those of another maker have.

    Raises:
        JudgeError: One is; its calls would be spent for scores that cannot be kept.
    """
    for judge in judges:
        others = Counter(
            score.maker.label
            for item in state.scored.values()
            for score in item.scores
            if score.name == judge.score_name
            and not (isinstance(score.maker, JudgeMaker) and score.maker.prompt == judge.name)
        )
        for label, count in others.most_common(1):
            raise JudgeError(
                f"Judge {judge.name!r} gives the score {judge.score_name!r}, of which the run has {count} by {label}. "
                "Set another `score_name` in the config of its prompt, or score all with it under a new run name."
            )


def _same(judge: ResolvedJudge, known: JudgeProgress) -> bool:
    return judge.version == known.judge.version


def _other_versions(judges: Sequence[ResolvedJudge], so_far: dict[str, JudgeProgress]) -> Iterator[str]:
    for judge in judges:
        known = so_far.get(judge.name)
        if known is not None and known.scored and not _same(judge, known):
            yield (
                f"Judge {judge.name!r} version {judge.version} is asked only about what version {known.judge.version} "
                f"did not score: its {known.scored} scores stay its own, and no mean stands for both. A new run name "
                "scores all with one version."
            )
