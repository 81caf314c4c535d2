"""Run specs and dataset items as a run folder holds them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from lfexp_mcp import __version__
from lfexp_mcp.model import RUN_SPEC_FORMAT, DatasetItem, RunSpec
from lfexp_mcp.runs.framing import frame, unframe

_ITEM: TypeAdapter[DatasetItem] = TypeAdapter(DatasetItem)
_ITEM_KEYS = {"id", "input", "expected_output", "metadata"}


class _Stamp(BaseModel):
    """What every version reads of a run spec."""

    format: int = RUN_SPEC_FORMAT
    version: str | None = None


def encode_run_spec(run_spec: RunSpec) -> bytes:
    """Encode a run spec as JSON behind its length and checksum."""
    stamped = run_spec.model_copy(update={"version": __version__})
    return frame(stamped.model_dump_json(indent=2).encode())


def decode_run_spec(content: bytes) -> RunSpec:
    """Read what `encode_run_spec` wrote, or the plain JSON of version 0.1.

    Raises:
        ValueError: It is damaged or of a newer version; the message is a clause that says so.
    """
    text = unframe(content.removesuffix(b"\n"))
    if text is None:
        if not content.startswith(b"{"):
            raise ValueError("its run spec is damaged")
        text = content
    try:
        stamp = _Stamp.model_validate_json(text)
        if stamp.format > RUN_SPEC_FORMAT:
            raise ValueError(
                f"lfexp-mcp {stamp.version or 'of a newer version'} wrote it (format {stamp.format}), and this is "
                f"{__version__} (format {RUN_SPEC_FORMAT}): use that version for this run"
            )
        return RunSpec.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"its run spec is damaged: {error.errors()[0]['msg']}") from error


def encode_items(items: Iterable[DatasetItem]) -> Iterator[bytes]:
    """Encode the items of a run, a record each."""
    return (frame(_ITEM.dump_json(item, include=_ITEM_KEYS)) for item in items)


def read_items(path: Path) -> Iterator[DatasetItem]:
    """Read the items of a run in their order, one at a time; those of version 0.1 are lines of plain JSON.

    Raises:
        OSError: The file cannot be read.
        ValueError: An item is damaged; the text is a clause that says which.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            stored = line.removesuffix(b"\n")
            try:
                yield _ITEM.validate_json(unframe(stored) or (stored if stored.startswith(b"{") else b""))
            except ValidationError as error:
                raise ValueError(f"its item {number} is damaged") from error
