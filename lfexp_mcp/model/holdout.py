"""Which items of a dataset are set aside: no run goes over them and no answer shows them, except a confirmation."""

import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache

from pydantic import JsonValue

HOLDOUT_KEY = "lfexp_holdout"
"""Where the holdout is in the metadata of a dataset."""
RULE = 1
"""Version of the rule by which an item is held out, recorded with it."""
HASH_BITS = 64
_ADVICE = (
    f"Restore {HOLDOUT_KEY!r} in the dataset's metadata to what it was when the holdout was declared; until then its "
    "items are neither shown nor run."
)


@dataclass(frozen=True, slots=True)
class Holdout:
    """The holdout of a dataset: a share of its items by the hash of their ids, or those with a value in their metadata.

    By share, an item is held out if the first 64 bits of `HMAC-SHA256(salt, id)`, as a fraction, are below `share`. So
    an item stays on its side when others are added or removed; the share is met on average, with a standard deviation
    of `sqrt(share * (1 - share) / n)` over n items, and not exactly.

    Example:
        Holdout.parse({"rule": 1, "share": 0.3, "salt": "5f2c"}).holds("item-17")
    """

    share: float | None = None
    """Above 0 and below 1; None for a holdout by metadata."""
    salt: str = ""
    key: str | None = None
    """Metadata key of the items; None for a holdout by share."""
    value: str | None = None
    """What held-out items have under it, see `metadata_text`."""
    declared: datetime | None = None
    """When it was declared; None if that is not recorded."""
    problem: str | None = None
    """Why what is recorded cannot be read, and what to do; all items are held out then."""
    open_ids: frozenset[str] | None = None
    """Of a holdout by metadata, the items of the dataset that are not held out: a result may lack the metadata that its
    item has. None while they have not been read."""

    @classmethod
    def parse(cls, recorded: JsonValue, salt: str = "") -> "Holdout":
        """Read what a dataset's metadata has under `HOLDOUT_KEY`. What cannot be read holds out everything.

        Args:
            recorded: A dictionary with `rule` and either `share` or `metadata`; or a share alone.
            salt: For a holdout that was recorded without one.
        """
        match recorded if isinstance(recorded, dict) else {"share": recorded}:
            case {"rule": rule} if rule != RULE:
                return cls(problem=f"Its holdout was declared by a newer version of lfexp-mcp. {_ADVICE}")
            case {"share": int() | float() | str() as given, **others}:
                share, salted = _number(given), others.get("salt", salt)
                if isinstance(salted, str) and 0 < share < 1:
                    return cls(share, salted, declared=_time(others.get("declared")))
            case {"metadata": dict() as where, **others} if len(where) == 1:
                ((key, value),) = where.items()
                return cls(key=key, value=metadata_text(value), declared=_time(others.get("declared")))
        return cls(problem=f"{HOLDOUT_KEY!r} in its metadata is not a valid holdout. {_ADVICE}")

    def as_json(self) -> dict[str, JsonValue]:
        """Return what the dataset's metadata is to have under `HOLDOUT_KEY`."""
        rule: dict[str, JsonValue] = {"rule": RULE}
        if self.key is not None:
            rule["metadata"] = {self.key: self.value}
        else:
            rule |= {"share": self.share, "salt": self.salt}
        return rule | ({"declared": self.declared.isoformat()} if self.declared else {})

    def is_same_rule(self, other: "Holdout") -> bool:
        """Whether both were asked for alike; by share, each draws a salt of its own."""
        return (self.share, self.key, self.value) == (other.share, other.key, other.value)

    @property
    def digest(self) -> str:
        """Tells it from another one, without its salt."""
        rule = json.dumps([self.share, self.key, self.value])
        return hmac.digest(self.salt.encode("utf-8", "surrogatepass"), rule.encode(), "sha256").hex()[:16]

    def holds(self, item_id: str, metadata: Mapping[str, JsonValue] | None = None) -> bool:
        """Whether an item is held out.

        Args:
            metadata: The item's; a holdout by share does not look at it.
        """
        if self.problem is not None:
            return True
        if self.share is not None:
            return _place(self.salt, item_id) < _threshold(self.share)
        has_value = self.key in (metadata or {}) and metadata_text((metadata or {})[self.key or ""]) == self.value
        return has_value or (self.open_ids is not None and item_id not in self.open_ids)

    def __str__(self) -> str:
        """Describe briefly what is held out, such as `0.3 of the items`."""
        return f"items with {self.key}={self.value}" if self.key is not None else f"{self.share} of the items"


def _number(text: float | str) -> float:
    try:
        return float(text)
    except (ValueError, OverflowError):
        return math.nan


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def metadata_text(value: JsonValue) -> str:
    """Write a value of an item's metadata as a text: Langfuse returns `1` and `"1"` alike."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _place(salt: str, item_id: str) -> int:
    key, message = salt.encode("utf-8", "surrogatepass"), item_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hmac.digest(key, message, "sha256")[: HASH_BITS // 8])


@cache
def _threshold(share: float) -> int:
    """The share of all hashes, from its decimal: 0.3 is the same on every machine and in every language."""
    return int(Decimal(repr(share)) * 2**HASH_BITS)
