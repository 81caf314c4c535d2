"""One request to Langfuse: waits and repeats where that helps, and says in our own errors what failed."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio
import httpx
from langfuse.api.core.api_error import ApiError
from pydantic import ValidationError

from lfexp_mcp.errors import (
    BackendError,
    CredentialsError,
    RateLimitError,
    RejectedError,
    UnreachableError,
    UsageError,
)
from lfexp_mcp.gateway.acknowledgement import NotAnAnswerError
from lfexp_mcp.gateway.location import Location
from lfexp_mcp.masking import mask
from lfexp_mcp.retries import FailureKind, Retries, RetryPolicy, read_retry_after

T = TypeVar("T")

MAX_MESSAGE_CHARS = 500
MAX_QUOTE_CHARS = 120
MIN_RETRY_AFTER_S = 0.1
"""A server that answers 429 and asks for no wait at all would be asked without end."""
DEFAULT_RETRY_AFTER_S = 1.0
"""Where a 429 does not say how long to wait."""


POLICY = RetryPolicy(
    # Soon given up, since a person may be waiting on a mistyped URL.
    connect_attempts=3,
    # A server that answers 429 is there, and is waited for as long as it asks.
    throttled_patience_s=300,
)
ONCE = RetryPolicy(attempts=1, throttled_patience_s=0)
"""For callers that keep what they send and repeat it themselves."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BackendError
    kind: FailureKind | None = None
    """None where repeating the request does not help."""
    retry_after_s: float | None = None


class Transport:
    """Sends requests under one retry policy."""

    def __init__(self, location: Location, policy: RetryPolicy, secrets: Sequence[str] = ()) -> None:
        """Make one.

        Args:
            location: Where the server is.
            policy: How to repeat requests.
            secrets: What requests carry and no error may quote, though a server or a proxy may echo it.
        """
        self._location = location
        self._policy = policy
        self._secrets = secrets

    async def call(self, what: str, request: Callable[[], Awaitable[T]], policy: RetryPolicy | None = None) -> T:
        """Send one request, and repeat it as the policy says.

        Args:
            what: What the request does, such as `read dataset 'x'`; it stands in the error's text.
            request: Sends it once.
            policy: Instead of the transport's own.

        Raises:
            CredentialsError: The keys are refused.
            RateLimitError: Still 429 after the waits.
            UnreachableError: No answer, or only errors of the server.
            RejectedError: The request is refused as wrong; `status` says how.
            BackendError: What came is no answer of a Langfuse server to this request.
            UsageError: No address can hold what is asked for.
        """
        retries = Retries(policy or self._policy)
        while True:
            try:
                return await request()
            except ApiError as answer:
                failure = self._failure_of_answer(what, answer)
            except httpx.RequestError as broken:
                failure = self._failure_of_connection(what, broken)
            except httpx.InvalidURL as impossible:
                raise UsageError(f"Cannot {what}: {impossible}. Pass shorter names.") from impossible
            except ValidationError as misfit:
                failure = self._misfit(what, _first_misfit(misfit, self._secrets))
            except NotAnAnswerError as strange:
                failure = self._misfit(what, mask(str(strange), *self._secrets))
            delay = retries.next_delay(failure.kind, retry_after_s=failure.retry_after_s) if failure.kind else None
            if delay is None:
                raise failure.error
            await anyio.sleep(delay)

    def _failure_of_answer(self, what: str, answer: ApiError) -> _Failure:
        status = answer.status_code or 0
        message = _message(answer.body, self._secrets)
        if status < 400:
            return self._misfit(what, f"status {status}: {message}")
        if status in (401, 403):
            return _Failure(
                CredentialsError(
                    f"Langfuse at {self._location.url} refused the keys while trying to {what}: {message} "
                    "Check LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and that LANGFUSE_HOST is their server."
                )
            )
        if status == 429:
            wait = _wait_asked_for(answer.headers)
            error = RateLimitError(
                f"Langfuse at {self._location.url} still answers 429 (too many requests) while trying to {what}. "
                "Wait a minute and try again.",
                wait,
            )
            return _Failure(error, "throttled", wait)
        if status >= 500 or status == 408:
            return _Failure(
                UnreachableError(
                    f"Langfuse at {self._location.url} answered {status} while trying to {what}: {message} "
                    "Try again, and look at the server if it goes on."
                ),
                "failed",
            )
        return _Failure(RejectedError(f"Langfuse refused to {what} ({status}): {message}", status))

    def _misfit(self, what: str, came: str) -> _Failure:
        error = BackendError(
            f"What came from {self._location.url} while trying to {what} does not fit what was asked for ({came}). "
            "Check that LANGFUSE_HOST is the address of a Langfuse server, and that no login page of a proxy "
            "answers in its place; else the server is of a version that lfexp-mcp does not know."
        )
        return _Failure(error)

    def _failure_of_connection(self, what: str, broken: httpx.RequestError) -> _Failure:
        connecting = isinstance(broken, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol)
        reason = mask(str(broken), *self._secrets) or type(broken).__name__
        return _Failure(
            UnreachableError(
                f"Langfuse at {self._location.url} cannot be reached ({reason}) while trying to {what}. "
                "Check LANGFUSE_HOST and that the server is up; `lfexp-mcp doctor` tells more."
            ),
            "unreachable" if connecting else "failed",
        )


def checked(response: httpx.Response) -> httpx.Response:
    """Return a response that is an answer of Langfuse, and good.

    Raises:
        ApiError: It is not; `Transport.call` turns this into our own errors.
    """
    # Langfuse's API answers with JSON; a page is that of a proxy, and acknowledges nothing.
    is_page = response.headers.get("content-type", "").startswith("text/html")
    if response.is_success and not is_page:
        return response
    try:
        body: object = response.json()
    except ValueError:
        body = response.text
    raise ApiError(headers=dict(response.headers), status_code=response.status_code, body=body)


def _wait_asked_for(headers: dict[str, str] | None) -> float:
    """Seconds that a 429 asks to wait."""
    asked = read_retry_after({name.lower(): value for name, value in (headers or {}).items()}.get("retry-after"))
    return DEFAULT_RETRY_AFTER_S if asked is None else max(asked, MIN_RETRY_AFTER_S)


def _first_misfit(misfit: ValidationError, secrets: Sequence[str]) -> str:
    """What of an answer does not fit first, and what stands there."""
    issue = misfit.errors(include_url=False, include_context=False)[0]
    found = mask(repr(issue["input"]), *secrets)
    shown = found if len(found) <= MAX_QUOTE_CHARS else f"{found[:MAX_QUOTE_CHARS]}…"
    where = ".".join(str(part) for part in issue["loc"]) or "the whole"
    return f"{where}: {issue['msg']}; it is {shown}"


def _message(body: object, secrets: Sequence[str]) -> str:
    """What the server says of the failure, in one line."""
    if isinstance(body, dict):
        parts = [str(body.get("message") or "no message")]
        issues = body.get("error")
        if isinstance(issues, list):
            parts += [
                f"{'.'.join(map(str, issue.get('path', [])))}: {issue.get('message')}"
                for issue in issues
                if isinstance(issue, dict)
            ]
        text = "; ".join(parts)
    else:
        text = " ".join(str(body).split()) or "no message"
    # Before it is cut, lest a part of a secret be left.
    text = mask(text, *secrets)
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]}…"
