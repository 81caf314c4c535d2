import base64
import gc
import re
import socket
from pathlib import Path

import httpx
import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import BackendError, CredentialsError, RateLimitError, RejectedError, UnreachableError, UsageError
from lfexp_mcp.gateway import Gateway, connect
from lfexp_mcp.settings import Settings
from tests.gateway.conftest import QUICK
from tests.gateway.scripted_server import LOGIN_PAGE, Reply, ScriptedServer

pytestmark = pytest.mark.anyio

HEALTHY = Reply(body={"status": "OK", "version": "4.59.0"})


async def test_an_error_of_the_server_is_tried_again(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [Reply(500), Reply(503), HEALTHY]
    assert await gateway.health() == "4.59.0"
    assert len(server.requests) == 3


async def test_a_server_that_keeps_failing_is_given_up_with_its_message(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(500, {"message": "database is down"})]
    with pytest.raises(UnreachableError, match=r"500 .*health.*database is down"):
        await gateway.health()
    assert len(server.requests) == QUICK.attempts


@pytest.mark.slow
async def test_too_many_requests_are_waited_for_as_long_as_the_server_asks(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(429, headers={"Retry-After": "0"}), Reply(429, headers={"Retry-After": "1"}), HEALTHY]
    assert await gateway.health() == "4.59.0"


@pytest.mark.slow
async def test_answers_of_429_are_not_counted_among_the_failures(gateway: Gateway, server: ScriptedServer) -> None:
    limited = Reply(429, headers={"Retry-After": "0"})
    server.replies = [*[limited] * 4, Reply(502), HEALTHY]
    assert await gateway.health() == "4.59.0"


async def test_a_wait_longer_than_our_patience_is_an_error_that_says_to_wait(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(429, headers={"Retry-After": "3600"})]
    with pytest.raises(RateLimitError) as limited:
        await gateway.health()
    assert limited.value.retry_after == 3600
    assert len(server.requests) == 1


async def test_refused_keys_are_no_reason_to_try_again_and_stay_out_of_the_error(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(401, {"message": "Invalid credentials."})]
    with pytest.raises(CredentialsError) as refused:
        await gateway.project_id()
    assert len(server.requests) == 1
    assert "very-secret" not in str(refused.value)


async def test_a_refused_request_names_the_fields_that_are_wrong(gateway: Gateway, server: ScriptedServer) -> None:
    issues: list[dict[str, object]] = [{"path": ["limit"], "message": "Too big: expected number to be <=100"}]
    server.replies = [Reply(400, {"message": "Invalid request data", "error": issues})]  # type: ignore[dict-item]
    with pytest.raises(RejectedError, match=r"limit: Too big") as refused:
        await gateway.prompts.all()
    assert refused.value.status == 400


async def test_a_login_page_in_the_servers_place_is_told_with_what_was_asked(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [LOGIN_PAGE]
    for what, ask in (("ask for the health", gateway.health), ("read scores", gateway.scores.find)):
        with pytest.raises(BackendError, match=rf"{what} .*Sign in.*LANGFUSE_HOST"):
            await ask()
    assert len(server.requests) == 2


async def test_an_answer_of_another_form_is_told_with_what_does_not_fit(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(body={"data": [{"id": 7}]})]
    with pytest.raises(BackendError, match=r"data\.0\.id.* 7\b"):
        await gateway.scores.find()
    with pytest.raises(BackendError, match="read the project"):
        await gateway.project_id()


async def test_keys_without_a_project_are_no_keys_of_a_langfuse_project(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(body={"data": []})]
    with pytest.raises(BackendError, match="read the project"):
        await gateway.project_id()


async def test_a_score_of_a_source_that_we_do_not_know_is_read_as_no_humans(
    gateway: Gateway, server: ScriptedServer
) -> None:
    row: dict[str, JsonValue] = {"id": "1", "name": "n", "dataType": "NUMERIC", "value": 0.5, "source": "AGENT"}
    server.replies = [Reply(body={"data": [row], "meta": {}})]
    [score] = await gateway.scores.find()
    assert (score.value, score.source) == (0.5, "API")


async def test_a_server_that_is_not_there_is_named_with_what_to_check(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    settings = Settings(langfuse_public_key="pk", langfuse_secret_key=SecretStr("sk"), langfuse_url=url, home=tmp_path)
    async with connect(settings, QUICK) as gateway:
        with pytest.raises(UnreachableError, match=rf"{url} .*LANGFUSE_HOST"):
            await gateway.health()


@pytest.mark.parametrize(
    "url", ["cloud", "ftp://host", "http://localhost:abc", "http://[::1", "http://localhost:99999", "http://a..b"]
)
async def test_an_address_that_is_none_is_refused_before_any_request(tmp_path: Path, url: str) -> None:
    settings = Settings(langfuse_public_key="pk", langfuse_secret_key=SecretStr("sk"), langfuse_url=url, home=tmp_path)
    with pytest.raises(CredentialsError, match=rf"LANGFUSE_HOST .*{re.escape(repr(url))}"):
        async with connect(settings):
            pass


def test_one_key_without_the_other_is_an_error_that_names_the_missing_one(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="LANGFUSE_SECRET_KEY"):
        _ = Settings(langfuse_public_key="pk", home=tmp_path).embedded
    with pytest.raises(CredentialsError, match="LANGFUSE_PUBLIC_KEY"):
        _ = Settings(langfuse_secret_key=SecretStr("sk"), home=tmp_path).embedded


async def test_keys_that_a_server_echoes_are_masked_in_every_error(gateway: Gateway, server: ScriptedServer) -> None:
    basic = base64.b64encode(b"pk-lf-test:sk-lf-very-secret").decode()
    echo = f"got Authorization: Basic {basic} with sk-lf-very-secret {'x' * 400} sk-lf-very-secret"
    for reply in (Reply(400, {"message": echo}), Reply(401, {"message": echo}), Reply(200, {"version": [echo]})):
        server.replies = [reply]
        with pytest.raises(BackendError) as raised:
            await gateway.health()
        assert "very-secret" not in str(raised.value)
        assert basic not in str(raised.value)
        assert "<key>" in str(raised.value)


async def test_a_password_in_the_address_is_never_shown(server: ScriptedServer, tmp_path: Path) -> None:
    address = server.url.replace("http://", "http://someone:pa55-word@") + "/?token=pa55-word#pa55-word"
    settings = Settings(
        langfuse_public_key="pk-lf-test",
        langfuse_secret_key=SecretStr("sk-lf-very-secret"),
        langfuse_url=address,
        home=tmp_path,
    )
    server.replies = [HEALTHY]
    async with connect(settings, QUICK) as gateway:
        assert await gateway.health() == "4.59.0"
        assert gateway.backend.url == server.url
    broken = settings.model_copy(update={"langfuse_url": "htp://someone:pa55-word@host"})
    with pytest.raises(CredentialsError) as refused:
        async with connect(broken, QUICK):
            pass
    assert "pa55-word" not in str(refused.value)


async def test_names_that_no_address_holds_are_refused_in_our_words(gateway: Gateway) -> None:
    with pytest.raises(UsageError):
        await gateway.scores.find(name="x" * 100_000)


async def test_an_error_whose_details_have_another_form_is_quoted_by_its_message(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [Reply(400, {"message": "bad", "error": [{"path": None, "message": "wrong"}, 3]})]
    with pytest.raises(RejectedError, match=r"\(400\): bad$"):
        await gateway.health()


@pytest.mark.slow
async def test_an_answer_is_freed_when_it_has_been_read(gateway: Gateway, server: ScriptedServer) -> None:
    def responses() -> int:
        return sum(isinstance(each, httpx.Response) for each in gc.get_objects())

    server.replies = [HEALTHY]
    gc.collect()
    before = responses()
    gc.disable()
    try:
        for _ in range(3):
            await gateway.health()
        assert responses() == before
    finally:
        gc.enable()
