"""The argument `variants`: what differs between the runs of a sweep."""

import json
import unicodedata
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from lfexp_mcp.model import ProviderName, check_params

MAX_VARIANTS = 20


class Variant(BaseModel):
    """One run of a sweep: what it has of its own. Its `params` are added to those of the sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    params: Annotated[dict[str, JsonValue], AfterValidator(check_params)] | None = None
    task_script: Path | None = None
    task_prompt: str | None = None
    model: str | None = None
    provider: ProviderName | None = None


def from_json(given: object) -> object:
    """Read a list or object from JSON text, as the shell and some clients give it.

    Raises:
        ValueError: The text is not JSON.
    """
    if not isinstance(given, str):
        return given
    try:
        parsed: object = json.loads(given)
    except ValueError:
        raise ValueError('pass JSON such as [{"name": "short", "params": {"k": 3}}] or {"num_cpus": 2}') from None
    return parsed


def _check_names(variants: list[Variant] | None) -> list[Variant] | None:
    if variants is None:
        return None
    if not 1 <= len(variants) <= MAX_VARIANTS:
        raise ValueError(f"pass 1 to {MAX_VARIANTS} variants, not {len(variants)}")
    names: set[str] = set()
    for variant in variants:
        name = unicodedata.normalize("NFC", variant.name).strip()
        if not name or name in names:
            raise ValueError(f"{variant.name!r} is {'used twice' if name else 'blank'}; the names tell the runs apart")
        names.add(name)
    return variants


Variants = Annotated[
    list[Variant] | None,
    BeforeValidator(from_json),
    AfterValidator(_check_names),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "object"}}, {"type": "null"}]}),
]
