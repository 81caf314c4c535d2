"""The whole of a run in Langfuse: its plan in the experiment's metadata, its status as a score of the experiment.

A score, since it can be replaced: it says `running` from the beginning, and how the run ended in the end. One that was
never replaced is of a run that is at work, or that died.
"""

import hashlib
import json
from collections.abc import Iterable

from pydantic import TypeAdapter, ValidationError

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.gateway.score_makers import MAKER_KEY
from lfexp_mcp.model import RunMark, Score

MARK_NAME = "lfexp_status"
_MARK: TypeAdapter[RunMark] = TypeAdapter(RunMark)


def mark_id(experiment_id: str) -> str:
    """Derive the id of a run's mark, so that a later one replaces it."""
    key = json.dumps(["lfexp-mark-v1", experiment_id])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def mark_score(mark: RunMark, experiment_id: str) -> Score:
    """Return the score that a mark is kept as."""
    return Score(
        id=mark_id(experiment_id),
        name=MARK_NAME,
        value=mark.status,
        data_type="CATEGORICAL",
        comment=f"{mark.succeeded + mark.failed} of {mark.plan.results} results, {mark.failed} of them failed.",
        metadata={MAKER_KEY: _MARK.dump_json(mark, exclude_none=True).decode()},
        timestamp=CLOCK.now(),
    )


def find_mark(scores: Iterable[Score], experiment_id: str) -> Score | None:
    """Find the mark among the scores of a whole experiment; one of its name by others is none."""
    identity = mark_id(experiment_id)
    return next((score for score in scores if score.id == identity), None)


def without_marks(scores: Iterable[Score]) -> tuple[Score, ...]:
    """Leave out what is no score of the run's own."""
    return tuple(score for score in scores if score.name != MARK_NAME)


def decode_mark(score: Score) -> RunMark | None:
    """Read a mark whose metadata was read; None for one that this version cannot read."""
    written = score.metadata.get(MAKER_KEY)
    try:
        return _MARK.validate_json(written) if isinstance(written, str) else _MARK.validate_python(written)
    except ValidationError:
        return None
