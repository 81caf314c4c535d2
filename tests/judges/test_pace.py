import re
import time
from dataclasses import replace

import anyio
import pytest

from lfexp_mcp.errors import LfexpError
from lfexp_mcp.judges.model_client import ModelClient, Pace
from lfexp_mcp.judges.providers.provider import MAX_RETRY_AFTER_S, retry_after_s
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import ModelUsage, ResolvedJudge
from lfexp_mcp.retries import RetryPolicy
from tests.judges.asking import QUICK, UsageNotes, make_judge, settings_for
from tests.providers.server import Call, Drop, Failure, Outcome, ProviderServer, Reply, rate_limited

pytestmark = pytest.mark.anyio


async def judge_all(
    servers: list[ProviderServer],
    judges: list[ResolvedJudge],
    items: int,
    *,
    concurrency: int = 10,
    policy: RetryPolicy = QUICK,
) -> tuple[dict[tuple[str, int], float], list[LfexpError], ModelUsage]:
    """Let all judges score all items, many at once."""
    scores: dict[tuple[str, int], float] = {}
    errors: list[LfexpError] = []
    async with ModelClient(settings_for(*servers, judge_concurrency=concurrency), policy=policy) as models:
        notes = UsageNotes()
        runner = JudgeRunner(models, on_usage=notes)

        async def one(judge: ResolvedJudge, item: int) -> None:
            try:
                verdict = await runner.judge(judge, input="", output=f"item <{item}>", expected_output="", metadata={})
            except LfexpError as error:
                errors.append(error)
            else:
                assert isinstance(verdict.value, float)
                scores[judge.score_name, item] = verdict.value

        async with anyio.create_task_group() as group:
            for item in range(items):
                for judge in judges:
                    group.start_soon(one, judge, item)
        return scores, errors, sum(notes.by_score.values(), ModelUsage())


FAULTS: list[Outcome] = [
    Failure(500),
    rate_limited(10),
    Failure(529, "Overloaded", code="overloaded_error"),
    Drop(),
    Reply("I would rather not.", "refused"),
    Reply(""),
    Reply('{"reasoning": "It is', "cut off"),
    Reply("It is good."),
]


def one_in_five_fails(call: Call) -> Outcome:
    """Of four items, one fails at first, so that a fifth of all answers does; each fault has its turn."""
    item = int(re.findall(r"<(\d+)>", call.messages[1][1])[0])
    return FAULTS[(item // 4) % len(FAULTS)] if item % 4 == 0 else Reply()


class FailsAtFirst:
    """Makes a fault pass when the same judge asks about the same item again."""

    def __init__(self) -> None:
        self.faults = 0
        self._seen: set[str] = set()

    def __call__(self, call: Call) -> Outcome:
        key = re.sub(r"data-[0-9a-f]{16}", "data", call.messages[1][1])
        outcome = Reply() if key in self._seen else one_in_five_fails(call)
        self._seen.add(key)
        self.faults += outcome != Reply()
        return outcome


@pytest.mark.slow
async def test_many_items_and_three_judges_end_fully_scored_though_one_answer_in_five_fails(
    openai_server: ProviderServer, anthropic_server: ProviderServer
) -> None:
    servers = [openai_server, anthropic_server]
    faults = [FailsAtFirst(), FailsAtFirst()]
    openai_server.respond, anthropic_server.respond = faults
    judges = [
        make_judge("accuracy", text="accuracy {{output}}"),
        make_judge("tone", text="tone {{output}}"),
        make_judge("style", text="style {{output}}", provider="anthropic"),
    ]
    scores, errors, usage = await judge_all(servers, judges, 240)
    assert errors == []
    assert len(scores) == 720
    assert set(scores.values()) == {0.8}
    failed = sum(each.faults for each in faults)
    assert failed == 180
    assert usage.calls == sum(len(server.calls) for server in servers) == 720 + failed
    assert usage.retries + usage.asked_again == failed
    assert usage.input_tokens == sum(server.input_tokens for server in servers)
    assert usage.output_tokens == sum(server.output_tokens for server in servers)


@pytest.mark.slow
async def test_no_more_calls_than_the_limit_are_under_way_at_once(openai_server: ProviderServer) -> None:
    scores, _, _ = await judge_all([openai_server], [make_judge()], 60, concurrency=3)
    assert len(scores) == 60
    assert openai_server.at_once <= 3


@pytest.mark.slow
async def test_a_429_holds_all_calls_of_its_provider_back_for_as_long_as_it_says(
    openai_server: ProviderServer,
) -> None:
    arrivals: list[float] = []
    turned_away: list[float] = []

    def respond(call: Call) -> Outcome:
        arrivals.append(time.monotonic())
        if not turned_away:
            turned_away.append(time.monotonic())
            return Failure(429, "Slow down.", headers={"retry-after": "1"})
        return Reply()

    openai_server.respond = respond
    await judge_all([openai_server], [make_judge()], 20, concurrency=2)
    # Until the 429 has been read, the other of the two that may be under way goes on.
    early = [at for at in arrivals if turned_away[0] < at < turned_away[0] + 0.9]
    assert len(arrivals) == 21
    assert len(early) < 15


@pytest.mark.slow
async def test_an_outage_leaves_all_unscored_and_nothing_zero(openai_server: ProviderServer) -> None:
    openai_server.script(Failure(503, "Down."))
    policy = replace(QUICK, attempts=2)
    scores, errors, usage = await judge_all([openai_server], [make_judge()], 20, policy=policy)
    assert scores == {}
    assert len(errors) == 20
    assert (usage.calls, usage.input_tokens) == (40, 0)


async def most_under_way(pace: Pace, calls: int) -> int:
    """Make calls all at once, and tell how many the pace lets be under way together."""
    under_way = most = 0

    async def call() -> None:
        nonlocal under_way, most
        async with pace.turn():
            under_way += 1
            most = max(most, under_way)
            await anyio.lowlevel.checkpoint()
            under_way -= 1

    async with anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(call)
    return most


async def test_calls_that_were_turned_away_together_halve_the_pace_once() -> None:
    pace = Pace(8)
    pace.slow_down(0.01)
    pace.slow_down(0.02)
    assert await most_under_way(pace, 40) == 4


async def test_the_pace_recovers_as_calls_go_through() -> None:
    pace = Pace(4)
    pace.slow_down(0.0)
    for _ in range(2 + 3):
        pace.succeeded()
    assert await most_under_way(pace, 40) == 4


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "20", "retry-after": "7"}, 0.02),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "999999"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00"}, None),
    ],
)
async def test_retry_after_is_read_as_seconds_milliseconds_or_a_date(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers) == seconds
