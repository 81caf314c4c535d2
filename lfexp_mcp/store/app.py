"""The ASGI application of the embedded store."""

import base64
import binascii
import hmac
from functools import partial
from http import HTTPStatus

from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lfexp_mcp.loopback import LOOPBACK
from lfexp_mcp.store.address import (
    API,
    CHALLENGE_HEADER,
    HEALTH,
    ITEM_LISTS,
    MEDIA_CONTENT,
    PROOF_HEADER,
    prove,
    sign_media,
)
from lfexp_mcp.store.call import Handler, endpoint, json_answer
from lfexp_mcp.store.database import Database
from lfexp_mcp.store.http_errors import UnauthorizedError
from lfexp_mcp.store.keys import StoreKeys
from lfexp_mcp.store.routes import (
    annotation_queues,
    comments,
    dataset_items,
    datasets,
    experiments,
    media,
    metrics,
    models,
    observations,
    prompts,
    score_configs,
    scores,
    system,
)

LOOPBACK_HOSTS = (LOOPBACK, "localhost")
"""Accepted values of `Host`: they keep out pages of other sites whose name resolves to this machine (DNS rebinding)."""


class _Authentication:
    """Lets requests with the store's keys through; health needs none, and contents of media a signature."""

    def __init__(self, app: ASGIApp, keys: StoreKeys) -> None:
        self._app = app
        self._secret_key = keys.secret_key
        self._expected = f"{keys.public_key}:{keys.secret_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN or self._is_signed(scope) or self._knows(scope):
            await self._app(scope, receive, send)
            return
        error = UnauthorizedError()
        await json_answer(error.body, error.status)(scope, receive, send)

    def _is_signed(self, scope: Scope) -> bool:
        folder, _, media_id = scope["path"].rpartition("/")
        if folder != f"{API}{MEDIA_CONTENT}":
            return False
        given = QueryParams(scope["query_string"]).get("token", "")
        return hmac.compare_digest(given.encode(), sign_media(self._secret_key, media_id).encode())

    def _knows(self, scope: Scope) -> bool:
        kind, _, credentials = Headers(scope=scope).get("authorization", "").partition(" ")
        try:
            given = base64.b64decode(credentials, validate=True)
        except (binascii.Error, ValueError):
            return False
        return kind.lower() == "basic" and hmac.compare_digest(given, self._expected)


class _Proof:
    """Answers a challenge in a header, so that a client knows that this is the store before it sends its keys."""

    def __init__(self, app: ASGIApp, keys: StoreKeys) -> None:
        self._app = app
        self._secret_key = keys.secret_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_proof(message: Message) -> None:
            if message["type"] == "http.response.start" and proof is not None:
                message["headers"] = [*message.get("headers", []), (PROOF_HEADER.encode(), proof.encode())]
            await send(message)

        challenge = Headers(scope=scope).get(CHALLENGE_HEADER) if scope["type"] == "http" else None
        proof = prove(self._secret_key, challenge, scope["server"][1]) if challenge is not None else None
        await self._app(scope, receive, send if proof is None else send_with_proof)


_OPEN = frozenset({HEALTH, f"{API}/ready"})

