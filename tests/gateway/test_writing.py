import pytest

from lfexp_mcp.errors import BackendError, RejectedError, UnreachableError
from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.gateway.records import ScoreWrite
from tests.gateway.scripted_server import LOGIN_PAGE, Reply, ScriptedServer

pytestmark = pytest.mark.anyio

SCORES = [
    ScoreWrite(id=f"score-{number}", name="accuracy", value=1.0, data_type="NUMERIC", trace_id="t", observation_id="o")
    for number in range(3)
]
LIST_REFUSED = Reply(
    400,
    {
        "message": "Invalid request data",
        "error": [{"path": [], "message": "Invalid input: expected object, received array"}],
    },
)


async def test_scores_go_out_as_one_list(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [Reply(202, {"message": "Accepted"})]
    assert await gateway.write_scores(SCORES) == []
    [(path, body)] = server.requests
    assert path == "/api/public/scores"
    assert isinstance(body, list)
    assert body[0] == {
        "id": "score-0",
        "name": "accuracy",
        "value": 1.0,
        "dataType": "NUMERIC",
        "traceId": "t",
        "observationId": "o",
    }


async def test_a_server_that_takes_one_score_a_request_is_remembered(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [LIST_REFUSED, Reply(200, {"id": "x"})]
    assert await gateway.write_scores(SCORES) == []
    assert await gateway.write_scores(SCORES) == []
    lists = [body for _, body in server.requests if isinstance(body, list)]
    assert (len(lists), len(server.requests)) == (1, 7)


async def test_the_scores_that_a_list_was_partly_refused_for_are_found(
    gateway: Gateway, server: ScriptedServer
) -> None:
    partly = Reply(207, {"accepted": 2, "rejected": 1, "errors": [{"message": "value is too long"}]})
    server.replies = [partly, Reply(400, {"message": "value is too long"}), Reply(200, {"id": "x"})]
    [rejection] = await gateway.write_scores(SCORES)
    assert rejection.score in SCORES
    assert "value is too long" in rejection.message


async def test_a_list_that_is_refused_as_a_whole_is_sent_again_one_by_one(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [
        Reply(400, {"message": "bad"}),
        Reply(400, {"message": "bad name"}),
        Reply(200, {"id": "x"}),
    ]
    [rejection] = await gateway.write_scores(SCORES)
    assert "bad name" in rejection.message


async def test_scores_without_an_answer_are_the_callers_to_keep(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [Reply(500)]
    with pytest.raises(UnreachableError):
        await gateway.write_scores(SCORES)
    assert len(server.requests) == 1


async def test_a_server_that_dies_between_single_scores_is_reported_as_such(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [LIST_REFUSED, Reply(200, {"id": "x"}), Reply(500)]
    with pytest.raises(UnreachableError):
        await gateway.write_scores(SCORES)


@pytest.mark.parametrize("reply", [LOGIN_PAGE, Reply(302, headers={"location": "https://sso/login"})])
async def test_a_login_page_in_the_servers_place_acknowledges_and_refuses_nothing(
    gateway: Gateway, server: ScriptedServer, reply: Reply
) -> None:
    server.replies = [reply]
    for write in (lambda: gateway.write_scores(SCORES), lambda: gateway.send_spans(b"spans")):
        with pytest.raises(BackendError, match="login page of a proxy") as failed:
            await write()
        assert not isinstance(failed.value, RejectedError)


async def test_a_batch_of_spans_is_refused_with_its_status(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [Reply(400, {"message": "Failed to parse OTel Protobuf Trace"})]
    with pytest.raises(RejectedError) as refused:
        await gateway.send_spans(b"no protobuf")
    assert refused.value.status == 400
