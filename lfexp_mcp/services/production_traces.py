"""Finding production traces, such as those of a user, with an error, or with a low score.

Langfuse is asked for what it can filter by. Servers differ in which conditions they know, and an unknown one may be
ignored: each trace is checked here as well, so that none comes in that was not asked for.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import JsonValue

from lfexp_mcp.errors import BackendError, UsageError
from lfexp_mcp.gateway import EXPERIMENT_ENVIRONMENT, Observation
from lfexp_mcp.model import RUN_MAKERS, Scale, Score
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import Limit, is_below, parse_limit
from lfexp_mcp.services.annotations.comments import read_comments
from lfexp_mcp.services.annotations.scope import Scope
from lfexp_mcp.services.definitions.item_store import collected_id
from lfexp_mcp.services.definitions.new_items import CollectedItem, check_json
from lfexp_mcp.services.metadata_conditions import MetadataCondition, parse_conditions
from lfexp_mcp.services.requests import TraceFilter
from lfexp_mcp.services.workspace import Workspace

MAX_READ = 20_000
"""Traces, or observations of a level, that are looked through for those that match, the newest first."""
BATCH = 50
"""Traces asked for by id, or for whose scores is asked, with one request."""
MILLISECOND = timedelta(milliseconds=1)
UNIT = Scale(0.0, 1.0)


@dataclass(slots=True)
class FoundTraces:
    """The newest production traces that match a filter and have an input."""

    roots: list[Observation] = field(default_factory=list)
    """Their root observations, newest first; one per trace."""
    notes: list[str] = field(default_factory=list)
    """What the caller should know of how they were found."""


async def find_traces(ws: Workspace, wanted: TraceFilter, count: int, until: datetime | None = None) -> FoundTraces:
    """Find the newest production traces that match a filter; those of experiments never do.

    Args:
        wanted: The filter.
        count: How many to find.
        until: Only those that began before, beside the filter's own limit.

    Raises:
        UsageError: The values of the filter's score cannot be compared with its limit.
        BackendError: Langfuse does not say what the filter asks for.
    """
    found = FoundTraces()
    limits = [limit for limit in (until, wanted.until) if limit is not None]
    check = _Check(wanted, parse_conditions(wanted.where) if wanted.where else (), min(limits, default=None))
    scales = await ws.gateway.score_scales() if wanted.score is not None else {}
    holdouts = await ws.gateway.datasets.project_holdouts()
    # A trace that a held-out item was made of is as secret as the item.
    read, unusable, seen = 0, 0, set(holdouts.sources if holdouts else ())
    async for page in _pages(ws, wanted, check, count, found.notes):
        read += len(page)
        new = {root.trace_id: root for root in page if root.trace_id not in seen and check.holds(root)}
        seen |= new.keys()
        with_input = [root for root in new.values() if _is_usable(root)]
        unusable += len(new) - len(with_input)
        for start in range(0, len(with_input), BATCH):
            batch = with_input[start : start + BATCH]
            found.roots += await _below(ws, wanted, batch, scales) if wanted.score is not None else batch
            if len(found.roots) >= count:
                break
        if len(found.roots) >= count or read >= MAX_READ:
            break
    del found.roots[count:]
    if len(found.roots) < count and read >= MAX_READ:
        found.notes.append(
            f"Only the newest {read:,} traces were looked through: narrow the filter, such as by `since`."
        )
    if len(found.roots) < count:
        found.notes.append(f"{len(found.roots)} of the {count} traces asked for were found.")
    if unusable:
        found.notes.append(f"{unusable} traces that match have no input, or one nested too deeply: left out.")
    return found


def _is_usable(root: Observation) -> bool:
    if root.input in (None, ""):
        return False
    try:
        check_json([root.input, root.output])
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Check:
    """What a root observation itself tells of a filter."""

    wanted: TraceFilter
    metadata: Sequence[MetadataCondition]
    until: datetime | None

    def holds(self, root: Observation) -> bool:
        wanted = self.wanted
        if wanted.tags and root.tags is None:
            raise BackendError("This Langfuse server does not say which tags a trace has: leave out `tags`.")
        is_root = root.parent_id is None if root.is_root is None else root.is_root
        return (
            is_root
            and root.environment != EXPERIMENT_ENVIRONMENT
            and root.environment in (wanted.environment or (root.environment,))
            and wanted.name in (None, root.trace_name or root.name)
            and wanted.user in (None, root.user_id)
            and wanted.session in (None, root.session_id)
            and set(wanted.tags or ()) <= set(root.tags or ())
            and (wanted.since is None or root.started >= wanted.since)
            and (self.until is None or root.started < self.until)
            and all(condition.holds(root.metadata) for condition in self.metadata)
        )

    def conditions(self) -> list[dict[str, JsonValue]]:
        """The conditions that Langfuse can check; a trace's name may be that of its root, so it is not among them."""
        wanted = self.wanted
        found = [
            _condition("string", "userId", "=", wanted.user),
            _condition("string", "sessionId", "=", wanted.session),
            _condition("arrayOptions", "traceTags", "all of", list(wanted.tags or ()) or None),
            _condition("stringOptions", "environment", "any of", list(wanted.environment or ()) or None),
            _since(wanted.since),
            # Langfuse compares milliseconds: one more, so that it leaves out nothing that began within the last.
            _condition("datetime", "startTime", "<", (self.until + MILLISECOND).isoformat() if self.until else None),
        ]
        return [condition for condition in found if condition is not None]


