"""The scores of one name that several makers gave the same results: each maker's is a score of its own.

The one whose maker came last has the plain name. The others are named with their makers, as `tone@judge-tone:1` or
`accuracy@checks.py:1f0c55aa`; what reads scores by their names then keeps them apart.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lfexp_mcp.model import (
    RUN_MAKERS,
    BuiltInMaker,
    EvaluatorFailure,
    ItemResult,
    JudgeMaker,
    RunMaker,
    RunPlan,
    RunRecord,
    Score,
    ScriptMaker,
    scaled_label,
)

SHOWN_HASH_CHARS = 8
Given = TypeVar("Given", Score, EvaluatorFailure)
Key = tuple[int, str]
"""Repetition and item id of a result."""


@dataclass(slots=True)
class ScoreVersion:
    """The scores of one name by one maker: a version of a judge, a script, or a built-in evaluator with its options.

    An edited script that went on where the one before had stopped is one with it.
    """

    makers: list[RunMaker]
    since: float
    """When the first of them was given, as a POSIX time."""
    results: set[Key] = field(default_factory=set)
    """Those that it has scored, or failed on."""
    name: str = ""

    @property
    def maker(self) -> RunMaker:
        """The maker, the newest if there are several."""
        return self.makers[0]

    def has(self, maker: object) -> bool:
        """Whether a maker is one of its own."""
        return any(_is_same(known, maker) for known in self.makers)


def name_scores(record: RunRecord, plain: Mapping[str, RunMaker] | None = None) -> RunRecord:
    """Give the scores that several makers gave the same results names of their own.

    A result that one of them has not scored counts as unscored by it.

    Args:
        record: The run, with its scores' own names.
        plain: By score name, the maker whose scores are to have the plain name, instead of the newest.

    Returns:
        The very same record if there are no such scores.
    """
    versions = find_versions(record)
    if not versions:
        return record
    for name, found in versions.items():
        _name(name, found, (plain or {}).get(name))
    items = tuple(_renamed(item, versions) for item in record.items)
    told = tuple(_tell(name, found) for name, found in versions.items())
    plan = _planned(record.plan, versions) if record.plan else None
    older = frozenset(version.name for found in versions.values() for version in found[1:])
    return replace(record, items=items, plan=plan, warnings=(*record.warnings, *told), older_scores=older)


def name_alike(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Name the scores of runs that are compared: the plain name is for a maker that all of them have, where one is.

    Args:
        records: The runs, with their scores' own names.
    """
    found = [find_versions(record) for record in records]
    plain: dict[str, RunMaker] = {}
    for name in {name for versions in found for name in versions}:
        makers = [
            [version.maker for version in versions[name]] if name in versions else _makers(record, name)
            for record, versions in zip(records, found, strict=True)
        ]
        first, *others = (each for each in makers if each)
        shared = (one for one in first if all(any(_is_same(one, other) for other in each) for each in others))
        maker = next(shared, None)
        if maker is not None:
            plain[name] = maker
    return [name_scores(record, plain) for record in records]


def plain_name(name: str, runs: Iterable[Mapping[str, Sequence[object]]]) -> str:
    """Return a score's plain name, if a name with its maker is given for it.

    Args:
        runs: For each run, the makers by the names of scores.
    """
    runs = [*runs]
    if any(name in makers for makers in runs):
        return name

    def is_meant(base: str) -> bool:
        of = [makers[base] for makers in runs if base in makers]
        return all(any(isinstance(one, RUN_MAKERS) and address_of(base, one) == name for one in each) for each in of)

    return next((base for base in sorted({base for makers in runs for base in makers}) if is_meant(base)), name)


def _makers(record: RunRecord, name: str) -> list[RunMaker]:
    scores = (score for score in record.bare_scores if score.name == name)
    return list({score.maker: None for score in scores if isinstance(score.maker, RUN_MAKERS)})


def find_versions(record: RunRecord) -> dict[str, list[ScoreVersion]]:
    """Find the scores that several makers gave the same results: by name, the versions of each, the newest first."""
    names = {name for item in record.items for name in _repeated(item)}
    if not names:
        return {}
    found: dict[str, list[ScoreVersion]] = {name: [] for name in names}
    functions: dict[str, set[str | None]] = {name: set() for name in names}
    for item in record.items:
        for score in item.scores:
            maker = score.maker
            if score.name in names and isinstance(maker, RUN_MAKERS):
                since = score.timestamp.timestamp() if score.timestamp else 0.0
                _add(found[score.name], maker, since, item)
                if isinstance(maker, ScriptMaker):
                    functions[score.name].add(maker.function)
    for item in record.items:
        for name, failure in _failures(item, names, functions):
            if failure.maker is not None:
                _add(found[name], failure.maker, failure.at.timestamp() if failure.at else 0.0, item)
    joined = {name: _join(versions) for name, versions in sorted(found.items())}
    return {name: versions for name, versions in joined.items() if len(versions) > 1}


