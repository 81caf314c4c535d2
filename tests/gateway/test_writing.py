import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from lfexp_mcp.errors import BackendError, RejectedError, SizeError, UnreachableError
from lfexp_mcp.gateway import Gateway
from lfexp_mcp.model import Score
from tests.faults.wrong_answers import WRONG_ANSWERS
from tests.gateway.scripted_server import LOGIN_PAGE, STORED, Reply, ScriptedServer

pytestmark = pytest.mark.anyio

SCORES = [
    Score(id=f"score-{number}", name="accuracy", value=1.0, data_type="NUMERIC", trace_id="t", observation_id="o")
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
    assert await gateway.scores.write(SCORES) == {}
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
        "environment": "sdk-experiment",
    }


async def test_a_server_that_takes_one_score_a_request_is_remembered(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [LIST_REFUSED, STORED]
    assert await gateway.scores.write(SCORES) == {}
    assert await gateway.scores.write(SCORES) == {}
    lists = [body for _, body in server.requests if isinstance(body, list)]
    assert (len(lists), len(server.requests)) == (1, 7)


async def test_the_scores_that_a_list_was_partly_refused_for_are_found(
    gateway: Gateway, server: ScriptedServer
) -> None:
    partly = Reply(207, {"accepted": 2, "rejected": 1, "errors": [{"message": "value is too long"}]})
    server.replies = [partly, Reply(400, {"message": "value is too long"}), STORED]
    [(refused, reason)] = (await gateway.scores.write(SCORES)).items()
    assert refused in {score.id for score in SCORES}
    assert "value is too long" in reason


async def test_a_list_that_is_refused_as_a_whole_is_sent_again_one_by_one(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [
        Reply(400, {"message": "bad"}),
        Reply(400, {"message": "bad name"}),
        STORED,
    ]
    [reason] = (await gateway.scores.write(SCORES)).values()
    assert "bad name" in reason


async def test_scores_without_an_answer_are_the_callers_to_keep(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [Reply(500)]
    with pytest.raises(UnreachableError):
        await gateway.scores.write(SCORES)
    assert len(server.requests) == 1


async def test_a_server_that_dies_between_single_scores_is_reported_as_such(
    gateway: Gateway, server: ScriptedServer
) -> None:
    server.replies = [LIST_REFUSED, STORED, Reply(500)]
    with pytest.raises(UnreachableError):
        await gateway.scores.write(SCORES)


@pytest.mark.parametrize("reply", [LOGIN_PAGE, Reply(302, headers={"location": "https://sso/login"})])
async def test_a_login_page_in_the_servers_place_acknowledges_and_refuses_nothing(
    gateway: Gateway, server: ScriptedServer, reply: Reply
) -> None:
    server.replies = [reply]
    for write in (lambda: gateway.scores.write(SCORES), lambda: gateway.observations.send(b"spans")):
        with pytest.raises(BackendError, match="proxy") as failed:
            await write()
        assert not isinstance(failed.value, RejectedError)


async def test_a_batch_of_spans_is_refused_with_its_status(gateway: Gateway, server: ScriptedServer) -> None:
    server.replies = [Reply(400, {"message": "Failed to parse OTel Protobuf Trace"})]
    with pytest.raises(RejectedError) as refused:
        await gateway.observations.send(b"no protobuf")
    assert refused.value.status == 400


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_ANSWERS)
async def test_an_answer_that_the_api_does_not_document_stores_and_refuses_nothing(
    gateway: Gateway, server: ScriptedServer, name: str
) -> None:
    fault = WRONG_ANSWERS[name]
    server.replies = [Reply(fault.status or 200, headers=fault.headers, content=fault.content)]
    for write in (
        lambda: gateway.scores.write(SCORES),
        lambda: gateway.scores.write(SCORES[:1]),
        lambda: gateway.observations.send(b"spans"),
    ):
        with pytest.raises(BackendError) as failed:
            await write()
        assert not isinstance(failed.value, RejectedError)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {}),
        Reply(200, {"message": "OK"}),
        Reply(200, {"partialSuccess": {"rejectedSpans": "0", "errorMessage": "slow down"}}),
        Reply(200, headers={"content-type": "application/x-protobuf"}, content=b""),
        Reply(200, {"message": "OK", "_deprecation": {"sunset": "2027-01-01"}}),
    ],
)
async def test_spans_are_stored_when_the_server_says_so_in_json_or_protobuf(
    gateway: Gateway, server: ScriptedServer, reply: Reply
) -> None:
    server.replies = [reply]
    await gateway.observations.send(b"spans")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}),
        Reply(
            200,
            headers={"content-type": "application/x-protobuf"},
            content=bytes(
                ExportTraceServiceResponse(
                    partial_success=ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
                ).SerializeToString()
            ),
        ),
    ],
)
async def test_spans_of_which_a_part_is_rejected_are_refused_with_the_servers_reason(
    gateway: Gateway, server: ScriptedServer, reply: Reply
) -> None:
    server.replies = [reply]
    with pytest.raises(RejectedError, match=r"2 spans .*too old"):
        await gateway.observations.send(b"spans")


async def test_a_body_that_a_proxy_finds_too_large_is_no_refusal(gateway: Gateway, server: ScriptedServer) -> None:
    too_large = Reply(413, headers={"content-type": "text/html"}, content=b"<html>413</html>")
    server.replies = [too_large]
    with pytest.raises(SizeError):
        await gateway.observations.send(b"spans")
    server.replies = [too_large, STORED]
    assert await gateway.scores.write(SCORES) == {}
    assert [type(body).__name__ for _, body in server.requests[1:]] == ["list", "dict", "dict", "dict"]