def _condition(kind: str, column: str, operator: str, value: JsonValue) -> dict[str, JsonValue] | None:
    return None if value is None else {"type": kind, "column": column, "operator": operator, "value": value}


def _since(since: datetime | None) -> dict[str, JsonValue] | None:
    return _condition("datetime", "startTime", ">=", since.isoformat() if since else None)


async def _pages(
    ws: Workspace, wanted: TraceFilter, check: _Check, count: int, notes: list[str]
) -> AsyncIterator[list[Observation]]:
    """Read the roots that may match, newest first; only those with the level or comments, if these are asked for."""
    heads = [condition.key.partition(".")[0] for condition in check.metadata]
    expand = list(dict.fromkeys([*heads, *(condition.key for condition in check.metadata)]))
    ids = await _with_level(ws, wanted, notes) if wanted.level else None
    if wanted.has_comment:
        commented = {one.trace_id for one in await read_comments(ws, Scope()) if one.trace_id is not None}
        ids = commented if ids is None else ids & commented
    if ids is None:
        narrow = bool(wanted.name or wanted.where or wanted.score)
        pages = ws.gateway.observations.roots(check.conditions(), expand, 200 if narrow else max(2 * count, BATCH))
        async for page in pages:
            yield page
        return
    roots: list[Observation] = []
    asked = sorted(ids)
    for start in range(0, len(asked), BATCH):
        among = _condition("stringOptions", "traceId", "any of", [*asked[start : start + BATCH]])
        async for page in ws.gateway.observations.roots([*check.conditions(), *([among] if among else [])], expand):
            roots += [root for root in page if root.trace_id in ids]
    yield sorted(roots, key=lambda root: (root.started, root.trace_id), reverse=True)


async def _with_level(ws: Workspace, wanted: TraceFilter, notes: list[str]) -> set[str]:
    """Return the traces with an observation of the level; it may have begun after the filter's end."""
    conditions = [_condition("string", "level", "=", wanted.level), _since(wanted.since)]
    found = await ws.gateway.observations.find(
        filter=[condition for condition in conditions if condition], with_content=False, max_rows=MAX_READ
    )
    if len(found) >= MAX_READ:
        notes.append(f"Only the newest {len(found):,} observations of level {wanted.level} were looked through.")
    return {one.trace_id for one in found if one.level == wanted.level and one.environment != EXPERIMENT_ENVIRONMENT}


async def _below(
    ws: Workspace, wanted: TraceFilter, roots: Sequence[Observation], scales: dict[str, Scale]
) -> list[Observation]:
    """Return the traces whose score is below the limit: the newest one that a human gave, else the newest."""
    name = wanted.score or ""
    # Langfuse takes a comma for the end of a name.
    scores = await ws.gateway.scores.find(
        trace_ids=[root.trace_id for root in roots], name=None if "," in name else name
    )
    counting: dict[str, Score] = {}
    for one in sorted((score for score in scores if score.name == name), key=_weight):
        counting[one.trace_id or ""] = one
    limit = parse_limit(str(wanted.below))
    return [
        root
        for root in roots
        if (score := counting.get(root.trace_id)) is not None and _is_below(score, limit, scales.get(name))
    ]


def _weight(score: Score) -> tuple[bool, float]:
    return score.source == "ANNOTATION", score.timestamp.timestamp() if score.timestamp else 0.0


def _is_below(score: Score, limit: Limit, configured: Scale | None) -> bool:
    """Whether a score is below a limit, on the scale of who made it, of its score config, or of the limit."""
    if isinstance(score.value, str) and configured is None:
        raise UsageError(
            f"The values of score {score.name!r} are labels, such as {score.value!r}: none is below another."
        )
    declared = score.maker.scale if isinstance(score.maker, RUN_MAKERS) else None
    scale = declared or configured or (UNIT if limit.high is None else Scale(0.0, limit.high))
    how = ScoreInterpretation(score.name, score.data_type, score.maker.origin, scale, None, (score.maker,))
    value = how.canonical(score)
    if value is None:
        raise UsageError(
            f"Score {score.name!r} has the value {score.value} outside {scale.name}: write `below` on its own scale, "
            "such as `3/5`, or give it a score config."
        )
    try:
        return is_below(value, limit.canonical(scale))
    except ValueError as error:
        raise UsageError(f"below {limit}: {error}.") from None


def describe(wanted: TraceFilter, roots: Sequence[Observation]) -> str:
    """Say which traces were found, newest first, and of which time, so that the choice can be told later."""
    condition = f" with {wanted}" if wanted != TraceFilter() else ""
    first, last = roots[-1].started, roots[0].started
    return f"The newest {len(roots)} production traces{condition}, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}."


def check_found(found: FoundTraces, wanted: TraceFilter) -> None:
    """Refuse to go on with no trace.

    Raises:
        UsageError: None was found.
    """
    if found.roots:
        return
    if wanted != TraceFilter():
        raise UsageError(" ".join([f"No production trace matches {wanted}: loosen the filter.", *found.notes]))
    raise UsageError(
        "There is no production trace with an input. Trace the application with the Langfuse SDK first, or run over a "
        "dataset."
    )


def item_of_trace(dataset_name: str, root: Observation) -> CollectedItem:
    """Make a dataset item of a trace.

    What production answered is kept as metadata `production_output`: it is a reference, not an expected output.
    """
    return CollectedItem(
        id=collected_id(dataset_name, root.trace_id),
        input=root.input,
        metadata={"production_output": root.output, "trace_name": root.trace_name or root.name},
        source_trace_id=root.trace_id,
        source_observation_id=root.id,
    )
