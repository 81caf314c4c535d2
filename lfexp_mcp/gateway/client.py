"""The gateway: one connection to one Langfuse project."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import anyio.to_thread
import httpx
from pydantic import BaseModel, Field, JsonValue, SecretStr

from lfexp_mcp.errors import CredentialsError
from lfexp_mcp.gateway.annotation_queues import AnnotationQueues
from lfexp_mcp.gateway.dataset_items import DatasetItems
from lfexp_mcp.gateway.datasets import Datasets
from lfexp_mcp.gateway.embedded import EmbeddedStoreTransport
from lfexp_mcp.gateway.experiments import Experiments
from lfexp_mcp.gateway.known_holdouts import KnownHoldouts
from lfexp_mcp.gateway.observations import Observations
from lfexp_mcp.gateway.prompts import Prompts
from lfexp_mcp.gateway.records import Comment, ModelPrice, ScoreConfig
from lfexp_mcp.gateway.scores import Scores
from lfexp_mcp.gateway.transport import POLICY, Transport
from lfexp_mcp.model import Backend, Scale
from lfexp_mcp.retries import RetryPolicy
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import announced_store, ensure_store

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=32)
EMBEDDED_NOTE = (
    "No Langfuse keys are set, so results live in the embedded store on this machine. Set LANGFUSE_PUBLIC_KEY, "
    "LANGFUSE_SECRET_KEY and LANGFUSE_HOST to work on a Langfuse project."
)


class _Health(BaseModel):
    version: str


class _Project(BaseModel):
    id: str


class _Projects(BaseModel):
    data: list[_Project] = Field(min_length=1)


class _Client(httpx.AsyncClient):
    """A client whose requests and answers are freed with their last use.

    httpx binds an answer to its stream, a cycle by which megabytes of bodies stay until the next full collection.
    """

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401 - as httpx has them
        """Send a request, and read the whole answer."""
        response = await super().send(request, **options)
        response.stream = httpx.ByteStream(b"")
        return response


class Gateway:
    """Typed reads and acknowledged writes; every method raises the errors of `Transport.call`.

    Example:
        async with connect(load_settings()) as gateway:
            dataset = await gateway.datasets.get("support-questions")
            run = await gateway.experiments.find(dataset.id, "baseline")

    Args:
        http: The client, with the base URL and keys set.
        known_holdouts: Those that this machine has seen.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        backend: Backend,
        public_key: str,
        secret_key: SecretStr,
        known_holdouts: KnownHoldouts,
        policy: RetryPolicy = POLICY,
    ) -> None:
        self._backend = backend
        self.public_key = public_key
        self.secret_key = secret_key
        secret = secret_key.get_secret_value()
        basic = base64.b64encode(f"{public_key}:{secret}".encode()).decode()
        self._transport = Transport(http, backend, policy, secrets=(basic, secret))
        self._project_id: str | None = None
        self.datasets = Datasets(self._transport, known_holdouts)
        self.dataset_items = DatasetItems(self._transport)
        self.prompts = Prompts(self._transport)
        self.observations = Observations(self._transport)
        self.scores = Scores(self._transport)
        self.queues = AnnotationQueues(self._transport)
        self.experiments = Experiments(self._transport, self.datasets, self.scores, self.project_id)

    @property
    def backend(self) -> Backend:
        """Where the results live."""
        return replace(self._backend)

    async def health(self) -> str:
        """Return the server's version."""
        return (await self._transport.get("ask for the health", "/health", _Health)).version

    async def project_id(self) -> str:
        """Return the id of the project that the keys belong to; this also checks the keys."""
        if self._project_id is None:
            projects = await self._transport.get("read the project", "/projects", _Projects)
            self._project_id = projects.data[0].id
        return self._project_id

    async def score_configs(self) -> list[ScoreConfig]:
        """Return the score configs that are not archived, newest first."""
        configs = await self._transport.all_pages("list the score configs", "/score-configs", ScoreConfig)
        return [config for config in configs if not config.is_archived]

    async def create_score_config(self, name: str, scale: Scale, description: str) -> ScoreConfig:
        """Create a score config for values on a scale; its categories need values.

        Args:
            name: Of the scores. Langfuse takes at most 35 letters, digits, spaces and `_.()-`.
            scale: Of their raw values.
            description: For those who annotate.
        """
        body: dict[str, JsonValue] = {"name": name, "dataType": scale.kind, "description": description}
        if scale.kind == "NUMERIC":
            body |= {"minValue": scale.low, "maxValue": scale.high}
        elif scale.kind == "CATEGORICAL":
            body["categories"] = [{"label": each.label, "value": each.value} for each in scale.categories]
        return await self._transport.post(f"create score config {name!r}", "/score-configs", ScoreConfig, body)

    async def score_scales(self) -> dict[str, Scale]:
        """Return the scales that score configs state, by name of the score; the newest config of a name counts."""
        scales = {config.name: config.scale for config in reversed(await self.score_configs())}
        return {name: scale for name, scale in scales.items() if scale is not None}

    async def model_prices(self) -> list[ModelPrice]:
        """Return Langfuse's model table, the project's own rows first: they take precedence over Langfuse's."""
        rows = await self._transport.all_pages("read the model prices", "/models", ModelPrice)
        return sorted(rows, key=lambda row: row.is_langfuse_managed)

    async def comments(self, author: str | None = None) -> list[Comment]:
        """Return all comments, or those of one author."""
        return await self._transport.all_pages("read comments", "/comments", Comment, {"authorUserId": author})

    async def experiment_url(self, experiment_id: str, project_id: str | None = None) -> str | None:
        """Return the page of a run; None on the embedded store, which has no pages.

        Args:
            project_id: The run's project, if it is known; otherwise Langfuse is asked.
        """
        return await self._page(f"experiments/results?baseline={quote(experiment_id, safe='')}", project_id)

    async def queue_url(self, queue_id: str) -> str | None:
        """Return the page of an annotation queue; None on the embedded store."""
        return await self._page(f"annotation-queues/{quote(queue_id, safe='')}/items")

    async def trace_url(self, trace_id: str) -> str | None:
        """Return the page of a trace; None on the embedded store."""
        return await self._page(f"traces/{quote(trace_id, safe='')}")

    async def _page(self, path: str, project_id: str | None = None) -> str | None:
        if self._backend.kind == "embedded":
            return None
        return f"{self._backend.url}/project/{project_id or await self.project_id()}/{path}"


