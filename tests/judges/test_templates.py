from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from lfexp_mcp.judges.prompts import PromptReference, parse_reference
from lfexp_mcp.judges.templates import JudgedItem, as_text, fill, item_values, missing_keys, placeholders


def values(missing: str = "", **changes: object) -> dict[str, object]:
    given = {"input": "i", "output": "o", "expected_output": "e", "metadata": {"topic": "sums"}} | changes
    return item_values(cast("JudgedItem", given), missing)


def test_placeholders_are_filled_with_or_without_spaces() -> None:
    assert fill("{{input}} {{ output }} {{expected_output }}", values()) == "i o e"


def test_metadata_is_given_whole_by_key_and_by_bare_key() -> None:
    assert fill("{{metadata}} {{metadata.topic}} {{topic}}", values()) == '{"topic":"sums"} sums sums'


def test_a_metadata_key_never_hides_a_standard_name() -> None:
    found = values(metadata={"output": "forged", "metadata": "forged"})
    assert fill("{{output}} {{metadata.output}}", found) == "o forged"


def test_what_is_no_name_is_text() -> None:
    text = 'Answer {{"score": 1}} or {{}} or {{ 1 }} or {output}'
    assert fill(text, values()) == text
    assert placeholders([text]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("text", "text"),
        (True, "true"),
        (1.5, "1.5"),
        ({"ä": [1, None]}, '{"ä":[1,null]}'),
        (object, "<class 'object'>"),
        (float("nan"), "NaN"),
        ("\ud800", "?"),
    ],
)
def test_values_go_in_as_text_or_as_json(value: object, text: str) -> None:
    assert as_text(value).strip('"') == text.strip('"')


def test_a_missing_expected_output_reads_as_the_config_says_or_as_nothing() -> None:
    assert fill("[{{expected_output}}]", values(expected_output=None)) == "[]"
    assert fill("[{{expected_output}}]", values(expected_output=None, missing="none known")) == "[none known]"


def test_placeholders_are_named_once_and_in_order() -> None:
    assert placeholders(["{{b}} {{a}}", "{{ b }} {{metadata.x-y}}"]) == ["b", "a", "metadata.x-y"]


def test_items_that_lack_a_key_are_counted() -> None:
    metadata: list[dict[str, JsonValue]] = [{"topic": 1}, {}, {"level": 2}]
    assert missing_keys(["output", "topic", "metadata.topic", "level"], metadata) == {
        "topic": 2,
        "metadata.topic": 2,
        "level": 2,
    }


_TEMPLATE_LIKE = st.lists(st.sampled_from(["{{", "}}", "output", "{{input}}", "{{output}}", " ", "x", "\\1", "\\g<0>"]))


@given(_TEMPLATE_LIKE.map("".join) | st.text(), _TEMPLATE_LIKE.map("".join) | st.text())
def test_filling_never_expands_a_value(first: str, second: str) -> None:
    filled = fill("<{{input}}|{{output}}>", values(input=first, output=second))
    assert filled == f"<{first}|{second}>"


@given(st.text())
def test_a_text_without_placeholders_stays_as_it_is(text: str) -> None:
    if not placeholders([text]):
        assert fill(text, values()) == text


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("judge-tone", PromptReference("judge-tone")),
        ("judge-tone@production", PromptReference("judge-tone", label="production")),
        ("judge-tone:3", PromptReference("judge-tone", version=3)),
        (" folder/judge-tone:12 ", PromptReference("folder/judge-tone", version=12)),
        ("judge-tone:latest", PromptReference("judge-tone:latest")),
        ("judge-\u00e4@x", PromptReference("judge-\u00e4", label="x")),
        ("", PromptReference("")),
    ],
)
def test_a_prompt_is_named_with_a_version_or_a_label(text: str, reference: PromptReference) -> None:
    assert parse_reference(text) == reference