_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/health", system.health),
    ("GET", "/ready", system.health),
    ("GET", "/projects", system.projects),
    ("GET", "/v2/datasets", datasets.list_datasets),
    ("POST", "/v2/datasets", datasets.create_dataset),
    ("GET", "/v2/datasets/{name:path}", datasets.get_dataset),
    ("GET", "/dataset-items", dataset_items.list_items),
    ("POST", "/dataset-items", dataset_items.create_item),
    ("POST", ITEM_LISTS, dataset_items.create_items),
    ("GET", "/dataset-items/{id:path}", dataset_items.get_item),
    ("DELETE", "/dataset-items/{id:path}", dataset_items.delete_item),
    ("GET", "/v2/prompts", prompts.list_prompts),
    ("POST", "/v2/prompts", prompts.create_prompt),
    ("PATCH", "/v2/prompts/{name:path}/versions/{version}", prompts.update_labels),
    ("GET", "/v2/prompts/{name:path}", prompts.get_prompt),
    ("DELETE", "/v2/prompts/{name:path}", prompts.delete_prompt),
    ("POST", "/otel/v1/traces", observations.export_traces),
    ("POST", "/scores", scores.create_scores),
    ("DELETE", "/scores/{id:path}", scores.delete_score),
    ("GET", "/v3/scores", scores.list_scores),
    ("GET", "/experiments", experiments.list_experiments),
    ("GET", "/experiment-items", experiments.list_experiment_items),
    ("GET", "/v2/observations", observations.list_observations),
    ("GET", "/score-configs", score_configs.list_score_configs),
    ("POST", "/score-configs", score_configs.create_score_config),
    ("GET", "/score-configs/{id}", score_configs.get_score_config),
    ("PATCH", "/score-configs/{id}", score_configs.update_score_config),
    ("GET", "/comments", comments.list_comments),
    ("POST", "/comments", comments.create_comment),
    ("GET", "/comments/{id}", comments.get_comment),
    ("GET", "/annotation-queues", annotation_queues.list_queues),
    ("POST", "/annotation-queues", annotation_queues.create_queue),
    ("GET", "/annotation-queues/{queue}", annotation_queues.get_queue),
    ("GET", "/annotation-queues/{queue}/items", annotation_queues.list_queue_items),
    ("POST", "/annotation-queues/{queue}/items", annotation_queues.create_queue_item),
    ("GET", "/annotation-queues/{queue}/items/{item}", annotation_queues.get_queue_item),
    ("PATCH", "/annotation-queues/{queue}/items/{item}", annotation_queues.update_queue_item),
    ("DELETE", "/annotation-queues/{queue}/items/{item}", annotation_queues.delete_queue_item),
    ("POST", "/media", media.create_media),
    ("GET", "/media/{id}", media.get_media),
    ("PATCH", "/media/{id}", media.update_media),
    ("PUT", f"{MEDIA_CONTENT}/{{id}}", media.upload_content),
    ("GET", f"{MEDIA_CONTENT}/{{id}}", media.download_content),
    ("GET", "/models", models.list_models),
    ("POST", "/models", models.create_model),
    ("GET", "/models/{id}", models.get_model),
    ("DELETE", "/models/{id}", models.delete_model),
    ("GET", "/v2/metrics", metrics.query_metrics),
    ("GET", "/llm-connections", system.empty_page),
    ("GET", "/unstable/evaluators", system.empty_page),
)

_LEGACY = (
    "/traces",
    "/traces/{id:path}",
    "/observations",
    "/observations/{id:path}",
    "/sessions",
    "/sessions/{id:path}",
    "/scores",
    "/v2/scores",
    "/v2/scores/{id:path}",
    "/dataset-run-items",
    "/datasets/{name:path}/runs",
    "/datasets/{name:path}/runs/{run:path}",
    "/metrics",
)


async def _unrouted(_request: Request, error: Exception) -> Response:
    """Answer a request that no route takes: a wrong path or method."""
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    body: JsonValue = {"message": HTTPStatus(status).phrase, "error": "NotFound" if status == 404 else "Refused"}
    return json_answer(body, status, headers)


def build_app(database: Database, keys: StoreKeys) -> ASGIApp:
    """Build the application.

    Args:
        database: The store file, open; the caller closes it.
        keys: The only keys that are accepted.
    """
    routes = [Route(f"{API}{path}", endpoint(handler), methods=[method]) for method, path, handler in _ROUTES]
    routes += [Route(f"{API}{path}", endpoint(system.legacy)) for path in _LEGACY]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK_HOSTS)),
        Middleware(_Proof, keys=keys),
        Middleware(_Authentication, keys=keys),
    ]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: _unrouted})
    app.state.database = database
    app.state.sign_media = partial(sign_media, keys.secret_key)
    return app
