"""Ids that are derived, so that doing a thing twice does no harm."""

import hashlib
import json


def score_id(experiment_id: str, item_id: str | None, observation_id: str | None, name: str) -> str:
    """Derive the id of a score.

    Args:
        experiment_id: The experiment.
        item_id: The dataset item; None for a score of the whole experiment.
        observation_id: The result that the score is of. It is part of the id since an item that runs again is a
            new result, and Langfuse merges what comes under an id that it knows.
        name: The score's name.

    Returns:
        32 hexadecimal digits.
    """
    key = json.dumps(["lfexp-score-v1", experiment_id, item_id, observation_id, name], ensure_ascii=False)
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def repeat_name(run_name: str, repeat: int) -> str:
    """Name the experiment of one repetition: `name`, `name#2`, `name#3`, ..."""
    return run_name if repeat == 0 else f"{run_name}#{repeat + 1}"
