"""What an answer to a write means: stored, refused, or nothing at all.

Only an answer that Langfuse's API documents is one. Whatever else comes, a proxy's page, an empty body, a status that
speaks of the way and not of what was sent, leaves the write unanswered, and the caller repeats it.

Documented are: for one score 200 and its id; for a list of scores 202 `{"message": "Accepted"}`, or 207 with counts
(SDK 5.0.4, `api/scores`); for spans 200 with an `ExportTraceServiceResponse` as JSON or protobuf
(https://opentelemetry.io/docs/specs/otlp/#otlphttp-response), in place of which Langfuse 4 sends `{"message": "OK"}`;
for a refusal 400, 413 or 422 with an object that holds a `message`.
"""

from typing import Literal, TypeVar

import httpx
from langfuse.api.core.api_error import ApiError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

REFUSALS = frozenset({400, 413, 422})
"""Statuses that speak of what was sent."""
SPEAKS_OF_SERVER = frozenset({401, 403, 408, 429})
"""Statuses below 500 that the transport has a word for."""
JSON_TYPE = "application/json"
PROTOBUF_TYPE = "application/x-protobuf"
QUOTED = 200


class NotAnAnswerError(Exception):
    """What came is no documented answer; the text says what came."""


class TooLargeError(NotAnAnswerError):
    """Something on the way takes no body of this size; less may pass."""


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid")

    deprecation: object = Field(default=None, alias="_deprecation")


class _Stored(_Answer):
    id: str


class _Accepted(_Answer):
    message: Literal["Accepted"]


class _Counts(_Answer):
    accepted: int
    rejected: int
    errors: list[object]


class _PartialSuccess(_Answer):
    rejected_spans: int = 0
    error_message: str = ""


class _Exported(_Answer):
    message: Literal["OK"] | None = None
    partial_success: _PartialSuccess | None = None


class _Refusal(BaseModel):
    message: str


_Model = TypeVar("_Model", bound=BaseModel)


def read_stored_score(response: httpx.Response, score_id: str) -> None:
    """Return when a score is stored.

    Raises:
        ApiError: It is refused, or the server has failed.
        NotAnAnswerError: What came answers for nothing.
    """
    _raise_failure(response)
    if response.status_code not in (200, 201) or _read(response, _Stored).id != score_id:
        raise _strange(response)


def read_stored_scores(response: httpx.Response) -> bool:
    """Tell whether a list of scores is stored as a whole; False where some of it is refused.

    Raises:
        ApiError: All of it is refused, or the server has failed.
        NotAnAnswerError: What came answers for nothing.
    """
    _raise_failure(response)
    if response.status_code == httpx.codes.MULTI_STATUS:
        _read(response, _Counts)
        return False
    if response.status_code not in (200, 201, 202):
        raise _strange(response)
    _read(response, _Accepted)
    return True


def read_exported_spans(response: httpx.Response) -> None:
    """Return when all spans of a request are taken.

    Raises:
        ApiError: Some are refused, with status 400, or all are, or the server has failed.
        NotAnAnswerError: What came answers for nothing.
    """
    _raise_failure(response)
    if response.status_code != httpx.codes.OK:
        raise _strange(response)
    partial = _read_partial_success(response)
    if partial is not None and partial.rejected_spans > 0:
        message = f"{partial.rejected_spans} spans are refused: {partial.error_message or 'no reason given'}"
        raise ApiError(status_code=httpx.codes.BAD_REQUEST, body={"message": message})


def _raise_failure(response: httpx.Response) -> None:
    status = response.status_code
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in SPEAKS_OF_SERVER or _is_refusal(response):
        raise ApiError(status_code=status, headers=dict(response.headers), body=_body(response))
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        raise TooLargeError(_described(response))
    if status >= httpx.codes.MULTIPLE_CHOICES:
        raise _strange(response)


def _is_refusal(response: httpx.Response) -> bool:
    if response.status_code not in REFUSALS:
        return False
    try:
        _read(response, _Refusal)
    except NotAnAnswerError:
        return False
    return True


def _read(response: httpx.Response, model: type[_Model]) -> _Model:
    if not response.headers.get("content-type", "").startswith(JSON_TYPE):
        raise _strange(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise _strange(response) from None


def _read_partial_success(response: httpx.Response) -> _PartialSuccess | None:
    if not response.headers.get("content-type", "").startswith(PROTOBUF_TYPE):
        return _read(response, _Exported).partial_success
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    except DecodeError:
        raise _strange(response) from None
    return _PartialSuccess(rejected_spans=partial.rejected_spans, error_message=partial.error_message)


def _strange(response: httpx.Response) -> NotAnAnswerError:
    return NotAnAnswerError(_described(response))


def _described(response: httpx.Response) -> str:
    text = " ".join(response.text.split()) or "an empty body"
    return f"status {response.status_code}: {text[:QUOTED]}"


def _body(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return response.text
