"""Results of a run of this machine. In memory is what is asked of all of them; the rest is read from the journal."""

import marshal
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isnan, nan
from struct import Struct

from pydantic import JsonValue

from lfexp_mcp.model import EvaluatorFailure, ItemResult, ItemStatus, Score
from lfexp_mcp.runs.contents import RunContents, StoredContent
from lfexp_mcp.runs.events import ItemEnded, ItemScored
from lfexp_mcp.runs.newest_events import NOWHERE
from lfexp_mcp.runs.packed_result import PackedResult, pack_id

MAX_SHARED = 4096
"""Combinations of scores that results share; of further ones, each result has its own values."""

_HEAD = Struct("<qq8sdd")
"""Where the result and its scores are in the journal, its observation, start and seconds."""
_OTHER_ID = bytes(8)
"""Stands for an observation id that is not 16 hexadecimal digits, and is read from the journal."""

_Value = tuple[float | bool | str, float | None, dict[str, JsonValue] | None]
"""Value, raw value and metadata of a score."""


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """What results have in common."""

    source: RunContents
    status: ItemStatus
    repeat: int
    error: str | None = None
    unscored: tuple[EvaluatorFailure, ...] = ()
    scores: tuple[Score, ...] = ()
    """See `ItemResult.bare_scores`."""
    has_own_values: bool = False
    """Whether each result has values of its own in these scores."""


class JournaledResult(ItemResult):
    """A result of which the journal has the ids and the comments; see `JournaledResults`, which makes it."""

    __slots__ = ("_packed", "_shared", "item_id")

    _packed: bytes
    """The head, and the values that are its own; empty for a pending result."""
    _shared: _Shared

    def __new__(cls, *_: object, **changed: object) -> "ItemResult":  # type: ignore[misc]
        """Create the result that `replace` makes of one, which holds everything itself."""
        return PackedResult(**changed)  # type: ignore[arg-type]

    @classmethod
    def of(cls, item_id: str, shared: _Shared, packed: bytes = b"") -> "JournaledResult":
        """Create a result of its parts."""
        result = object.__new__(cls)
        keep = object.__setattr__
        keep(result, "item_id", item_id)
        keep(result, "_shared", shared)
        keep(result, "_packed", packed)
        return result

    def with_scores(self, shared: _Shared, offset: int, own: bytes) -> "JournaledResult":
        """Return this result with its scores.

        Args:
            shared: What it has in common with others now.
            offset: Where the journal has the scores.
            own: The values that are its own.
        """
        ended, _, *rest = _HEAD.unpack_from(self._packed)
        return JournaledResult.of(self.item_id, shared, _HEAD.pack(ended, offset, *rest) + own)

    @property
    def status(self) -> ItemStatus:
        """See `ItemResult.status`."""
        return self._shared.status

    @property
    def repeat(self) -> int:
        """See `ItemResult.repeat`."""
        return self._shared.repeat

    @property
    def error(self) -> str | None:
        """See `ItemResult.error`."""
        return self._shared.error

    @property
    def unscored(self) -> tuple[EvaluatorFailure, ...]:
        """See `ItemResult.unscored`."""
        return self._shared.unscored

    @property
    def content(self) -> StoredContent:
        """See `ItemResult.content`."""
        offset = _HEAD.unpack_from(self._packed)[0] if self._packed else None
        return StoredContent(self._shared.source, self.item_id, offset, self.repeat)

    @property
    def trace_id(self) -> str | None:
        """See `ItemResult.trace_id`."""
        return self._ended().trace_id if self._packed else None

    @property
    def observation_id(self) -> str | None:
        """See `ItemResult.observation_id`."""
        if not self._packed:
            return None
        packed: bytes = _HEAD.unpack_from(self._packed)[2]
        return packed.hex() if packed != _OTHER_ID else self._ended().observation_id

    @property
    def started(self) -> datetime | None:
        """See `ItemResult.started`."""
        if not self._packed:
            return None
        packed: float = _HEAD.unpack_from(self._packed)[3]
        return self._ended().started if isnan(packed) else datetime.fromtimestamp(packed, UTC)

    @property
    def seconds(self) -> float | None:
        """See `ItemResult.seconds`."""
        if not self._packed:
            return None
        packed: float = _HEAD.unpack_from(self._packed)[4]
        return None if isnan(packed) else packed

    @property
    def scores(self) -> tuple[Score, ...]:
        """See `ItemResult.scores`."""
        if not self._shared.scores:
            return ()
        offset = _HEAD.unpack_from(self._packed)[1]
        return self._shared.source.scored(self.repeat, self.item_id, offset).scores

    @property
    def bare_scores(self) -> tuple[Score, ...]:
        """See `ItemResult.bare_scores`."""
        shared = self._shared
        if not shared.has_own_values:
            return shared.scores
        values: tuple[_Value, ...] = marshal.loads(self._packed[_HEAD.size :])  # noqa: S302 - of this process
        return tuple(map(_with_value, shared.scores, values))

    def _ended(self) -> ItemEnded:
        return self._shared.source.ended(self.repeat, self.item_id, _HEAD.unpack_from(self._packed)[0])


