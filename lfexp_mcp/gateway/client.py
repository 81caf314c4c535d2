"""The gateway: everything that is read from Langfuse or written to it."""

from collections.abc import Sequence

import httpx
from langfuse.api import AsyncLangfuseAPI
from pydantic import SecretStr

from lfexp_mcp.gateway.definitions import Definitions
from lfexp_mcp.gateway.location import Location
from lfexp_mcp.gateway.records import ScoreRejection, ScoreWrite
from lfexp_mcp.gateway.results import Results
from lfexp_mcp.gateway.transport import RetryPolicy
from lfexp_mcp.gateway.writing import Writer


class Gateway(Definitions, Results):
    """Typed reads and acknowledged writes; every method raises the errors of `Transport.call`."""

    def __init__(
        self,
        *,
        location: Location,
        public_key: str,
        secret_key: SecretStr,
        api: AsyncLangfuseAPI,
        http: httpx.AsyncClient,
        policy: RetryPolicy | None = None,
    ) -> None:
        super().__init__(
            location=location, public_key=public_key, secret_key=secret_key, api=api, http=http, policy=policy
        )
        self._writer = Writer(http, self._transport)

    async def write_scores(self, scores: Sequence[ScoreWrite]) -> list[ScoreRejection]:
        """Store scores; see `Writer.write_scores`."""
        return await self._writer.write_scores(scores)

    async def send_spans(self, otlp: bytes) -> None:
        """Ingest one OTLP request; see `Writer.send_spans`."""
        await self._writer.send_spans(otlp)
