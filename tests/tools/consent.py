"""What every tool that spends on models has to do, seen by a client: nothing without a yes, and all with one."""

from typing import Any, Literal

from mcp import Client
from mcp.types import ElicitResult
from pydantic import JsonValue

from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.server import build_server
from tests.providers.server import ProviderServer
from tests.tools.conftest import YES, Caller, User
from tests.waiting import PATIENCE_S

MODES: tuple[Literal["auto", "legacy"], ...] = ("auto", "legacy")
NOT_A_YES = {"declined": ElicitResult(action="decline"), "did not answer": ElicitResult(action="cancel")}


def careful(settings: Settings) -> Settings:
    """Return settings by which any cost takes the user's consent."""
    return settings.model_copy(update={"confirm_cost_above": 0.0})


async def ask_in_vain(settings: Settings, server: ProviderServer, tool: str, **arguments: JsonValue) -> None:
    """Call a tool whose user does not agree, by either protocol: no model is called."""
    before = len(server.calls)
    for mode in MODES:
        user = User(*NOT_A_YES.values())
        async with Client(build_server(careful(settings)), mode=mode, elicitation_callback=user) as client:
            for words in NOT_A_YES:
                refusal = await Caller(client).refusal(tool, **arguments)
                assert refusal.error.code == "confirmation"
                assert words in refusal.error.message
        assert [question.split()[0] for question in user.asked] == ["Spend", "Spend"]
    assert len(server.calls) == before


async def call_with_a_yes(settings: Settings, tool: str, **arguments: JsonValue) -> dict[str, Any]:
    """Call a tool whose user agrees, once, and return its answer."""
    user = User(YES)
    async with Client(build_server(careful(settings)), elicitation_callback=user) as client:
        answer = await _call(client, tool, arguments)
    assert len(user.asked) == 1
    assert not any("LFEXP_CONFIRM_COST_ABOVE" in warning for warning in answer.get("warnings", []))
    return answer


async def call_unasked(settings: Settings, tool: str, **arguments: JsonValue) -> dict[str, Any]:
    """Call a tool by a client that cannot ask, and return its answer, which says so."""
    async with Client(build_server(careful(settings))) as client:
        answer = await _call(client, tool, arguments)
    assert "LFEXP_CONFIRM_COST_ABOVE" in answer["warnings"][0]
    return answer


async def _call(client: Client, tool: str, arguments: dict[str, JsonValue]) -> dict[str, Any]:
    waits = {} if tool == "check_judge" else {"wait_seconds": PATIENCE_S}
    return await Caller(client).answer(tool, **arguments, **waits)
