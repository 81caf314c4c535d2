"""Reading dataset items from a file."""

import csv
import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

from pydantic import JsonValue, ValidationError

from lfexp_mcp.errors import DataFileError
from lfexp_mcp.files import MAX_DATA_BYTES, open_regular
from lfexp_mcp.services.definitions.new_items import FieldNames, NewItem
from lfexp_mcp.strict_json import strict_loads

FIELDS = frozenset(NewItem.model_fields)
MAX_CELL_CHARS = 2**31 - 1
"""The largest limit that `csv` accepts on every platform."""

Row = dict[str, JsonValue]


def read_items(path: Path, fields: FieldNames | None = None, within: Sequence[Path] | None = None) -> Iterator[NewItem]:
    """Read a JSONL file (an object per line) or a CSV file (a header line, then a row per item), item by item.

    Keys and columns are those of `NewItem`; all others go into the item's metadata. CSV cells that hold a JSON object
    or list are decoded.

    Args:
        path: The file: `.jsonl`, `.ndjson` or `.csv`, in UTF-8.
        fields: Which keys or columns hold the fields, where they have other names.
        within: Where it has to lie; see `open_regular`.

    Raises:
        DataFileError: The file is missing, of another kind, not UTF-8, or has an invalid line, which the text names;
            or `fields` names a key or column that it does not have.
    """
    if fields:
        _check_names(path, fields, within)
    empty = True
    for line, row in _rows(path, within):
        empty = False
        yield _item(path, line, row, fields or {})
    if empty:
        raise DataFileError(f"{path} contains no items. Write one JSON object per line, each with an `input`.")


def _rows(path: Path, within: Sequence[Path] | None) -> Iterator[tuple[int, Row]]:
    readers = {".jsonl": _jsonl_rows, ".ndjson": _jsonl_rows, ".csv": _csv_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataFileError(f"{path} is neither .jsonl nor .csv. Save the items in one of these formats.")
    try:
        with (
            open_regular(path, "file of items", MAX_DATA_BYTES, DataFileError, within) as content,
            TextIOWrapper(content, encoding="utf-8-sig", newline="") as file,
        ):
            yield from reader(path, file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(f"{path} cannot be read: {error}. Save it as a UTF-8 text file.") from error


def _jsonl_rows(path: Path, file: Iterable[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = strict_loads(line)
        except ValueError as error:
            raise _invalid(path, number, f"is not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise _invalid(path, number, f"is not a JSON object but {type(row).__name__}", 'write {"input": …} there.')
        yield number, row


def _csv_rows(path: Path, file: Iterable[str]) -> Iterator[tuple[int, Row]]:
    # The limit is global to the process; other readers of CSV do not mind a higher one.
    csv.field_size_limit(max(MAX_CELL_CHARS, csv.field_size_limit()))
    reader = csv.DictReader(file, strict=True)
    try:
        columns = Counter(reader.fieldnames or ())
        if twice := [name for name, count in columns.items() if count > 1]:
            raise _invalid(path, 1, f"names column {twice[0]!r} twice", "rename one of them.")
        for row in reader:
            if None in row or None in row.values():
                raise _invalid(path, reader.line_num, "has a different number of cells than the header")
            yield reader.line_num, {column: _cell(cell) for column, cell in row.items()}
    except csv.Error as error:
        raise _invalid(path, reader.line_num, f"is not valid CSV ({error})") from None


def _invalid(path: Path, line: int, problem: str, advice: str = "fix the line.") -> DataFileError:
    return DataFileError(f"{path}, line {line} {problem}. Nothing was stored; {advice}")


def _cell(cell: str) -> JsonValue:
    """Decode a CSV cell: empty is null, an object or list is JSON, anything else is text."""
    if not cell:
        return None
    if cell.startswith(("{", "[")):
        try:
            return strict_loads(cell)
        except ValueError:
            return cell
    return cell


def _check_names(path: Path, fields: FieldNames, within: Sequence[Path] | None) -> None:
    known = list(dict.fromkeys(key for _, row in _rows(path, within) for key in row))
    for field, name in fields.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataFileError(
                f"{path} has no key or column {name!r}, which `fields` names for {field}.{hint} "
                f"Nothing was stored; the file has {', '.join(known) or 'none'}."
            )


def _item(path: Path, line: int, row: Row, fields: FieldNames) -> NewItem:
    # A line without the key that `fields` names may have the field by its own name.
    keys = {field: field for field in FIELDS if field in row and field not in fields.values()}
    keys |= {field: key for field, key in fields.items() if key in row}
    known = {field: row[key] for field, key in keys.items()}
    if "input" not in known:
        found = ", ".join(sorted(row)) or "nothing"
        advice = f"say which key holds it, such as fields={{'input': 'question'}} (found: {found})."
        raise _invalid(path, line, "has no `input`", advice)
    rest = {key: value for key, value in row.items() if key not in keys.values()}
    metadata = known.get("metadata")
    if rest and (metadata is None or isinstance(metadata, dict)):
        metadata = metadata or {}
        if twice := [key for key in rest if key in metadata and metadata[key] != rest[key]]:
            raise _invalid(path, line, f"has {twice[0]!r} twice, once in its metadata", "rename one of them.")
        known["metadata"] = metadata | rest
    try:
        return NewItem.model_validate(known)
    except ValidationError as error:
        issue = error.errors()[0]
        where = ".".join(str(part) for part in issue["loc"])
        raise DataFileError(f"{path}, line {line}: {where}: {issue['msg']}. Nothing was stored; fix it.") from None
