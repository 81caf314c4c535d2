"""What reading Langfuse shares: requests repeated as the transport says, and pages read to their end."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import httpx
from langfuse.api import AsyncLangfuseAPI
from langfuse.api.core.request_options import RequestOptions
from pydantic import BaseModel, SecretStr

from lfexp_mcp.answers.base import Backend
from lfexp_mcp.gateway.location import Location
from lfexp_mcp.gateway.rows import Page
from lfexp_mcp.gateway.transport import Transport, checked
from lfexp_mcp.retries import RetryPolicy

T = TypeVar("T")
Row = TypeVar("Row")
AnyPage = TypeVar("AnyPage", bound=BaseModel)

NO_SDK_RETRIES: RequestOptions = {"max_retries": 0}
"""The transport repeats requests, and honours what the server asks for; the SDK's own repeats would multiply that."""
PAGE = 100


class _Paged(Protocol[Row]):
    @property
    def data(self) -> list[Row]: ...

    @property
    def meta(self) -> Any: ...  # noqa: ANN401


class Reader:
    """A connection to one project; every method raises the errors of `Transport.call`."""

    def __init__(
        self,
        *,
        location: Location,
        public_key: str,
        secret_key: SecretStr,
        api: AsyncLangfuseAPI,
        http: httpx.AsyncClient,
        policy: RetryPolicy,
    ) -> None:
        self._location = location
        self.public_key = public_key
        self.secret_key = secret_key
        self._api = api
        self._http = http
        secret = secret_key.get_secret_value()
        basic = base64.b64encode(f"{public_key}:{secret}".encode()).decode()
        self._transport = Transport(location, policy, secrets=(basic, secret))
        self._project_id: str | None = None

    @property
    def backend(self) -> Backend:
        """Where the results live, as answers say it."""
        return self._location.backend()

    async def health(self) -> str:
        """Return the server's version."""
        answer = await self._call("ask for the health", lambda: self._api.health.health(request_options=NO_SDK_RETRIES))
        return str(answer.version)

    async def project_id(self) -> str:
        """Return the id of the project that the keys belong to; this is also what checks the keys."""
        if self._project_id is None:
            answer = await self._call(
                "read the project", lambda: self._api.projects.get(request_options=NO_SDK_RETRIES)
            )
            self._project_id = str(answer.data[0].id)
        return self._project_id

    async def _call(self, what: str, request: Callable[[], Awaitable[T]]) -> T:
        return await self._transport.call(what, request)

    async def _all_pages(self, what: str, read: Callable[[int], Awaitable[_Paged[Row]]]) -> list[Row]:
        rows: list[Row] = []
        page = 1
        while True:
            answer = await self._call(what, lambda page=page: read(page))  # type: ignore[misc]
            rows += answer.data
            if page >= answer.meta.total_pages:
                return rows
            page += 1

    async def _rows(
        self, what: str, path: str, asked: Mapping[str, str | None], page: type[Page[Row]], most: int | None = None
    ) -> list[Row]:
        """Read the pages of a listing that goes on by cursor."""
        rows: list[Row] = []
        cursor: str | None = None
        while True:
            answer = await self._page(what, path, {**asked, "cursor": cursor}, page)
            rows += answer.data
            cursor = answer.meta.cursor
            if cursor is None or (most is not None and len(rows) >= most):
                return rows

    async def _page(self, what: str, path: str, asked: Mapping[str, str | None], page: type[AnyPage]) -> AnyPage:
        """Read one page past the SDK, which would take longer to parse it than the server to make it."""
        parameters = {name: value for name, value in asked.items() if value is not None}

        async def read() -> AnyPage:
            return page.model_validate_json(checked(await self._http.get(path, params=parameters)).content)

        return await self._call(what, read)
