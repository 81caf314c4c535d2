"""What lfexp-mcp keeps in the metadata of scores: who made a score, and the status of a run.

It is JSON text under one key, since Langfuse keeps metadata values as text and may flatten objects.

The status of a run is a score of its experiment, since a score can be replaced: it says `running` at first, and how the
run ended in the end. If it still says `running`, the run is running or its process has died. What scores a run again
leaves a status of its own, which names its makers and what it did not score. So does each check of a judge.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache

from pydantic import JsonValue, TypeAdapter, ValidationError

from lfexp_mcp.clock import CLOCK
from lfexp_mcp.model import (
    OTHERS,
    RUN_MAKERS,
    OtherMaker,
    RecordedStatus,
    RunMaker,
    RunPlan,
    Score,
    ScoreMaker,
    ScoreSource,
    recorded_maker,
)

METADATA_KEY = "lfexp"
STATUS_SCORE_NAME = "lfexp_status"
SCORING_SCORE_NAME = "lfexp_scoring"
CHECK_SCORE_NAME = "lfexp_judge_check"
"""Of a check of a run's judge: its value is how far the judge has moved."""
_MAKER: TypeAdapter[RunMaker] = TypeAdapter(RunMaker)
_STATUS: TypeAdapter[RecordedStatus] = TypeAdapter(RecordedStatus)


def with_maker(metadata: Mapping[str, JsonValue], maker: ScoreMaker) -> dict[str, JsonValue]:
    """Add a maker to the metadata of a score; makers other than our judges and scripts are left out."""
    if not isinstance(maker, RUN_MAKERS):
        return dict(metadata)
    return {**metadata, METADATA_KEY: _written(maker)}


@lru_cache(maxsize=256)
def _written(maker: RunMaker) -> str:
    """A maker as JSON; the same one makes many scores."""
    return _MAKER.dump_json(maker, exclude_none=True).decode()


def split_maker(metadata: Mapping[str, JsonValue], source: ScoreSource) -> tuple[ScoreMaker, dict[str, JsonValue]]:
    """Read who made a score, and return its metadata without that.

    Args:
        metadata: As Langfuse returns it.
        source: As Langfuse returns it; only scores of source `API` can be a run's own. The maker of an annotation is
            known to `Score` by its author.
    """
    if source != "API":
        return OtherMaker("EVAL") if source == "EVAL" else OTHERS, dict(metadata)
    written = metadata.get(METADATA_KEY)
    rest = {key: value for key, value in metadata.items() if key != METADATA_KEY}
    if isinstance(written, str | dict):
        # Anybody can write a score's metadata.
        with suppress(ValidationError):
            return _MAKER.validate_json(written) if isinstance(written, str) else _MAKER.validate_python(written), rest
    return recorded_maker(metadata) or OTHERS, dict(metadata)


def status_score_id(experiment_id: str) -> str:
    """Derive the id of a run's status score, so that a later one replaces it."""
    key = json.dumps(["lfexp-mark-v1", experiment_id])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def scoring_score_id(experiment_id: str, plan: RunPlan) -> str:
    """Derive the id of the status score of a scoring: one for each set of makers, whatever machine they work on."""
    makers = [_MAKER.dump_python(maker, mode="json") for maker in plan.makers]
    key = json.dumps(["lfexp-scoring-v1", experiment_id, makers], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def status_score(recorded: RecordedStatus, experiment_id: str, identity: str | None = None) -> Score:
    """Return the status score of a run, or, with an `identity` by `scoring_score_id`, that of a scoring of it."""
    results = recorded.succeeded + recorded.failed
    is_run = identity in (None, status_score_id(experiment_id))
    return Score(
        id=identity or status_score_id(experiment_id),
        name=STATUS_SCORE_NAME if is_run else SCORING_SCORE_NAME,
        value=recorded.status,
        data_type="CATEGORICAL",
        comment=f"{results} of {recorded.plan.results} results, {recorded.failed} of them failed.",
        metadata={METADATA_KEY: _STATUS.dump_json(recorded, exclude_none=True).decode()},
        timestamp=CLOCK.now(),
        experiment_id=experiment_id,
    )


def find_status_score(scores: Iterable[Score], experiment_id: str) -> Score | None:
    """Find the status score among the scores of an experiment; scores of its name by others do not count."""
    identity = status_score_id(experiment_id)
    return next((score for score in scores if score.id == identity), None)


def without_status_scores(scores: Iterable[Score]) -> tuple[Score, ...]:
    """Leave out the status scores of runs and of scorings, and what is recorded of checks of judges."""
    own = (STATUS_SCORE_NAME, SCORING_SCORE_NAME, CHECK_SCORE_NAME)
    return tuple(score for score in scores if score.name not in own)


def read_recorded_status(score: Score) -> RecordedStatus | None:
    """Read the status of a run from the score's metadata; None if this version cannot read it."""
    written = score.metadata.get(METADATA_KEY)
    try:
        return _STATUS.validate_json(written) if isinstance(written, str) else _STATUS.validate_python(written)
    except ValidationError:
        return None