def address_of(name: str, maker: RunMaker) -> str:
    """Name a score with its maker, such as `tone@judge-tone:1`."""
    match maker:
        case JudgeMaker(prompt=prompt, version=version):
            return f"{name}@{prompt}" + (f":{version}" if version is not None else "")
        case ScriptMaker(file=file, sha256=digest):
            return f"{name}@{file or 'script'}" + (f":{digest[:SHOWN_HASH_CHARS]}" if digest else "")
        case BuiltInMaker(evaluator=evaluator, options=options):
            return f"{name}@{evaluator}" + (f":{options}" if options else "")


def _repeated(item: ItemResult) -> Iterator[str]:
    """The names that a result has scores, or failures, of more than one of a run's makers of."""
    scores = item.bare_scores
    if len(scores) + len(item.unscored) < 2:
        return
    seen: dict[str, RunMaker] = {}
    given: tuple[Score | EvaluatorFailure, ...] = (*scores, *item.unscored)
    for one in given:
        if isinstance(one.maker, RUN_MAKERS):
            known = seen.setdefault(one.name, one.maker)
            if known is not one.maker and not _is_same(one.maker, known):
                yield one.name


def _is_same(maker: RunMaker, other: object) -> bool:
    """Whether scores by two makers are one: what a script's functions give under one name is one score."""
    if isinstance(maker, ScriptMaker):
        return isinstance(other, ScriptMaker) and maker.sha256 == other.sha256
    return isinstance(other, RUN_MAKERS) and maker.is_same(other)


def _add(versions: list[ScoreVersion], maker: RunMaker, since: float, item: ItemResult) -> None:
    version = next((known for known in versions if known.has(maker)), None)
    if version is None:
        version = ScoreVersion([maker], since)
        versions.append(version)
    version.since = min(version.since, since)
    version.results.add((item.repeat, item.item_id))


def _failures(
    item: ItemResult, names: Iterable[str], functions: Mapping[str, set[str | None]]
) -> Iterator[tuple[str, EvaluatorFailure]]:
    """The failures to score a result, by the name of the score: a function that failed gave none of its scores."""
    for failure in item.unscored:
        for name in names:
            by_function = isinstance(failure.maker, ScriptMaker) and failure.maker.function in functions[name]
            if failure.name == name or by_function:
                yield name, failure


def _join(versions: list[ScoreVersion]) -> list[ScoreVersion]:
    """Order versions, the newest first, and join those of an edited script that scored other results."""
    joined: list[ScoreVersion] = []
    for version in sorted(versions, key=lambda one: (one.since, _number(one.maker)), reverse=True):
        last = joined[-1] if joined else None
        scripts = last is not None and all(isinstance(one, ScriptMaker) for one in (*last.makers, *version.makers))
        if last is not None and scripts and last.results.isdisjoint(version.results):
            last.makers += version.makers
            last.results |= version.results
        else:
            joined.append(version)
    return joined


def _number(maker: RunMaker) -> int:
    return maker.version or 0 if isinstance(maker, JudgeMaker) else 0


def _name(name: str, versions: list[ScoreVersion], plain: RunMaker | None) -> None:
    """Name the versions of a score, and put the one with the plain name first."""
    first = next((version for version in versions if plain is not None and version.has(plain)), versions[0])
    versions.sort(key=lambda version: version is not first)
    first.name = name
    for version in versions[1:]:
        address = address_of(name, version.maker)
        # Two models may have answered the same version of a judge.
        alike = [other for other in versions if address_of(name, other.maker) == address]
        if len(alike) > 1 and isinstance(version.maker, JudgeMaker) and version.maker.model:
            address += f"/{version.maker.model}"
        taken = sum(other.name == address or other.name.startswith(f"{address}#") for other in versions)
        version.name = address if not taken else f"{address}#{taken + 1}"


def _renamed(item: ItemResult, versions: Mapping[str, Sequence[ScoreVersion]]) -> ItemResult:
    key = (item.repeat, item.item_id)
    scores = tuple(_with_name(score, versions) for score in item.scores)
    unscored = [_with_name(failure, versions) for failure in item.unscored]
    for found in versions.values():
        touched = any(key in version.results for version in found)
        for version in found:
            if touched and key not in version.results:
                error = f"{scaled_label(version.maker)} has not scored this result; another maker of the score has."
                unscored.append(EvaluatorFailure(version.name, error, version.maker))
    return replace(item, scores=scores, unscored=tuple(unscored))


def _with_name(one: Given, versions: Mapping[str, Sequence[ScoreVersion]]) -> Given:
    name = next((version.name for version in versions.get(one.name, ()) if version.has(one.maker)), one.name)
    return one if name == one.name else replace(one, name=name)


def _planned(plan: RunPlan, versions: Mapping[str, Sequence[ScoreVersion]]) -> RunPlan:
    """Return a run's plan with the names that its judges' scores have."""
    judges = plan.judges
    names = [
        next((version.name for version in versions.get(name, ()) if version.has(judges.get(name))), name)
        for name in plan.scores
    ]
    return replace(plan, scores=tuple(names))


def _tell(name: str, versions: Sequence[ScoreVersion]) -> str:
    first, *others = versions
    earlier = "; ".join(f"{other.name!r} ({scaled_label(other.maker)})" for other in others)
    return f"{name!r} is the score by {scaled_label(first.maker)}. Those by other makers are kept apart as {earlier}."
