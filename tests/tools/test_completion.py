"""Completion of the names of datasets, runs and judges."""

from collections.abc import AsyncIterator

import pytest
from mcp import Client, MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS, Completion, PromptReference, ResourceTemplateReference

from lfexp_mcp.services.catalog import names
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools import completion
from lfexp_mcp.tools.server import build_server
from tests.services.recording import Recorded, record_run
from tests.tools.conftest import Caller

pytestmark = pytest.mark.anyio

DATASET = ResourceTemplateReference(uri="langfuse://datasets/{name}")
RUN = ResourceTemplateReference(uri="langfuse://datasets/{name}/runs/{run}")
JUDGE = ResourceTemplateReference(uri="langfuse://judges/{name}")
Ref = ResourceTemplateReference | PromptReference


def _prompt(name: str) -> PromptReference:
    return PromptReference(name=name)


async def _complete(client: Client, ref: Ref, argument: str, typed: str, /, **filled_in: str) -> Completion:
    return (await client.complete(ref, {"name": argument, "value": typed}, filled_in or None)).completion


@pytest.fixture
async def filled(own_store: Settings) -> AsyncIterator[Workspace]:
    """A project with some datasets, runs and judges."""
    async with open_workspace(own_store) as workspace:
        for name in ("QA small", "qa/large", "my QA", "other", "a.*b"):
            await workspace.gateway.datasets.upsert(name)
        for run in ("v1", "v2", "v10", "V3 final"):
            await record_run(workspace, await workspace.gateway.datasets.get("qa/large"), run, [Recorded("i")])
        await record_run(workspace, await workspace.gateway.datasets.get("other"), "v1 of other", [Recorded("i")])
        for judge in ("judge-tone", "judge-truth", "tone"):
            await workspace.gateway.prompts.create(judge, "Rate {{output}} from 0 to 10.", labels=["production"])
        yield workspace


@pytest.fixture
async def clients(own_store: Settings, filled: Workspace) -> AsyncIterator[list[Client]]:
    """Clients of the newest and of the oldest protocol, of servers on that project."""
    async with Client(build_server(own_store)) as newest, Client(build_server(own_store), mode="legacy") as oldest:
        yield [newest, oldest]


@pytest.mark.slow
async def test_names_are_completed_by_kind(clients: list[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    for client in clients:
        await _check_names(client)
    monkeypatch.setattr(names, "MAX_NAMES", 2)
    for client in clients:
        found = await _complete(client, DATASET, "name", "")
        assert (len(found.values), found.total, found.has_more) == (2, 5, True)
        # A run behind the first page is found by what was typed of it.
        found = await _complete(client, RUN, "run", "v1", name="qa/large")
        assert set(found.values) == {"v1", "v10"}
        assert (await _complete(client, RUN, "run", "", name="qa/large")).has_more


async def _check_names(client: Client) -> None:
    async def values(ref: Ref, argument: str, typed: str, /, **filled_in: str) -> list[str]:
        found = await _complete(client, ref, argument, typed, **filled_in)
        assert (found.total, found.has_more) == (len(found.values), False)
        return found.values

    assert await values(DATASET, "name", "") == ["a.*b", "other", "my QA", "qa/large", "QA small"]
    # What begins with it comes first, whatever its case.
    assert await values(DATASET, "name", "qa") == ["qa/large", "QA small", "my QA"]
    assert await values(_prompt("ab_test"), "dataset", "OTH") == ["other"]
    assert await values(DATASET, "name", ".*") == ["a.*b"]
    assert await values(DATASET, "name", "[") == []
    assert await values(RUN, "run", "v1", name="qa/large") == ["v10", "v1"]
    assert await values(RUN, "run", "", name="other") == ["v1 of other"]
    assert await values(_prompt("regression_check"), "baseline", "V3", dataset="qa/large") == ["V3 final"]
    assert await values(RUN, "run", "v") == []
    assert await values(RUN, "run", "v", name="nowhere") == []
    assert await values(JUDGE, "name", "") == ["judge-tone", "judge-truth"]
    assert await values(_prompt("ab_test"), "scored_by", "tru") == ["judge-truth"]
    assert await values(_prompt("ab_test"), "a", "x") == []
    assert await values(DATASET, "nothing", "x") == []


async def test_completing_what_does_not_exist_is_refused(caller: Caller) -> None:
    for ref in (ResourceTemplateReference(uri="langfuse://nothing/{name}"), _prompt("nothing")):
        with pytest.raises(MCPError) as refused:
            await _complete(caller.client, ref, "name", "")
        assert refused.value.error.code == INVALID_PARAMS


@pytest.mark.slow
async def test_a_langfuse_that_does_not_answer_is_an_error_soon_and_no_empty_list(
    silent_langfuse: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "LIMIT_S", 0.5)
    async with Client(build_server(silent_langfuse)) as client:
        with pytest.raises(MCPError) as failed:
            await _complete(client, DATASET, "name", "q")
        assert failed.value.error.code == INTERNAL_ERROR


@pytest.mark.slow
async def test_names_are_completed_over_stdio(stdio: Caller) -> None:
    await stdio.answer("create_dataset", name="completed over stdio")
    assert (await _complete(stdio.client, DATASET, "name", "Completed o")).values == ["completed over stdio"]
