"""Derived ids, so that writing something twice does no harm."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from pydantic import TypeAdapter

from lfexp_mcp.model import RunMaker

_to_json = json.JSONEncoder(ensure_ascii=False).encode
_MAKER: TypeAdapter[RunMaker] = TypeAdapter(RunMaker)


def score_id(
    experiment_id: str, item_id: str | None, observation_id: str | None, name: str, maker: RunMaker | None = None
) -> str:
    """Derive the id of a score.

    Args:
        experiment_id: The experiment.
        item_id: The dataset item; None for a score of the whole experiment.
        observation_id: The result that is scored. It is part of the id since an item that runs again has a new result,
            and Langfuse merges what it is sent under a known id.
        name: The score's name.
        maker: Who made it, to recognise it where Langfuse lists scores without metadata; None for a score of the whole
            experiment, which a resume replaces, and for those of version 0.1.

    Returns:
        32 hexadecimal digits.
    """
    parts = ["lfexp-score-v1", experiment_id, item_id, observation_id, name]
    if maker is not None:
        parts = ["lfexp-score-v2", *parts[1:], _maker_text(maker)]
    return hashlib.sha256(_to_json(parts).encode()).hexdigest()[:32]


@lru_cache(maxsize=256)
def _maker_text(maker: RunMaker) -> str:
    return _MAKER.dump_json(maker, exclude_none=True).decode()


def repeat_name(run_name: str, repeat: int) -> str:
    """Name the experiment of one repetition: `name`, `name#2`, `name#3`, ..."""
    return run_name if repeat == 0 else f"{run_name}#{repeat + 1}"


@dataclass(frozen=True, slots=True)
class ItemIds:
    """Ids of one item's trace and of the two spans around its task, in hexadecimal digits."""

    trace_id: str
    root_id: str
    observation_id: str


def item_ids(experiment_id: str, created: datetime, item_id: str, attempt: int) -> ItemIds:
    """Derive the ids of an item's result before it runs, so that one that a kill left unjournaled is overwritten.

    Args:
        experiment_id: The experiment.
        created: When the run was created: a run that was deleted and created again has other ids.
        item_id: The dataset item.
        attempt: How many results of the item the journal has already.
    """
    digest = _digest("lfexp-item-v1", experiment_id, created.isoformat(), item_id, attempt)
    return ItemIds(digest[:32], digest[32:48], digest[48:])


def evaluation_id(observation_id: str, round: int) -> str:
    """Derive the id of the span around an item's evaluators.

    Args:
        observation_id: The result that is evaluated.
        round: How many evaluations of it the journal has already.
    """
    return _digest("lfexp-evaluation-v1", observation_id, round)[:16]


def _digest(*parts: str | int) -> str:
    return hashlib.sha256(_to_json(parts).encode()).hexdigest()
