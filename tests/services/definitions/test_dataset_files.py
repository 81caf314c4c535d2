import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError

from lfexp_mcp.errors import DataFileError
from lfexp_mcp.services.definitions import dataset_files
from lfexp_mcp.services.definitions.item_store import derived_id
from lfexp_mcp.services.definitions.new_items import MAX_ID_CHARS, FieldNames, NewItem

_OTHERS: dict[str, JsonValue] = {"expected_output": "E", "lang": "de"}


def read_items(path: Path, fields: FieldNames | None = None) -> list[NewItem]:
    return list(dataset_files.read_items(path, fields))


def _file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_jsonl_file_gives_an_item_a_line_and_keeps_other_keys_as_metadata(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "items.jsonl",
        '{"id": "a", "input": {"q": 1}, "expected_output": "x", "metadata": {"lang": "de"}, "source": "web"}\n'
        "\n"
        '{"input": "Grüße"}\n',
    )
    assert read_items(path) == [
        NewItem(id="a", input={"q": 1}, expected_output="x", metadata={"lang": "de", "source": "web"}),
        NewItem(input="Grüße"),
    ]


def test_keys_with_other_names_are_taken_as_the_caller_says(tmp_path: Path) -> None:
    path = _file(tmp_path, "items.jsonl", '{"id": 7, "question": "1+1?", "answer": "2", "key": "a"}\n')
    fields: FieldNames = {"input": "question", "expected_output": "answer", "id": "key"}
    assert read_items(path, fields) == [NewItem(id="a", input="1+1?", expected_output="2", metadata={"id": 7})]


@pytest.mark.parametrize(
    ("fields", "item"),
    [
        ({"input": "q"}, NewItem(input="Q", expected_output="E", metadata={"input": "I", "lang": "de"})),
        ({"input": "q", "expected_output": "input"}, NewItem(input="Q", expected_output="I", metadata=_OTHERS)),
        ({"input": "expected_output"}, NewItem(input="E", metadata={"input": "I", "q": "Q", "lang": "de"})),
        (
            {"input": "expected_output", "expected_output": "input"},
            NewItem(input="E", expected_output="I", metadata={"q": "Q", "lang": "de"}),
        ),
        ({"id": "lang"}, NewItem(id="de", input="I", expected_output="E", metadata={"q": "Q"})),
        (
            {"input": "q", "expected_output": "q"},
            NewItem(input="Q", expected_output="Q", metadata={"input": "I", "expected_output": "E", "lang": "de"}),
        ),
    ],
)
@pytest.mark.parametrize("name", ["items.csv", "items.jsonl"])
def test_no_column_is_lost_where_another_is_taken_for_its_field(
    tmp_path: Path, name: str, fields: FieldNames, item: NewItem
) -> None:
    row = {"input": "I", "expected_output": "E", "q": "Q", "lang": "de"}
    text = json.dumps(row) if name.endswith("l") else ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    assert read_items(_file(tmp_path, name, text), fields) == [item]


def test_a_line_without_the_key_that_is_named_may_have_the_field_by_its_own_name(tmp_path: Path) -> None:
    path = _file(tmp_path, "items.jsonl", '{"question": "a"}\n{"input": "b"}\n')
    assert [item.input for item in read_items(path, {"input": "question"})] == ["a", "b"]


def test_a_key_that_differs_from_that_in_the_metadata_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "same.jsonl", '{"input": "a", "lang": "de", "metadata": {"lang": "de", "level": 2}}\n')
    assert read_items(path)[0].metadata == {"lang": "de", "level": 2}
    path = _file(tmp_path, "items.jsonl", '{"input": "a", "lang": "de", "metadata": {"lang": "en"}}\n')
    with pytest.raises(DataFileError, match="'lang'"):
        read_items(path)


def test_a_column_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="'input'"):
        read_items(_file(tmp_path, "items.csv", "input,x,input\n1,2,3\n"))


def test_a_line_separator_inside_a_string_does_not_break_the_line(tmp_path: Path) -> None:
    path = _file(tmp_path, "items.jsonl", '{"input": "one\u2028two\x85three"}\n')
    assert [item.input for item in read_items(path)] == ["one\u2028two\x85three"]


