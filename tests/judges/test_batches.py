"""Batches at one provider: what is sent is what a call sends, and what comes back is read as a call's answer is."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError, LfexpError, ModelRefusedError, ProviderError
from lfexp_mcp.judges.batches import Batches, Outcome, json_lines
from lfexp_mcp.judges.model_client import ModelClient, open_provider
from lfexp_mcp.judges.providers.messages import BatchLimits, CallFailure, ModelAnswer, ModelRequest
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.model import ResolvedJudge
from lfexp_mcp.retries import RetryPolicy
from tests.judges.asking import QUICK, SECRETS, make_judge, settings_for
from tests.providers.batches import Line
from tests.providers.server import Failure, ProviderServer, Reply

pytestmark = pytest.mark.anyio

SECRET = b"k" * 32
LOOKS = RetryPolicy(attempts=2, first_delay_s=0.01)
NOW = datetime.now(UTC)


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> ProviderServer:
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, ProviderServer)
    return found


@asynccontextmanager
async def batches_at(server: ProviderServer, limits: BatchLimits | None = None) -> AsyncIterator[Batches]:
    provider = open_provider(server.kind, settings_for(server), 10)
    if limits is not None:
        provider.batch_limits = limits  # type: ignore[misc]
    yield Batches(provider, QUICK, LOOKS)
    await provider.close()


async def requests_about(
    server: ProviderServer, *outputs: str, judge: ResolvedJudge | None = None
) -> dict[str, ModelRequest]:
    async with ModelClient(settings_for(server)) as models:
        runner = JudgeRunner(models, secret=SECRET)
        found = [
            request
            for index, output in enumerate(outputs)
            for request in runner.requests(
                judge or make_judge(provider=server.kind),
                input="2+2?",
                output=output,
                expected_output="4",
                metadata={},
                result_id=str(index),
            )
        ]
    return {str(request.id): request for request in found}


async def submit(batches: Batches, requests: dict[str, ModelRequest]) -> tuple[str, bytes]:
    (part,) = batches.split(requests.values(), {})
    return (await batches.submit("lfexp-1", part.content, NOW, ())).id, part.content


async def ask(server: ProviderServer, requests: dict[str, ModelRequest]) -> dict[str, Outcome]:
    async with batches_at(server) as batches:
        batch, _ = await submit(batches, requests)
        while (await batches.status(batch)).ended is None:
            pass
        return batches.read(await batches.results(batch), requests, {})


def texts(outcomes: dict[str, Outcome]) -> list[str]:
    return [outcome.text for outcome in outcomes.values() if isinstance(outcome, ModelAnswer)]


def failures(outcomes: dict[str, Outcome]) -> list[CallFailure]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, CallFailure)]


async def test_a_request_of_a_batch_is_the_very_one_that_a_call_sends(server: ProviderServer) -> None:
    judge = make_judge(provider=server.kind, parameters={"max_tokens": 99}, defaults={"temperature": 0})
    requests = await requests_about(server, "4", judge=judge)
    async with batches_at(server) as batches:
        await submit(batches, requests)
    async with ModelClient(settings_for(server)) as models:
        await JudgeRunner(models, secret=SECRET).judge(
            judge, input="2+2?", output="4", expected_output="4", metadata={}, result_id="0"
        )
    assert [request["body"] for request in server.batches.requests] == [call.body for call in server.calls]


async def test_results_in_any_order_find_their_requests(server: ProviderServer) -> None:
    server.respond = lambda call: Reply(f"judged {next(word for word in 'abc' if f'>{word}<' in call.text)}")
    requests = await requests_about(server, "a", "b", "c")
    outcomes = await ask(server, requests)
    answers = [outcomes[each] for each in requests]
    assert [answer.text for answer in answers if isinstance(answer, ModelAnswer)] == [
        "judged a",
        "judged b",
        "judged c",
    ]
    assert all(isinstance(answer, ModelAnswer) and answer.batched and answer.input_tokens == 100 for answer in answers)


async def test_ids_are_stable_unlike_for_unlike_judgements_and_within_the_providers_pattern(
    server: ProviderServer,
) -> None:
    first, again = (
        await requests_about(server, "ü" * 500, "/" * 500),
        await requests_about(server, "ü" * 500, "/" * 500),
    )
    assert first == again
    voting = await requests_about(server, "same", "same", judge=make_judge(provider=server.kind, samples=3))
    assert len({*first, *voting}) == 8
    other = make_judge(provider=server.kind).model_copy(update={"version": 2})
    assert not first.keys() & (await requests_about(server, "ü" * 500, "/" * 500, judge=other)).keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "reply",
    [
        Reply("No.", ending="refused"),
        Reply("{", ending="cut off"),
        Reply('```json\n{"score": 3}\n```'),
        Reply(""),
        Reply(metered=False),
    ],
)
async def test_a_reply_is_read_as_a_calls_answer_is(server: ProviderServer, reply: Reply) -> None:
    server.script(reply)
    requests = await requests_about(server, "4")
    (batched,) = (await ask(server, requests)).values()
    assert isinstance(batched, ModelAnswer)
    provider = open_provider(server.kind, settings_for(server), 10)
    (request,) = requests.values()
    live = await provider.send(request, frozenset())
    await provider.close()
    assert isinstance(live, ModelAnswer)
    told = [(each.text, each.ending, each.input_tokens, each.output_tokens, each.metered) for each in (live, batched)]
    if reply.metered or server.kind == "openai":
        assert told[0] == told[1]


async def test_what_fails_in_a_batch_is_told_by_its_kind_and_is_no_answer(server: ProviderServer) -> None:
    server.script(Failure(429, "Slow down.", code="rate_limit_error"), Failure(500, "Oops."), Reply())
    outcomes = await ask(server, await requests_about(server, "a", "b", "c"))
    assert [failure.kind for failure in failures(outcomes)] == ["transient", "throttled"]
    assert len(texts(outcomes)) == 1


async def test_a_parameter_that_the_model_refuses_is_named(server: ProviderServer) -> None:
    judge = make_judge(provider=server.kind, defaults={"temperature": 0})
    server.script(Failure(400, "`temperature` is not supported.", param="temperature", code="invalid_request_error"))
    requests = await requests_about(server, "4", judge=judge)
    (failure,) = failures(await ask(server, requests))
    assert (failure.kind, failure.parameter) == ("unsupported", "temperature")
    async with batches_at(server) as batches:
        refused = {request.model: frozenset({"temperature"}) for request in requests.values()}
        (part,) = batches.split(requests.values(), refused)
    assert b"temperature" not in part.content


@pytest.mark.parametrize("ended", ["expired", "cancelled"])
async def test_what_a_batch_has_finished_before_it_ended_is_kept(server: ProviderServer, ended: str) -> None:
    server.batches.answered = 2
    if ended == "expired":
        server.batches.ends = "expired"
    requests = await requests_about(server, "a", "b", "c")
    async with batches_at(server) as batches:
        batch, _ = await submit(batches, requests)
        if ended == "cancelled":
            await batches.cancel(batch)
        while (await batches.status(batch)).ended is None:
            pass
        outcomes = batches.read(await batches.results(batch), requests, {})
    assert len(texts(outcomes)) == 2
    (failure,) = failures(outcomes)
    assert ended[:6] in failure.message


async def test_a_batch_of_failures_alone_has_no_file_of_answers(openai_server: ProviderServer) -> None:
    openai_server.script(Failure(500))
    assert len(failures(await ask(openai_server, await requests_about(openai_server, "a", "b")))) == 2


async def test_a_batch_that_is_not_taken_says_why(openai_server: ProviderServer) -> None:
    openai_server.batches.ends = "failed"
    async with batches_at(openai_server) as batches:
        batch, _ = await submit(batches, await requests_about(openai_server, "a"))
        await batches.status(batch)
        status = await batches.status(batch)
    assert (status.ended, status.problem) == ("failed", "Line 17 is invalid.")


Damage = Callable[[list[Line]], bytes]


def _encoded(line: Line) -> bytes:
    return json.dumps(line).encode()


@pytest.mark.parametrize(
    ("damage", "answered"),
    [
        (lambda lines: b"\n".join(map(_encoded, lines[:-1])), 2),
        (lambda lines: b"\xef\xbb\xbf" + b"\r\n\r\n".join(map(_encoded, lines)), 3),
        (lambda lines: b"\n".join(map(_encoded, [*lines, lines[0]])), 3),
        (lambda lines: b"\n".join(map(_encoded, [*lines, {**lines[0], "custom_id": "unknown"}])), 3),
        (lambda lines: b"\n".join([*map(_encoded, lines[:-1]), _encoded(lines[-1])[:-9]]), 2),
        (lambda lines: b"\n".join([*map(_encoded, lines[:-1]), b"[1]", b"null", b"{"]), 2),
        (lambda _lines: b"", 0),
    ],
    ids=["missing line", "BOM, CRLF, blank lines", "doubled", "of another", "cut off", "malformed", "empty"],
)
async def test_damaged_results_lose_nothing_but_what_is_damaged(
    server: ProviderServer, damage: Damage, answered: int
) -> None:
    server.batches.render = damage
    outcomes = await ask(server, await requests_about(server, "a", "b", "c"))
    assert (len(texts(outcomes)), len(failures(outcomes))) == (answered, 0)


async def test_a_download_that_broke_off_is_made_again(server: ProviderServer) -> None:
    whole, downloads = server.batches.render, [0]

    def cut_at_first(lines: list[Line]) -> bytes:
        downloads[0] += 1
        return whole(lines)[:-30] if downloads[0] == 1 else whole(lines)

    server.batches.render = cut_at_first
    outcomes = await ask(server, await requests_about(server, "a", "b", "c"))
    assert len(texts(outcomes)) == 3
    assert server.batches.count("results") >= 2


async def test_two_unlike_results_of_one_request_are_none(server: ProviderServer) -> None:
    def doubled(lines: list[Line]) -> bytes:
        other = json.loads(json.dumps(lines[0]).replace("Right.", "Wrong."))
        return b"\n".join(map(_encoded, [*lines, other]))

    server.batches.render = doubled
    outcomes = await ask(server, await requests_about(server, "a", "b"))
    assert (len(texts(outcomes)), len(failures(outcomes))) == (1, 1)


async def test_line_separators_within_a_text_end_no_line(server: ProviderServer) -> None:
    server.script(Reply("a\u2028b\u0085c\x0bd"))
    server.batches.render = lambda lines: "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    assert texts(await ask(server, await requests_about(server, "a"))) == ["a\u2028b\u0085c\x0bd"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500])
async def test_a_creation_that_failed_is_tried_again(server: ProviderServer, status: int) -> None:
    server.batches.refuses = [status]
    async with batches_at(server) as batches:
        await submit(batches, await requests_about(server, "a"))
    assert (len(server.batches.batches), server.batches.count("create")) == (1, 2)
    assert server.batches.count("upload") == (1 if server.kind == "openai" else 0)


async def test_a_creation_whose_answer_got_lost_is_found_and_not_repeated(server: ProviderServer) -> None:
    server.batches.loses = [500]
    async with batches_at(server) as batches:
        batch, _ = await submit(batches, await requests_about(server, "a"))
    assert (list(server.batches.batches), server.batches.count("create")) == ([batch], 1)


@pytest.mark.slow
async def test_a_batch_is_found_among_many_and_no_other_is_taken_for_it(server: ProviderServer) -> None:
    requests = await requests_about(server, "a", "b")
    async with batches_at(server) as batches:
        batch, content = await submit(batches, requests)
        (part,) = batches.split(list(requests.values())[:1], {})
        for index in range(101):
            await batches.submit(f"other-{index}", part.content, NOW, ())
        found = await batches.find("lfexp-1", content.count(b"\n"), NOW, ())
        assert found is not None
        assert (found.id, found.is_certain) == (batch, server.kind == "openai")
        assert await batches.find("lfexp-1", 2, NOW, {batch}) is None
        assert await batches.find("lfexp-1", 2, NOW + timedelta(days=9), ()) is None


@pytest.mark.slow
async def test_batches_keep_to_the_limits_and_have_one_model_each(server: ProviderServer) -> None:
    requests = list((await requests_about(server, *"abcde")).values())
    other = make_judge(provider=server.kind).model_copy(update={"model": "other"})
    requests += (await requests_about(server, "f", judge=other)).values()
    async with batches_at(server, BatchLimits(2, 10**9)) as batches:
        parts = list(batches.split(requests, {}))
    assert [(part.model == "other", len(part.ids), part.content.count(b"\n")) for part in parts] == [
        (False, 2, 2),
        (False, 2, 2),
        (False, 1, 1),
        (True, 1, 1),
    ]
    size = len(parts[0].content)
    async with batches_at(server, BatchLimits(100, size + 10)) as batches:
        assert [len(part.ids) for part in batches.split(requests, {})] == [2, 2, 1, 1]
    async with batches_at(server) as batches:
        assert list(batches.split([], {})) == []


async def test_a_server_without_batch_endpoints_is_refused_before_anything_is_submitted(server: ProviderServer) -> None:
    server.batches.exists = False
    async with batches_at(server) as batches:
        with pytest.raises(JudgeError, match="batch"):
            await batches.check()
    assert server.batches.count("upload") + server.batches.count("create") == 0


async def test_a_batch_that_is_not_there_is_an_error_that_says_so(server: ProviderServer) -> None:
    async with batches_at(server) as batches:
        with pytest.raises(ProviderError, match="'batch_9'"):
            await batches.status("batch_9")


async def test_an_error_shows_no_key(server: ProviderServer) -> None:
    server.batches.refuses = [401, 400]
    async with batches_at(server) as batches:
        for expected in (ModelRefusedError, ProviderError):
            with pytest.raises(expected) as caught:
                await submit(batches, await requests_about(server, "a"))
            assert isinstance(caught.value, LfexpError)
            assert SECRETS[server.kind] not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b'{"a": 1}\n{"b"', [{"a": 1}, None]),
        (b"[" * 100_000, [None]),
        (b"\xff\n{}", [None, {}]),
    ],
)
async def test_json_lines_are_read_one_by_one(content: bytes, expected: list[JsonValue]) -> None:
    assert json_lines(content) == expected
