"""How answers and errors reach a client."""

import pytest
from mcp import Client
from mcp.server import MCPServer

from lfexp_mcp.answers.clients import Check, Diagnosis
from lfexp_mcp.errors import UsageError
from lfexp_mcp.model import NextStep
from lfexp_mcp.tools.results import MAX_ERROR_CHARS
from lfexp_mcp.tools.tool import ExperimentTool, ToolArguments
from tests.tools.conftest import text_of


async def diagnose(kind: str) -> Diagnosis:
    """Answer, refuse or break."""
    if kind == "refuse":
        raise UsageError("Pass another kind.", next=[NextStep("list_runs", {"dataset": "faq"}, "See\nthem.")])
    if kind == "refuse at length":
        raise UsageError(f"There is no kind {'x' * 400_000}. Pass another kind.")
    if kind == "break":
        raise RuntimeError("a detail for nobody")
    return Diagnosis(healthy=True, checks=[Check(name="all", status="ok", found="well")])


def _diagnose_tool() -> ExperimentTool:
    arguments = ToolArguments.of(diagnose, {"type": "object"})
    schema = arguments.arg_model.model_json_schema()
    return ExperimentTool(
        fn=diagnose,
        name="diagnose",
        title=None,
        description="",
        parameters=schema,
        fn_metadata=arguments,
        is_async=True,
        context_kwarg=None,
        annotations=None,
    )


def _server() -> MCPServer[object]:
    return MCPServer[object]("test", tools=[_diagnose_tool()])


@pytest.mark.anyio
async def test_an_answer_comes_as_text_and_as_data() -> None:
    async with Client(_server()) as client:
        result = await client.call_tool("diagnose", {"kind": "answer"})
    assert not result.is_error
    assert result.structured_content == {
        "healthy": True,
        "checks": [{"name": "all", "status": "ok", "found": "well"}],
    }
    assert "lfexp-mcp can work." in text_of(result)


@pytest.mark.anyio
async def test_an_error_of_ours_reaches_the_model_as_text_and_as_data() -> None:
    async with Client(_server()) as client:
        result = await client.call_tool("diagnose", {"kind": "refuse"})
    assert result.is_error
    assert text_of(result) == 'Pass another kind.\nNext: list_runs(dataset="faq"): See them.'
    assert result.structured_content == {
        "error": {"code": "usage", "message": "Pass another kind."},
        "next": [{"tool": "list_runs", "arguments": {"dataset": "faq"}, "why": "See\nthem."}],
    }


@pytest.mark.anyio
async def test_an_error_of_any_length_keeps_to_a_ceiling_and_to_what_it_advises() -> None:
    async with Client(_server()) as client:
        result = await client.call_tool("diagnose", {"kind": "refuse at length"})
    assert result.is_error
    text = text_of(result)
    assert len(text) < MAX_ERROR_CHARS + 200
    assert "There is no kind xxx" in text
    assert text.endswith("Pass another kind.")


@pytest.mark.anyio
async def test_a_defect_is_logged_and_its_text_kept_from_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async with Client(_server()) as client:
        result = await client.call_tool("diagnose", {"kind": "break"})
    assert result.is_error
    assert "a detail for nobody" not in text_of(result)
    assert "a detail for nobody" in caplog.text
