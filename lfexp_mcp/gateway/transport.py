"""Requests to Langfuse: repeated where that helps, failures raised as our own errors, answers parsed into types."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import Any, Generic, TypeVar

import anyio
import httpx
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from lfexp_mcp.errors import BackendError, CredentialsError, RateLimitError, RejectedError, UnreachableError, UsageError
from lfexp_mcp.gateway.responses import StatusError, UndocumentedAnswerError, read_content
from lfexp_mcp.groups import for_each
from lfexp_mcp.masking import mask
from lfexp_mcp.model import Backend
from lfexp_mcp.retries import FailureKind, Retries, RetryPolicy, read_retry_after

T = TypeVar("T")
Row = TypeVar("Row")
Query = Mapping[str, str | int | None]

PAGE_SIZE = 100
"""Langfuse's own limit for pages with numbers."""
MAX_CONCURRENT_PAGES = 4
MAX_READINGS = 3
"""Of a listing of which something is deleted each time that it is read."""
MAX_MESSAGE_CHARS = 500
MAX_QUOTED_CHARS = 120
MIN_RETRY_AFTER_S = 0.1
"""Keeps a server that answers 429 and asks for no wait from being asked in a tight loop."""
DEFAULT_RETRY_AFTER_S = 1.0
"""Where a 429 does not say how long to wait."""
POLICY = RetryPolicy(
    # Few, since a person may be waiting on a mistyped URL.
    connect_attempts=3,
    # A server that answers 429 is there, and is waited for as long as it asks.
    throttled_patience_s=300,
)
ONCE = RetryPolicy(attempts=1, throttled_patience_s=0)
"""For callers that keep what they send and repeat it themselves."""


class _CursorMeta(BaseModel):
    cursor: str | None = None


class CursorPage(BaseModel, Generic[Row]):
    """One page of a listing; the cursor leads to the next."""

    data: list[Row]
    meta: _CursorMeta = Field(default_factory=_CursorMeta)


