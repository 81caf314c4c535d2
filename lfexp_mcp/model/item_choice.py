"""Which items of its dataset a run is about."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

MAX_RECORDED_IDS = 50
"""Ids of a choice that are recorded with a run, since its metadata goes with every span."""
MAX_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class ItemChoice:
    """Items of a dataset: those that all conditions leave, or a sample of these. Without any: the whole dataset."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", defer_build=True)

    sample: Annotated[int | None, Field(ge=1, strict=True)] = None
    """How many to draw; see `services.experiments.choosing`."""
    ids: tuple[str, ...] = ()
    where: str | None = None
    """Conditions on metadata; see `services.metadata_conditions`."""
    run: str | None = None
    """Another run of the dataset, by whose results the items are chosen."""
    which: Literal["failed", "errored"] | None = None
    """`errored`: the task raised or timed out; `failed`: that, or a score is below the pass mark."""
    score: str | None = None
    below: float | str | None = None
    """A limit for scores of `run`, such as 0.5 or `4/5`."""

    @property
    def is_whole(self) -> bool:
        """Whether it chooses all items."""
        return self == ItemChoice()

    def __str__(self) -> str:
        """Describe briefly what was chosen, such as `a sample of those with language=de`."""
        conditions = ["listed by id"] if self.ids else []
        if self.run is not None:
            score = f" on {self.score}" if self.score else ""
            result = f"below {self.below}{score}" if self.which is None else f"{self.which}{score}"
            conditions.append(f"{result} in {self.run!r}")
        conditions += [self.where] if self.where is not None else []
        text = " and ".join(conditions)
        if self.sample is not None:
            text = f"a sample of {text}" if text else "a sample"
        return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """The part of its dataset that a run is about. A run about all items has none."""

    choice: ItemChoice
    of: int
    """Items that the dataset had when the part was chosen."""
    digest: str
    """Of the ids of the chosen items, to tell whether the choice still gives the same."""
    ids_left_out: int = 0
    """How many ids of the choice are not recorded."""

    @classmethod
    def chosen(cls, choice: ItemChoice, item_ids: Iterable[str], of: int) -> "DatasetPart":
        """Describe a part."""
        kept = choice.ids[:MAX_RECORDED_IDS]
        return cls(replace(choice, ids=kept), of, digest_of(item_ids), len(choice.ids) - len(kept))


def digest_of(item_ids: Iterable[str]) -> str:
    """Digest a set of item ids."""
    return hashlib.sha256(json.dumps(sorted(item_ids)).encode()).hexdigest()[:16]