class JournaledResults:
    """Makes the results of one run. What many have in common is held once.

    Args:
        source: Reads what is not in memory.
    """

    def __init__(self, source: RunContents) -> None:
        self._source = source
        self._shared: dict[tuple[object, ...], _Shared] = {}
        self._kinds: dict[tuple[object, ...], tuple[Score, ...]] = {}
        """Bare scores by all but their values."""

    def pending(self, item_id: str, repeat: int) -> JournaledResult:
        """Return the result of an item that has not ended."""
        return JournaledResult.of(item_id, self._plain("pending", repeat))

    def ended(self, event: ItemEnded, item_id: str, offset: int) -> JournaledResult:
        """Return the result of an item that has just ended.

        Args:
            event: Says so.
            item_id: The id, as all that know it share it.
            offset: Where the journal has it.
        """
        if event.error is None:
            shared = self._plain(event.status, event.repeat)
        else:
            shared = _Shared(self._source, event.status, event.repeat, event.error)
        started = event.started.timestamp() if event.started.tzinfo is not None else nan
        seconds = nan if event.seconds is None else event.seconds
        head = _HEAD.pack(offset, NOWHERE, _pack_id(event.observation_id), started, seconds)
        return JournaledResult.of(item_id, shared, head)

    def scored(self, result: JournaledResult, event: ItemScored, offset: int) -> JournaledResult:
        """Return a result with its newest scores, which the journal has at an offset."""
        kinds, values = tuple(map(_kind, event.scores)), tuple(map(_value, event.scores))
        is_plain = result.error is None and not event.unscored
        if is_plain and all(metadata is None for _, _, metadata in values):
            key = (result.status, result.repeat, kinds, values, tuple(type(value) for value, _, _ in values))
            shared = self._shared.get(key)
            if shared is None and len(self._shared) < MAX_SHARED:
                scores = tuple(map(_bare, event.scores))
                shared = self._shared[key] = _Shared(self._source, result.status, result.repeat, scores=scores)
            if shared is not None:
                return result.with_scores(shared, offset, b"")
        alike = self._kinds.get(kinds)
        if alike is None:
            alike = self._kinds[kinds] = tuple(map(_bare, event.scores))
        return result.with_scores(self._with_own_values(result, event, alike), offset, marshal.dumps(values))

    def _with_own_values(self, result: JournaledResult, event: ItemScored, alike: tuple[Score, ...]) -> _Shared:
        shared = _Shared(self._source, result.status, result.repeat, result.error, event.unscored, alike, bool(alike))
        if result.error is not None or event.unscored:
            return shared
        return self._shared.setdefault((result.status, result.repeat, id(alike)), shared)

    def _plain(self, status: ItemStatus, repeat: int) -> _Shared:
        """What results without errors and scores have in common."""
        key = (status, repeat)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(self._source, status, repeat)
        return shared


def _kind(score: Score) -> tuple[object, ...]:
    """What scores have in common that one maker gives under one name."""
    given = (score.name, score.data_type, score.source, score.clamped, score.config_id, score.author, score.maker)
    return (*given, score.session_id, score.experiment_id, score.queue_id)


def _value(score: Score) -> _Value:
    return score.value, score.raw, score.metadata or None


def _bare(score: Score) -> Score:
    return replace(score, id="", comment=None, timestamp=None, trace_id=None, observation_id=None)


def _with_value(alike: Score, given: _Value) -> Score:
    value, raw, metadata = given
    if type(value) is type(alike.value) and (value, raw, metadata or {}) == (alike.value, alike.raw, alike.metadata):
        return alike
    return replace(alike, value=value, raw=raw, metadata=metadata or {})


def _pack_id(given: str) -> bytes:
    packed = pack_id(given)
    return packed if isinstance(packed, bytes) and len(packed) == len(_OTHER_ID) else _OTHER_ID
