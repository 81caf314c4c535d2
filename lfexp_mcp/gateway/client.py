"""The gateway: everything that is read from Langfuse or written to it."""

from collections.abc import Sequence
from functools import cached_property

from lfexp_mcp.gateway.datasets import Datasets
from lfexp_mcp.gateway.definitions import Definitions
from lfexp_mcp.gateway.records import ScoreRejection, ScoreWrite
from lfexp_mcp.gateway.results import Results
from lfexp_mcp.gateway.writing import Writer


class Gateway(Datasets, Definitions, Results):
    """Typed reads and acknowledged writes; every method raises the errors of `Transport.call`."""

    @cached_property
    def _writer(self) -> Writer:
        return Writer(self._http, self._transport)

    async def write_scores(self, scores: Sequence[ScoreWrite]) -> list[ScoreRejection]:
        """Store scores; see `Writer.write_scores`."""
        return await self._writer.write_scores(scores)

    async def send_spans(self, otlp: bytes) -> None:
        """Ingest one OTLP request; see `Writer.send_spans`."""
        await self._writer.send_spans(otlp)
