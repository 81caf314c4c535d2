"""Opening the gateway: to the Langfuse that the settings name, or to the embedded store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import httpx
from langfuse import __version__ as sdk_version
from langfuse.api import AsyncLangfuseAPI
from pydantic import SecretStr

from lfexp_mcp.gateway.client import Gateway
from lfexp_mcp.gateway.embedded import EmbeddedStoreTransport
from lfexp_mcp.gateway.location import Location, parse_location
from lfexp_mcp.gateway.transport import POLICY
from lfexp_mcp.retries import RetryPolicy
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import ensure_store

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=32)
EMBEDDED_NOTE = (
    "No Langfuse keys are set, so results live in the embedded store on this machine. Set LANGFUSE_PUBLIC_KEY, "
    "LANGFUSE_SECRET_KEY and LANGFUSE_HOST to work on a Langfuse project."
)


@asynccontextmanager
async def connect(settings: Settings, policy: RetryPolicy = POLICY) -> AsyncIterator[Gateway]:
    """Open a gateway, starting the embedded store where no keys are set and none runs.

    Args:
        settings: Where Langfuse is, and the keys.
        policy: How long requests are repeated; the default fits reading for an agent.

    Raises:
        CredentialsError: Only one of the two keys is set, or the address of Langfuse is none.
        StoreError: The embedded store cannot be started.
    """
    transport: httpx.AsyncBaseTransport | None = None
    if settings.embedded:
        store = await anyio.to_thread.run_sync(ensure_store, settings.store_folder)
        location = Location("embedded", store.base_url, EMBEDDED_NOTE)
        public_key, secret_key = store.public_key, SecretStr(store.secret_key)
        transport = EmbeddedStoreTransport(settings.store_folder, store.secret_key, LIMITS, location)
    else:
        location = parse_location(settings.langfuse_url)
        public_key = settings.langfuse_public_key or ""
        secret_key = settings.langfuse_secret_key or SecretStr("")
    headers = {
        "x-langfuse-sdk-name": "python",
        "x-langfuse-sdk-version": sdk_version,
        "x-langfuse-public-key": public_key,
    }
    async with httpx.AsyncClient(
        base_url=location.url,
        auth=httpx.BasicAuth(public_key, secret_key.get_secret_value()),
        headers=headers,
        timeout=TIMEOUT,
        # Loading the certificates takes a while, and plain HTTP needs none.
        verify=not location.url.startswith("http://"),
        limits=LIMITS,
        transport=transport,
    ) as http:
        api = AsyncLangfuseAPI(
            base_url=location.url,
            username=public_key,
            password=secret_key.get_secret_value(),
            x_langfuse_public_key=public_key,
            httpx_client=http,
        )
        yield Gateway(
            location=location, public_key=public_key, secret_key=secret_key, api=api, http=http, policy=policy
        )
