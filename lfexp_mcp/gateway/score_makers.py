"""The maker of a score in the score's metadata: the one place that writes it to Langfuse, and reads it back.

It is one text of JSON under one key, since Langfuse keeps metadata values as text and may flatten objects.
"""

from collections.abc import Mapping
from contextlib import suppress

from pydantic import JsonValue, TypeAdapter, ValidationError

from lfexp_mcp.model import (
    OTHERS,
    HumanMaker,
    JudgeMaker,
    OtherMaker,
    RunMaker,
    ScoreMaker,
    ScoreSource,
    ScriptMaker,
    recorded_maker,
)

MAKER_KEY = "lfexp"
_MAKER: TypeAdapter[JudgeMaker | ScriptMaker] = TypeAdapter(RunMaker)


def with_maker(metadata: Mapping[str, JsonValue], maker: ScoreMaker) -> dict[str, JsonValue]:
    """Return the metadata that Langfuse keeps of a score; a maker that is not of ours is left out."""
    if not isinstance(maker, JudgeMaker | ScriptMaker):
        return dict(metadata)
    return {**metadata, MAKER_KEY: _MAKER.dump_json(maker, exclude_none=True).decode()}


def split_maker(
    metadata: Mapping[str, JsonValue], source: ScoreSource, author: str | None, config_id: str | None
) -> tuple[ScoreMaker, dict[str, JsonValue]]:
    """Read who made a score, and return its metadata without that.

    Args:
        metadata: As Langfuse returns it.
        source: As Langfuse returns it; only scores of source `API` can be a run's own.
        author: The human who gave it.
        config_id: Its score config.
    """
    if source == "ANNOTATION":
        return HumanMaker(author, config_id), dict(metadata)
    if source == "EVAL":
        return OtherMaker("EVAL"), dict(metadata)
    written = metadata.get(MAKER_KEY)
    rest = {key: value for key, value in metadata.items() if key != MAKER_KEY}
    if isinstance(written, str | dict):
        # Anybody can write a score's metadata.
        with suppress(ValidationError):
            return _MAKER.validate_json(written) if isinstance(written, str) else _MAKER.validate_python(written), rest
    return recorded_maker(metadata) or OTHERS, dict(metadata)