@pytest.mark.parametrize(
    "text",
    [
        '{"input": "a"}\n{"input": "b"}',
        '\ufeff{"input": "a"}\r\n{"input": "b"}\r\n',
        '\n{"input": "a"}\n  \n\n{"input": "b"}\n\n',
        '\t{"input": "a"} \n {"input": "b"}\n',
    ],
)
def test_lines_may_end_and_begin_as_editors_write_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(text.encode())
    assert [item.input for item in read_items(path)] == ["a", "b"]


def test_a_csv_file_gives_an_item_a_row_with_json_cells_decoded(tmp_path: Path) -> None:
    path = _file(
        tmp_path, "items.csv", 'input,expected_output,level\n"{""q"": 1}",yes,hard\n"two\nlines, quoted",18,\n'
    )
    assert read_items(path) == [
        NewItem(input={"q": 1}, expected_output="yes", metadata={"level": "hard"}),
        NewItem(input="two\nlines, quoted", expected_output="18", metadata={"level": None}),
    ]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("items.jsonl", '{"input": 1}\n{"input": \n', "line 2 is not valid JSON"),
        ("items.jsonl", '{"input": 1}\n[1]\n', "line 2 is not a JSON object but list"),
        ("items.jsonl", '{"question": "?"}\n', r"line 1 has no `input`.*found: question"),
        ("items.jsonl", '{"input": 1, "metadata": 3}\n', "line 1: metadata"),
        ("items.jsonl", '{"input": 1, "id": 7}\n', "line 1: id"),
        ("items.jsonl", '{"input": 1}\n{"input": NaN}\n', "line 2 is not valid JSON .NaN"),
        ("items.jsonl", '{"input": 1e999}\n', "line 1 is not valid JSON .*too large"),
        ("items.jsonl", '{"input": "\\ud800"}\n', "line 1 is not valid JSON .*surrogates"),
        ("items.jsonl", '{"input": 1}\n{"input": ' + "[" * 9999 + "]" * 9999 + "}\n", "line 2 .*nested too deeply"),
        ("items.jsonl", '{"input": ' + "[" * 300 + "]" * 300 + "}\n", "line 1: input: .* more than 150 levels deep"),
        ("items.jsonl", "\n", "contains no items"),
        ("items.csv", "input,expected_output\na,b\nc\n", "line 3 has a different number of cells"),
        ("items.csv", 'input\n"a"b\n', "not valid CSV"),
        ("items.txt", "a", "neither .jsonl nor .csv"),
    ],
)
def test_a_broken_file_is_refused_with_the_line_and_what_to_do(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    with pytest.raises(DataFileError, match=complaint):
        read_items(_file(tmp_path, name, text))


def test_a_missing_or_binary_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"missing\.jsonl"):
        read_items(tmp_path / "missing.jsonl")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataFileError, match="UTF-8"):
        read_items(binary)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("items.jsonl", '{"input": 1, "answer": 2}\n{"input": 1, "level": 3}\n'),
        ("items.csv", "input,answer,level\n1,2,3\n"),
    ],
)
def test_a_name_that_no_row_has_is_refused_with_those_that_there_are(tmp_path: Path, name: str, text: str) -> None:
    fields: FieldNames = {"expected_output": "anwser"}
    with pytest.raises(DataFileError, match=r"'anwser'.*expected_output.*'answer'.*input, answer, level"):
        read_items(_file(tmp_path, name, text), fields)


def test_a_csv_cell_may_be_a_whole_document(tmp_path: Path) -> None:
    document = "word " * 50_000
    assert read_items(_file(tmp_path, "items.csv", f"input\n{document}\n"))[0].input == document


def test_a_csv_cell_that_only_looks_like_json_is_text(tmp_path: Path) -> None:
    path = _file(tmp_path, "items.csv", f"input\n[NaN]\n{'[' * 9999}\n")
    assert [item.input for item in read_items(path)] == ["[NaN]", "[" * 9999]


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": "\ud800"}, {"\ud800": 1}])
def test_an_item_cannot_hold_what_json_has_not(value: object) -> None:
    for field in ({"input": value}, {"input": 1, "metadata": {"key": value}}):
        with pytest.raises(ValidationError, match=r"NaN|surrogate"):
            NewItem.model_validate(field)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(name=st.text(min_size=1), input=JSON)
def test_an_item_without_an_id_always_gets_the_same_one(name: str, input: object) -> None:
    item = NewItem.model_validate({"input": input})
    assert derived_id(name, item) == derived_id(name, NewItem.model_validate({"input": input}))
    assert len(derived_id(name, item)) <= MAX_ID_CHARS
