"""Results that say other things than the journal: most of each is bytes, which are read when it is looked at."""

import marshal
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from pydantic import JsonValue

from lfexp_mcp.model import (
    ContentSource,
    EvaluatorFailure,
    ItemResult,
    ItemStatus,
    Score,
    ScoreDataType,
    ScoreMaker,
    ScoreSource,
)
from lfexp_mcp.runs.contents import RunContents, StoredContent

MAX_KINDS = 4096
"""Kinds of scores that are shared; more of them are held once per result."""
MAX_VALUES = 1000
"""Values of a kind whose bare scores are shared."""

_Id = bytes | str | None
"""The bytes of a hexadecimal id, else the id itself."""
_Time = float | str | None
"""A POSIX time; ISO 8601 for one without a time zone."""
_PackedScore = tuple[_Id, float | bool | str, str | None, float | None, dict[str, JsonValue] | None, _Time, _Id, _Id]
"""Id, value, comment, raw value, metadata, timestamp, trace and observation."""
_Packed = tuple[_Id, _Id, _Time, float | None, int | None, tuple[_PackedScore, ...]]
"""Trace, observation, start, seconds, place of the content in the journal, and scores."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """What the scores share that one maker gives under one name."""

    name: str
    data_type: ScoreDataType
    source: ScoreSource
    clamped: bool
    config_id: str | None
    author: str | None
    maker: ScoreMaker
    session_id: str | None
    experiment_id: str | None
    queue_id: str | None
    bare: dict[tuple[object, ...], Score] = field(default_factory=dict, init=False)
    """Scores by value, its type and the raw value."""

    def score(self, packed: _PackedScore) -> Score:
        score_id, value, comment, raw, metadata, timestamp, trace_id, observation_id = packed
        return Score(
            _id(score_id) or "",
            self.name,
            value,
            self.data_type,
            comment,
            self.source,
            raw,
            self.clamped,
            self.config_id,
            self.author,
            metadata or _NO_METADATA,
            _time(timestamp),
            self.maker,
            _id(trace_id),
            _id(observation_id),
            self.session_id,
            self.experiment_id,
            self.queue_id,
        )

    def bare_score(self, packed: _PackedScore) -> Score:
        _, value, _, raw, metadata, *_ = packed
        key = (value, type(value), raw)
        found = self.bare.get(key) if metadata is None else None
        if found is None:
            found = self.score(("", value, None, raw, metadata, None, None, None))
            if metadata is None and len(self.bare) < MAX_VALUES:
                self.bare[key] = found
        return found


_NO_METADATA: dict[str, JsonValue] = {}
"""That of all scores without any."""
_NOTHING = marshal.dumps((None, None, None, None, None, ()))
"""Of a pending result."""
_kind = lru_cache(MAX_KINDS)(_Kind)


@lru_cache(MAX_KINDS)
def _shared(kinds: tuple[_Kind, ...]) -> tuple[_Kind, ...]:
    """Return equal kinds as one object."""
    return kinds


def _kind_of(score: Score) -> _Kind:
    return _kind(
        score.name,
        score.data_type,
        score.source,
        score.clamped,
        score.config_id,
        score.author,
        score.maker,
        score.session_id,
        score.experiment_id,
        score.queue_id,
    )


def _pack_score(score: Score) -> _PackedScore:
    return (
        pack_id(score.id),
        score.value,
        score.comment,
        score.raw,
        score.metadata or None,
        _pack_time(score.timestamp),
        pack_id(score.trace_id),
        pack_id(score.observation_id),
    )


def pack_id(given: str | None) -> bytes | str | None:
    """Return the bytes of a hexadecimal id, which are half as long; another id is returned as it is."""
    if given is None:
        return None
    try:
        packed = bytes.fromhex(given)
    except ValueError:
        return given
    return packed if packed.hex() == given else given


def _id(packed: _Id) -> str | None:
    return packed.hex() if isinstance(packed, bytes) else packed


def _pack_time(time: datetime | None) -> _Time:
    return None if time is None else time.timestamp() if time.tzinfo is not None else time.isoformat()


def _time(packed: _Time) -> datetime | None:
    if isinstance(packed, float):
        return datetime.fromtimestamp(packed, UTC)
    return None if packed is None else datetime.fromisoformat(packed)


class PackedResult(ItemResult):
    """A result of which all but its status is packed; its times are in UTC."""

    __slots__ = ("_content", "_kinds", "_packed", "error", "item_id", "repeat", "status", "unscored")

    _content: ContentSource | RunContents
    _kinds: tuple[_Kind, ...]
    _packed: bytes

    def __init__(
        self,
        item_id: str,
        status: ItemStatus,
        *,
        content: ContentSource,
        error: str | None = None,
        trace_id: str | None = None,
        observation_id: str | None = None,
        started: datetime | None = None,
        seconds: float | None = None,
        scores: tuple[Score, ...] = (),
        unscored: tuple[EvaluatorFailure, ...] = (),
        repeat: int = 0,
    ) -> None:
        keep = object.__setattr__
        keep(self, "item_id", item_id)
        keep(self, "status", status)
        keep(self, "error", error)
        keep(self, "unscored", unscored)
        keep(self, "repeat", repeat)
        offset = None
        if isinstance(content, StoredContent):
            keep(self, "_content", content.source)
            offset = content.offset
        else:
            keep(self, "_content", content)
        ids, times = (pack_id(trace_id), pack_id(observation_id)), (_pack_time(started), seconds)
        packed = marshal.dumps((*ids, *times, offset, tuple(map(_pack_score, scores))))
        keep(self, "_kinds", _shared(tuple(map(_kind_of, scores))))
        keep(self, "_packed", _NOTHING if packed == _NOTHING else packed)

    def _unpack(self) -> _Packed:
        packed: _Packed = marshal.loads(self._packed)  # noqa: S302 - of this process
        return packed

    @property
    def content(self) -> ContentSource:
        """See `ItemResult.content`."""
        content = self._content
        if not isinstance(content, RunContents):
            return content
        return StoredContent(content, self.item_id, self._unpack()[4], self.repeat)

    @property
    def trace_id(self) -> str | None:
        """See `ItemResult.trace_id`."""
        return _id(self._unpack()[0])

    @property
    def observation_id(self) -> str | None:
        """See `ItemResult.observation_id`."""
        return _id(self._unpack()[1])

    @property
    def started(self) -> datetime | None:
        """See `ItemResult.started`."""
        return _time(self._unpack()[2])

    @property
    def seconds(self) -> float | None:
        """See `ItemResult.seconds`."""
        return self._unpack()[3]

    @property
    def scores(self) -> tuple[Score, ...]:
        """See `ItemResult.scores`."""
        return tuple(map(_Kind.score, self._kinds, self._unpack()[5])) if self._kinds else ()

    @property
    def bare_scores(self) -> tuple[Score, ...]:
        """See `ItemResult.bare_scores`."""
        return tuple(map(_Kind.bare_score, self._kinds, self._unpack()[5])) if self._kinds else ()