class _NumberedMeta(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    total_items: int
    total_pages: int


class NumberedPage(BaseModel, Generic[Row]):
    """One page of a listing whose pages have numbers."""

    data: list[Row]
    meta: _NumberedMeta


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BackendError
    kind: FailureKind | None = None
    """None if repeating the request does not help."""
    retry_after_s: float | None = None


class Transport:
    """Sends requests to one Langfuse under one retry policy.

    Args:
        http: The client, with the base URL and keys set.
        backend: Where the server is.
        policy: How requests are repeated.
        secrets: What requests carry and no error may quote, though a server or a proxy may echo it.
    """

    def __init__(self, http: httpx.AsyncClient, backend: Backend, policy: RetryPolicy, secrets: Sequence[str]) -> None:
        self.http = http
        self.backend = backend
        self._policy = policy
        self._secrets = secrets

    async def get(self, what: str, path: str, answer_type: type[T], query: Query | None = None) -> T:
        """Read one resource.

        Args:
            what: What the request does, such as `read dataset 'x'`; part of the text of errors.
            path: Below `/api/public`.
            answer_type: What to parse the answer into.
            query: Parameters; those that are None are left out.

        Raises:
            LfexpError: See `call`.
        """
        parameters = without_none(query or {})
        return await self._send(what, answer_type, lambda: self.http.get(f"/api/public{path}", params=parameters))

    async def post(self, what: str, path: str, answer_type: type[T], body: Mapping[str, JsonValue] | bytes) -> T:
        """Create or change one resource, and return it; fails as `call` does. A body in bytes is JSON."""
        if isinstance(body, bytes):
            sent: dict[str, Any] = {"content": body, "headers": {"Content-Type": "application/json"}}
        else:
            sent = {"json": body}
        return await self._send(what, answer_type, lambda: self.http.post(f"/api/public{path}", **sent))

    async def _send(self, what: str, answer_type: type[T], send: Callable[[], Awaitable[httpx.Response]]) -> T:
        async def request() -> T:
            parsed: T = _adapter(answer_type).validate_json(read_content(await send()))  # type: ignore[arg-type]
            return parsed

        return await self.call(what, request)

    async def all_pages(self, what: str, path: str, row: type[Row], query: Query | None = None) -> list[Row]:
        """Read a listing whose pages have numbers; fails as `call` does."""
        return (await self.slice(what, path, row, query))[0]

    async def take_pages(
        self,
        what: str,
        path: str,
        row: type[Row],
        take: Callable[[int, list[Row]], None],
        query: Query | None = None,
        *,
        start: int = 1,
        end: int | None = None,
    ) -> int:
        """Give each page's number and rows to a function, in any order, and hold none of them.

        What is added to a listing meanwhile moves others to later pages, which are read too, and where rows may come
        again. What is deleted moves others to pages that have been read: these are then read and given once more.

        Args:
            start: The first page.
            end: The last page, by default the listing's.

        Returns:
            How many rows the listing has.
        """
        told: list[_NumberedMeta] = []

        async def read(number: int) -> None:
            page = await self._page(what, path, row, query, number)
            told.append(page.meta)
            take(number, page.data)

        taken = start
        for _ in range(MAX_READINGS):
            told.clear()
            await read(start)
            done = start
            while done < (last := min(end or sys.maxsize, max(meta.total_pages for meta in told))):
                await for_each(range(done + 1, last + 1), read, MAX_CONCURRENT_PAGES)
                done = last
            for number in range(done + 1, taken + 1):
                take(number, [])
            taken = done
            if all(after.total_items >= before.total_items for before, after in pairwise(told)):
                break
        return told[-1].total_items

    async def slice(
        self,
        what: str,
        path: str,
        row: type[Row],
        query: Query | None = None,
        *,
        start: int = 0,
        count: int | None = None,
    ) -> tuple[list[Row], int]:
        """Read `count` rows of such a listing, by default all, from position `start` on; also return its length."""
        before, skipped = divmod(start, PAGE_SIZE)
        end = None if count is None else -(-(start + count) // PAGE_SIZE)
        found: dict[int, list[Row]] = {}
        total = await self.take_pages(what, path, row, found.__setitem__, query, start=before + 1, end=end)
        rows = [each for number in sorted(found) for each in found[number]]
        return rows[skipped : None if count is None else skipped + count], total

    async def _page(self, what: str, path: str, row: type[Row], query: Query | None, number: int) -> NumberedPage[Row]:
        numbered = {**(query or {}), "page": number, "limit": PAGE_SIZE}
        return await self.get(what, path, NumberedPage[row], numbered)  # type: ignore[valid-type]

    async def follow(
        self, what: str, path: str, row: type[Row], query: Query, max_rows: int | None = None
    ) -> list[Row]:
        """Read a listing whose pages have cursors, until its end or until `max_rows` are read; fails as `call` does."""
        rows: list[Row] = []
        async for page in self.cursor_pages(what, path, row, query):
            rows += page
            if max_rows is not None and len(rows) >= max_rows:
                break
        return rows

    async def cursor_pages(self, what: str, path: str, row: type[Row], query: Query) -> AsyncIterator[list[Row]]:
        """Read such a listing page by page, as far as the caller goes; fails as `call` does."""
        cursor: str | None = None
        while True:
            page = await self.get(what, path, CursorPage[row], {**query, "cursor": cursor})  # type: ignore[valid-type]
            yield page.data
            cursor = page.meta.cursor
            if cursor is None:
                return

    async def call(self, what: str, request: Callable[[], Awaitable[T]], policy: RetryPolicy | None = None) -> T:
        """Send a request, and repeat it as the policy says.

        Args:
            what: What the request does, such as `read dataset 'x'`; part of the text of errors.
            request: Sends it once.
            policy: Instead of the transport's own.

        Raises:
            CredentialsError: The keys are refused.
            RateLimitError: Still 429 after the waits.
            UnreachableError: No answer, or only errors of the server.
            RejectedError: The request is refused as wrong; `status` says how.
            BackendError: The answer is not one of a Langfuse server to this request.
            UsageError: The request's address is too long, or a text is no valid Unicode.
        """
        retries = Retries(policy or self._policy)
        while True:
            try:
                return await request()
            except StatusError as answer:
                failure = self._failure_of_status(what, answer)
            except httpx.RequestError as broken:
                failure = self._failure_of_connection(what, broken)
            except UnicodeEncodeError:
                raise UsageError(
                    f"Cannot {what}: a text in it holds a lone surrogate, which is not valid text."
                ) from None
            except httpx.InvalidURL as invalid:
                raise UsageError(f"Cannot {what}: {invalid}. Pass shorter names.") from invalid
            except ValidationError as mismatch:
                failure = self._unexpected(what, _first_mismatch(mismatch, self._secrets))
            except UndocumentedAnswerError as answer:
                failure = self._unexpected(what, mask(str(answer), *self._secrets))
            delay = retries.next_delay(failure.kind, retry_after_s=failure.retry_after_s) if failure.kind else None
            if delay is None:
                raise failure.error
            await anyio.sleep(delay)

    def _failure_of_status(self, what: str, answer: StatusError) -> _Failure:
        status, url = answer.status, self.backend.url
        message = _message(answer.body, self._secrets)
        if status < 400:
            return self._unexpected(what, f"status {status}: {message}")
        if status in (401, 403):
            return _Failure(
                CredentialsError(
                    f"Langfuse at {url} refused the keys while trying to {what}: {message} "
                    "Check LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and that LANGFUSE_HOST is their server."
                )
            )
        if status == 429:
            asked = read_retry_after(answer.headers.get("retry-after"))
            wait = DEFAULT_RETRY_AFTER_S if asked is None else max(asked, MIN_RETRY_AFTER_S)
            error = RateLimitError(
                f"Langfuse at {url} still answers 429 (too many requests) while trying to {what}. "
                "Wait a minute and try again.",
                wait,
            )
            return _Failure(error, "throttled", wait)
        if status >= 500 or status == 408:
            return _Failure(
                UnreachableError(
                    f"Langfuse at {url} answered {status} while trying to {what}: {message} "
                    "Try again; if it persists, check the server."
                ),
                "failed",
            )
        return _Failure(RejectedError(f"Langfuse refused to {what} ({status}): {message}", status))

    def _unexpected(self, what: str, answer: str) -> _Failure:
        error = BackendError(
            f"Unexpected answer from {self.backend.url} while trying to {what} ({answer}). Check that LANGFUSE_HOST "
            "is the address of a Langfuse server and that no login page of a proxy answers in its place; otherwise "
            "this version of lfexp-mcp does not support the server's version."
        )
        return _Failure(error)

    def _failure_of_connection(self, what: str, broken: httpx.RequestError) -> _Failure:
        connecting = isinstance(broken, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol)
        reason = mask(str(broken), *self._secrets) or type(broken).__name__
        return _Failure(
            UnreachableError(
                f"Langfuse at {self.backend.url} cannot be reached ({reason}) while trying to {what}. "
                "Check LANGFUSE_HOST and that the server is up; `lfexp-mcp doctor` tells more."
            ),
            "unreachable" if connecting else "failed",
        )


@cache
def _adapter(answer_type: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(answer_type)


def _first_mismatch(mismatch: ValidationError, secrets: Sequence[str]) -> str:
    """Describe the first value of an answer that has the wrong type."""
    issue = mismatch.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in issue["loc"]) or "the answer"
    return f"{where}: {issue['msg']}; it is {_cut(mask(repr(issue['input']), *secrets), MAX_QUOTED_CHARS)}"


def _message(body: object, secrets: Sequence[str]) -> str:
    """What the server says about a failure, in one line."""
    if isinstance(body, dict):
        parts = [str(body.get("message") or "no message")]
        issues = body.get("error")
        if isinstance(issues, list):
            parts += [
                f"{'.'.join(map(str, path))}: {issue.get('message')}"
                for issue in issues
                if isinstance(issue, dict) and isinstance(path := issue.get("path", []), list)
            ]
        text = "; ".join(parts)
    else:
        text = " ".join(str(body).split()) or "no message"
    # Masked before it is cut, so that no part of a secret is left.
    return _cut(mask(text, *secrets), MAX_MESSAGE_CHARS)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def without_none(fields: Mapping[str, T]) -> dict[str, T]:
    """Leave out what is None."""
    return {name: value for name, value in fields.items() if value is not None}


def format_time(moment: datetime | None) -> str | None:
    """Write a time as Langfuse's queries take it, in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds") if moment else None
