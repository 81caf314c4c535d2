"""What an answer of Langfuse means: success, a refusal, or no answer at all.

For writes only an answer that Langfuse's API documents counts. Anything else (a proxy's page, an empty body, a status
that is about the connection rather than the content) leaves the write unacknowledged, and the caller repeats it.

Documented are: for one score 200 and its id; for a list of scores 202 `{"message": "Accepted"}`, or 207 with counts
(SDK 5.0.4, `api/scores`); for spans 200 with an `ExportTraceServiceResponse` as JSON or protobuf
(https://opentelemetry.io/docs/specs/otlp/#otlphttp-response), instead of which Langfuse 4 sends `{"message": "OK"}`;
for a refusal 400, 413 or 422 with an object that holds a `message`.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
from pydantic_core import from_json

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess

REFUSAL_STATUSES = frozenset({400, 413, 422})
"""Statuses that are about what was sent."""
SERVER_STATUSES = frozenset({401, 403, 408, 429})
"""Statuses below 500 that the transport reports or repeats by themselves."""
JSON_TYPE = "application/json"
PROTOBUF_TYPE = "application/x-protobuf"
MAX_QUOTED_CHARS = 200


class StatusError(Exception):
    """Langfuse answered, with something other than success.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers.
        body: The answer's JSON, or its text where it is not JSON.
    """

    def __init__(self, status: int, body: object, headers: httpx.Headers | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers or httpx.Headers()

    @classmethod
    def of(cls, response: httpx.Response) -> "StatusError":
        """Read the body of a response."""
        try:
            body: object = from_json(response.content)
        except ValueError:
            body = response.text
        return cls(response.status_code, body, response.headers)


class UndocumentedAnswerError(Exception):
    """The answer is not one that Langfuse's API documents; the text quotes it."""


class TooLargeError(UndocumentedAnswerError):
    """Something between us and Langfuse takes no body of this size; a smaller one may pass."""


def read_content(response: httpx.Response) -> bytes:
    """Return the body of a successful answer to a read.

    Raises:
        StatusError: The answer is an error, or a page: Langfuse's API answers with JSON, so a page is a proxy's.
    """
    if response.is_success and not response.headers.get("content-type", "").startswith("text/html"):
        return response.content
    raise StatusError.of(response)


def check_stored_score(response: httpx.Response, score_id: str) -> None:
    """Return if a score is stored.

    Raises:
        StatusError: It is refused, or the server failed.
        UndocumentedAnswerError: The answer acknowledges nothing.
    """
    _raise_failure(response)
    if response.status_code not in (200, 201) or _body(response) != {"id": score_id}:
        raise _undocumented(response)


def are_scores_stored(response: httpx.Response) -> bool:
    """Tell whether all scores of a list are stored; False if some of them are refused.

    Raises:
        StatusError: All of them are refused, or the server failed.
        UndocumentedAnswerError: The answer acknowledges nothing.
    """
    _raise_failure(response)
    match response.status_code, _body(response):
        case 207, {"accepted": int(), "rejected": int(), "errors": list(), **others} if not others:
            return False
        case 200 | 201 | 202, {"message": "Accepted", **others} if not others:
            return True
    raise _undocumented(response)


def check_exported_spans(response: httpx.Response) -> None:
    """Return if all spans of a request are taken.

    Raises:
        StatusError: Some are refused (status 400), all are refused, or the server failed.
        UndocumentedAnswerError: The answer acknowledges nothing.
    """
    _raise_failure(response)
    if response.status_code != httpx.codes.OK:
        raise _undocumented(response)
    partial = _partial_success(response)
    if partial.rejected_spans > 0:
        message = f"{partial.rejected_spans} spans are refused: {partial.error_message or 'no reason given'}"
        raise StatusError(httpx.codes.BAD_REQUEST, {"message": message})


def _raise_failure(response: httpx.Response) -> None:
    status = response.status_code
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in SERVER_STATUSES or _is_refusal(response):
        raise StatusError.of(response)
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        raise TooLargeError(_quote(response))
    if status >= httpx.codes.MULTIPLE_CHOICES:
        raise _undocumented(response)


def _is_refusal(response: httpx.Response) -> bool:
    if response.status_code not in REFUSAL_STATUSES:
        return False
    try:
        return isinstance(_body(response).get("message"), str)
    except UndocumentedAnswerError:
        return False


def _body(response: httpx.Response) -> dict[str, object]:
    """Return the JSON object in an answer, without the `_deprecation` that a server may add to any."""
    if response.headers.get("content-type", "").startswith(JSON_TYPE):
        with suppress(ValueError):
            body = from_json(response.content)
            if isinstance(body, dict):
                return {name: value for name, value in body.items() if name != "_deprecation"}
    raise _undocumented(response)


def _partial_success(response: httpx.Response) -> "ExportTracePartialSuccess":
    from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    exported = ExportTraceServiceResponse()
    try:
        if response.headers.get("content-type", "").startswith(PROTOBUF_TYPE):
            exported.ParseFromString(response.content)
        else:
            body = _body(response)
            if body.get("message") == "OK":
                del body["message"]
            ParseDict(body, exported)
    except (DecodeError, ParseError):
        raise _undocumented(response) from None
    return exported.partial_success


def _undocumented(response: httpx.Response) -> UndocumentedAnswerError:
    return UndocumentedAnswerError(_quote(response))


def _quote(response: httpx.Response) -> str:
    text = " ".join(response.text.split()) or "an empty body"
    return f"status {response.status_code}: {text[:MAX_QUOTED_CHARS]}"