@asynccontextmanager
async def connect(settings: Settings, policy: RetryPolicy = POLICY) -> AsyncIterator[Gateway]:
    """Open a gateway, starting the embedded store if no keys are set and none runs.

    Args:
        policy: How requests are repeated; the default suits an agent that waits.

    Raises:
        CredentialsError: Only one of the two keys is set, or the URL of Langfuse is invalid.
        StoreError: The embedded store cannot be started.
    """
    transport: httpx.AsyncBaseTransport | None = None
    if settings.embedded:
        folder = settings.store_folder
        # The transport starts one that has ended since.
        store = announced_store(folder)
        if store is None:
            store = await anyio.to_thread.run_sync(ensure_store, folder)
        backend = Backend(kind="embedded", url=store.base_url, notes=(EMBEDDED_NOTE,))
        public_key, secret_key = store.public_key, SecretStr(store.secret_key)
        transport = EmbeddedStoreTransport(folder, store.secret_key, LIMITS, backend)
    else:
        backend = _backend_at(settings.langfuse_url)
        public_key = settings.langfuse_public_key or ""
        secret_key = settings.langfuse_secret_key or SecretStr("")
    async with _Client(
        base_url=backend.url,
        auth=httpx.BasicAuth(public_key, secret_key.get_secret_value()),
        # Langfuse decides by the SDK's version how to ingest, so say which SDK's requests these are like.
        headers={
            "x-langfuse-sdk-name": "python",
            "x-langfuse-sdk-version": version("langfuse"),
            "x-langfuse-public-key": public_key,
        },
        timeout=TIMEOUT,
        # Loading the certificates takes a while, and plain HTTP needs none.
        verify=not backend.url.startswith("http://"),
        limits=LIMITS,
        transport=transport,
    ) as http:
        yield Gateway(http, backend, public_key, secret_key, KnownHoldouts(settings.holdouts_folder), policy)


def _backend_at(url: str) -> Backend:
    """Read the URL of a Langfuse server.

    User and password, query and fragment are left out: requests carry Langfuse's keys instead, and answers show the
    URL.

    Raises:
        CredentialsError: It is invalid.
    """
    host = host_of(url)
    if host is None:
        raise CredentialsError(
            f"LANGFUSE_HOST (or LANGFUSE_BASE_URL) is {url.rpartition('@')[2]!r}, which is not an address. "
            "Set it to one such as https://cloud.langfuse.com or http://localhost:3000."
        )
    is_cloud = host == "langfuse.com" or host.endswith(".langfuse.com")
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return Backend(kind="cloud" if is_cloud else "self-hosted", url=bare.rstrip("/"))


def host_of(url: str) -> str | None:
    """Return the host of an HTTP URL, or None if the URL is invalid."""
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or not host:
            return None
        host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        return None
    return host
