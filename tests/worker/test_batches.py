"""Batches over several workers, each of which knows only the run's folder; `tests/faults` kills real ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import anyio
import pytest

from lfexp_mcp.disk import make_folder_durably
from lfexp_mcp.errors import JudgeError
from lfexp_mcp.gateway import ModelPrice
from lfexp_mcp.judges import batches as judges_batches
from lfexp_mcp.judges.budget import Budget
from lfexp_mcp.judges.model_client import ModelClient
from lfexp_mcp.judges.prices import PriceTable
from lfexp_mcp.judges.providers.messages import CallFailure, ModelAnswer, ModelRequest
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import ProviderName, ResolvedJudge
from lfexp_mcp.retries import RetryPolicy
from lfexp_mcp.runs.folder import RunFolder
from lfexp_mcp.worker import batches as worker_batches
from lfexp_mcp.worker.batches import BatchJudging, batch_secret
from lfexp_mcp.worker.stopping import Stop
from tests.judges.asking import QUICK, make_judge, settings_for
from tests.providers.batches import Step
from tests.providers.server import Failure, ProviderServer, Reply
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.anyio

QUICKLY = RetryPolicy(attempts=None, first_delay_s=0.01, max_delay_s=0.05)
PRICES = PriceTable(
    [ModelPrice("gpt-test", "gpt-test", 1e-6, 1e-6), ModelPrice("claude-test", "claude-test", 1e-6, 1e-6)]
)

Asked = list[tuple[ProviderName, ModelRequest]]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_batches, "POLLS", QUICKLY)
    monkeypatch.setattr(judges_batches, "LOOKS", RetryPolicy(attempts=2, first_delay_s=0.01))


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> ProviderServer:
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, ProviderServer)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    make_folder_durably(tmp_path / "run")
    return RunFolder(tmp_path / "run")


@asynccontextmanager
async def worker(
    folder: RunFolder, *servers: ProviderServer, budget: Budget | None = None, cancel_grace: float = 10
) -> AsyncIterator[tuple[BatchJudging, JudgeRunner]]:
    """What a new worker has of batches."""
    journal = folder.open_journal()
    async with ModelClient(settings_for(*servers), policy=QUICK) as models:
        runner = JudgeRunner(models, secret=batch_secret(folder))
        yield BatchJudging(folder, journal, folder.read_state().batches, models, budget, cancel_grace), runner
    journal.close()


def asked(runner: JudgeRunner, judge: ResolvedJudge, outputs: str) -> Asked:
    return [
        (judge.provider, request)
        for output in outputs
        for request in runner.requests(
            judge, input="?", output=output, expected_output=None, metadata={}, result_id=output
        )
    ]


def judge_at(server: ProviderServer) -> ResolvedJudge:
    return make_judge(provider=server.kind, text="Judge {{output}}.", defaults={"temperature": 0})


async def run(
    folder: RunFolder, server: ProviderServer, outputs: str, *, budget: Budget | None = None
) -> tuple[str, Stop]:
    """Judge outputs of one letter; return those with an answer, after all of it has become verdicts."""
    async with worker(folder, server, budget=budget) as (judging, runner):
        requests = asked(runner, judge_at(server), outputs)
        outcomes = await judging.answer(requests)
        stop = Stop()
        judging.settle(stop)
        answered = {str(each) for each, outcome in outcomes.items() if isinstance(outcome, ModelAnswer)}
        assert judging.shortfall is not None or len(outcomes) == len(requests)
        return "".join(output for output, (_, each) in zip(outputs, requests, strict=True) if each.id in answered), stop


async def die_after(step: Step, server: ProviderServer, judging: BatchJudging, requests: Asked) -> None:
    """Give up a worker when the provider has come to a step."""
    async with anyio.create_task_group() as group:
        group.start_soon(judging.answer, requests)
        await until(lambda: step in server.batches.steps)
        group.cancel_scope.cancel()


async def test_a_batch_answers_all_requests_and_leaves_nothing_behind(
    folder: RunFolder, server: ProviderServer
) -> None:
    assert (await run(folder, server, "abc"))[0] == "abc"
    assert (len(server.batches.batches), len(server.batches.requests), server.calls) == (1, 3, [])
    assert folder.read_state().batches == {}
    assert [path.name for path in folder.batches_path.iterdir()] == ["key"]


async def test_answers_that_are_no_verdicts_yet_are_taken_by_the_next_worker(
    folder: RunFolder, server: ProviderServer
) -> None:
    async with worker(folder, server) as (judging, runner):
        await judging.answer(asked(runner, judge_at(server), "abc"))
    server.batches.batches.clear()
    answered, _ = await run(folder, server, "bcd")
    assert answered == "bcd"
    assert len(server.batches.requests) == 1


async def test_an_output_that_has_changed_is_asked_about_anew(folder: RunFolder, server: ProviderServer) -> None:
    judge = judge_at(server)
    async with worker(folder, server) as (judging, runner):
        await judging.answer(asked(runner, judge, "ab"))
    async with worker(folder, server) as (judging, runner):
        changed = runner.requests(judge, input="?", output="new", expected_output=None, metadata={}, result_id="a")
        await judging.answer([(judge.provider, each) for each in changed])
    assert len(server.batches.requests) == 3


@pytest.mark.slow
async def test_what_expired_is_submitted_by_the_next_worker_alone(folder: RunFolder, server: ProviderServer) -> None:
    server.batches.answered, server.batches.ends = 2, "expired"
    answered, stop = await run(folder, server, "abcd")
    assert (answered, stop.status) == ("ab", None)
    server.batches.answered, server.batches.ends = None, "completed"
    assert (await run(folder, server, "cd"))[0] == "cd"
    assert [len(batch.requests) for batch in server.batches.batches.values()] == [4, 2]


@pytest.mark.slow
async def test_failures_that_no_verdict_was_made_of_are_asked_again_after_a_death(
    folder: RunFolder, server: ProviderServer
) -> None:
    server.script(Failure(500), Reply())
    async with worker(folder, server) as (judging, runner):
        outcomes = await judging.answer(asked(runner, judge_at(server), "ab"))
    assert sum(isinstance(outcome, CallFailure) for outcome in outcomes.values()) == 1
    assert (await run(folder, server, "ab"))[0] == "ab"
    assert [len(batch.requests) for batch in server.batches.batches.values()] == [2, 1]


@pytest.mark.slow
async def test_a_parameter_of_ours_that_the_model_refuses_is_left_out_in_a_second_batch(
    folder: RunFolder, server: ProviderServer
) -> None:
    failure = Failure(400, "`temperature` is not supported.", param="temperature", code="invalid_request_error")
    server.respond = lambda call: failure if "temperature" in call.body else Reply()
    assert (await run(folder, server, "abc"))[0] == "abc"
    sizes = [len(batch.requests) for batch in server.batches.batches.values()]
    assert (sizes, "temperature" in str(server.batches.requests[-1])) == ([3, 3], False)


@pytest.mark.slow
async def test_a_batch_that_the_provider_does_not_take_ends_the_run_and_can_be_submitted_again(
    folder: RunFolder, openai_server: ProviderServer
) -> None:
    openai_server.batches.ends = "failed"
    answered, stop = await run(folder, openai_server, "ab")
    assert (answered, stop.status) == ("", "failed")
    assert "Line 17 is invalid." in stop.reason
    openai_server.batches.ends = "completed"
    assert (await run(folder, openai_server, "ab"))[0] == "ab"


async def test_a_batch_that_is_gone_is_not_submitted_again_by_itself(folder: RunFolder, server: ProviderServer) -> None:
    server.batches.held = True
    async with worker(folder, server) as (judging, runner):
        await die_after("poll", server, judging, asked(runner, judge_at(server), "ab"))
    (batch,) = server.batches.batches.values()
    server.batches.batches.clear()
    answered, stop = await run(folder, server, "ab")
    assert (answered, stop.status) == ("", "failed")
    assert batch.id in stop.reason
    assert server.batches.count("create") == 1


async def test_a_worker_that_died_while_a_batch_was_created_finds_it(folder: RunFolder, server: ProviderServer) -> None:
    answering = Event()

    def withhold(step: Step) -> None:
        if step == "created":
            answering.wait(PATIENCE_S)

    server.batches.on_step = withhold
    async with worker(folder, server) as (judging, runner):
        requests = asked(runner, judge_at(server), "ab")
        await die_after("created", server, judging, requests)
    answering.set()
    assert [batch.status for batch in folder.read_state().batches.values()] == ["planned"]
    assert (await run(folder, server, "ab"))[0] == "ab"
    assert len(server.batches.batches) == 1


async def test_another_batch_of_as_many_requests_is_not_taken_for_ours(
    folder: RunFolder, tmp_path: Path, anthropic_server: ProviderServer
) -> None:
    server = anthropic_server
    make_folder_durably(tmp_path / "other")
    other = RunFolder(tmp_path / "other")
    assert (await run(other, server, "xy"))[0] == "xy"
    async with worker(folder, server) as (judging, runner):
        server.batches.steps.clear()
        server.batches.refuses = [500] * 99
        await die_after("create", server, judging, asked(runner, judge_at(server), "ab"))
    server.batches.refuses = []
    assert (await run(folder, server, "ab"))[0] == "ab"
    assert [len(batch.requests) for batch in server.batches.batches.values()] == [2, 2]


async def test_a_cancelled_run_cancels_its_batch_and_takes_what_is_finished(
    folder: RunFolder, server: ProviderServer
) -> None:
    server.batches.held, server.batches.answered = True, 1

    def cancel(step: Step) -> None:
        if step == "poll":
            folder.request_cancel()

    server.batches.on_step = cancel
    answered, stop = await run(folder, server, "abc")
    assert (answered, stop.status, server.batches.count("cancel")) == ("a", "cancelled", 1)
    folder.cancel_path.unlink()
    server.batches.held, server.batches.answered = False, None
    server.batches.on_step = lambda _step: None
    assert (await run(folder, server, "bc"))[0] == "bc"


async def test_nothing_is_submitted_where_a_provider_has_no_batches(
    folder: RunFolder, openai_server: ProviderServer, anthropic_server: ProviderServer
) -> None:
    anthropic_server.batches.exists = False
    async with worker(folder, openai_server, anthropic_server) as (judging, runner):
        both = [each for server in (openai_server, anthropic_server) for each in asked(runner, judge_at(server), "ab")]
        with pytest.raises(JudgeError):
            await judging.answer(both)
    assert (openai_server.batches.count("upload"), folder.read_state().batches) == (0, {})


async def test_two_providers_have_a_batch_each(
    folder: RunFolder, openai_server: ProviderServer, anthropic_server: ProviderServer
) -> None:
    async with worker(folder, openai_server, anthropic_server) as (judging, runner):
        both = [each for server in (openai_server, anthropic_server) for each in asked(runner, judge_at(server), "ab")]
        outcomes = await judging.answer(both)
    assert sum(isinstance(outcome, ModelAnswer) for outcome in outcomes.values()) == 4
    assert [len(server.batches.requests) for server in (openai_server, anthropic_server)] == [2, 2]


async def test_no_requests_make_no_batch(folder: RunFolder, server: ProviderServer) -> None:
    assert (await run(folder, server, ""))[0] == ""
    assert server.batches.steps == []


async def test_a_limit_of_cost_admits_what_it_covers_at_half_the_price(
    folder: RunFolder, server: ProviderServer
) -> None:
    server.script(Reply(input_tokens=1000, output_tokens=0))
    async with worker(folder, server) as (_, runner):
        characters = [
            sum(len(message.content) for message in request.messages)
            for _, request in asked(runner, judge_at(server), "abcd")
        ]
    cost = (characters[0] // 3 + 500) * 1e-6 / 2
    budget = Budget(2.5 * cost, PRICES)
    answered, stop = await run(folder, server, "abcd", budget=budget)
    assert (answered, stop.status) == ("ab", "failed")
    assert "2 of 4" in stop.reason
    assert budget.spent == pytest.approx(2 * 1000 * 1e-6 / 2)
