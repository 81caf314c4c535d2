"""What the server publishes of its tools."""

from typing import Literal

import pytest
from mcp import Client
from mcp.types import Tool

from lfexp_mcp.tools.registry import OUTPUT_SCHEMAS
from lfexp_mcp.tools.server import build_server
from tests.tools.snapshots import SNAPSHOTS, as_text, derived_output_schemas, listed_tools, token_count

REGENERATE = "run `python -m tests.tools.snapshots` and look at the difference"

EXPECTED = {
    "run_experiment",
    "score_run",
    "judge_pairs",
    "list_runs",
    "get_run",
    "compare_runs",
    "confirm_run",
    "analyze_run",
    "fetch_annotation_comments",
    "request_labels",
    "check_judge",
    "cancel_run",
    "create_dataset",
    "create_judge",
    "create_prompt",
    "list_datasets",
    "get_dataset",
    "list_judges",
}


async def _listed() -> dict[str, Tool]:
    async with Client(build_server()) as client:
        return {tool.name: tool for tool in (await client.list_tools()).tools}


def test_the_tools_are_those_agreed() -> None:
    assert set(listed_tools()) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_tool_is_published_as_on_disk(name: str) -> None:
    assert as_text(listed_tools()[name]) == (SNAPSHOTS / f"{name}.json").read_text(encoding="utf-8"), REGENERATE


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_shipped_output_schema_is_that_of_the_answers_model(name: str) -> None:
    shipped = (OUTPUT_SCHEMAS / f"{name}.json").read_text(encoding="utf-8")
    assert as_text(derived_output_schemas()[name]) == shipped, REGENERATE


def test_no_schema_lies_on_disk_for_a_tool_that_is_gone() -> None:
    assert {path.stem for path in OUTPUT_SCHEMAS.glob("*.json")} == EXPECTED
    assert {path.stem for path in SNAPSHOTS.glob("*.json")} == EXPECTED


@pytest.mark.anyio
async def test_every_argument_is_described_and_unknown_ones_are_refused_by_the_schema() -> None:
    for tool in (await _listed()).values():
        assert tool.input_schema["additionalProperties"] is False
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), f"{tool.name}.{name}"


@pytest.mark.anyio
async def test_every_tool_has_title_description_hints_and_an_output_schema() -> None:
    for tool in (await _listed()).values():
        assert tool.title
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is not None
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"


@pytest.mark.anyio
async def test_only_tools_that_read_are_hinted_as_harmless() -> None:
    reading = {"get_run", "list_runs", "compare_runs", "analyze_run", "fetch_annotation_comments"}
    reading |= {"list_datasets", "get_dataset", "list_judges"}
    for tool in (await _listed()).values():
        hints = tool.annotations
        assert hints is not None
        # run_experiment runs the user's code, and a judge's new version takes `production` from the one before.
        assert (hints.read_only_hint, hints.destructive_hint) == (tool.name in reading, tool.name not in reading)
        assert hints.idempotent_hint == (tool.name not in {"run_experiment", "create_judge", "create_prompt"})
        assert hints.open_world_hint


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_server_declares_what_it_serves_and_nothing_else(mode: Literal["auto", "legacy"]) -> None:
    async with Client(build_server(), mode=mode) as client:
        declared = client.server_capabilities.model_dump(exclude_none=True)
        assert {"completions", "prompts", "resources", "tools"} <= declared.keys()
        assert declared.keys() & {"logging", "tasks"} == set()
        assert not any(declared["resources"].values())
        assert not any(declared["prompts"].values())
        assert (await client.list_prompts()).prompts
        assert (await client.list_resources()).resources
        assert (await client.list_resource_templates()).resource_templates


@pytest.mark.anyio
async def test_a_description_repeats_no_text_of_its_arguments() -> None:
    for tool in (await _listed()).values():
        for argument in tool.input_schema["properties"].values():
            assert argument["description"] not in (tool.description or "")


MAX_INPUT_TOKENS = 6_500
"""Of names, descriptions and input schemas of all tools."""
MAX_OUTPUT_TOKENS = 6_000
"""Of the output schemas of all tools."""


@pytest.mark.anyio
async def test_listing_the_tools_stays_within_a_budget_a_client_can_bear() -> None:
    tools = (await _listed()).values()
    asked = {tool.name: token_count([tool.name, tool.description, tool.input_schema]) for tool in tools}
    answered = {tool.name: token_count(tool.output_schema) for tool in tools}
    assert sum(asked.values()) <= MAX_INPUT_TOKENS, asked
    assert sum(answered.values()) <= MAX_OUTPUT_TOKENS, answered
