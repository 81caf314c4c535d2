"""The models of a run that is recorded or replayed: a server on loopback that the clients in its process take for them.

What reads its address from the environment when it is made is covered, also in child processes. A client with an
address of its own goes past it.
"""

import secrets
from abc import ABC, abstractmethod
from asyncio import Runner
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from itertools import count
from threading import Lock, Thread
from typing import ClassVar
from urllib.parse import quote

import httpx
import uvicorn
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lfexp_mcp.environment import process_environment
from lfexp_mcp.errors import UsageError
from lfexp_mcp.judges.providers.messages import KEY_VARIABLES
from lfexp_mcp.loopback import LOOPBACK, listen_on
from lfexp_mcp.masking import MASK, MIN_SECRET_CHARS, mask
from lfexp_mcp.model import ProviderName, RecordingUse, RunSpec
from lfexp_mcp.runs.recording import RecordedCall, Recording, RecordingHead, RecordingWriter
from lfexp_mcp.settings import REPLAYED_KEY, Settings, replay_settings
from lfexp_mcp.strict_json import strict_loads
from lfexp_mcp.worker.isolation import ControlLoop
from lfexp_mcp.worker.network_guard import NetworkGuard

UPSTREAMS: dict[ProviderName, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
"""Where the providers' SDKs go by themselves."""
ADDRESS_VARIABLES: dict[ProviderName, tuple[str, ...]] = {
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "anthropic": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"),
}
UNRECORDED = 412
"""The status of a call without a recorded reply: no client repeats it, or takes the model for missing."""
KEEP_ALIVE_S = 600
MAX_HOSTS_SHOWN = 3
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_OF_ONE_CONNECTION = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}
NOTHING_RECORDED = (
    "No call to a model was recorded. A client is recorded if it takes its address from OPENAI_BASE_URL or "
    "ANTHROPIC_BASE_URL; one with a base_url of its own, or of another provider, is not."
)


class LoopbackModels(ABC):
    """Answers the calls that a run makes to models.

    Attributes:
        settings: Those by which our own clients reach it.
        variables: What the environment of the user's code is to have; None is unset.
    """

    is_replay: ClassVar[bool]
    nonce_key: bytes
    """Makes the marks around what is judged, the same ones when it is replayed."""

    def __init__(self, settings: Settings) -> None:
        """Start the server, in a thread.

        Raises:
            OSError: No port can be listened on.
        """
        # Other users of the machine can reach the port.
        token = secrets.token_urlsafe(12)
        listener = listen_on(LOOPBACK, 0)
        root = f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}"
        addresses = {name: f"{root}/{name}" for name in UPSTREAMS}
        self.settings = settings.model_copy(update={f"{name}_base_url": each for name, each in addresses.items()})
        self.variables: dict[str, str | None] = {
            variable: addresses[name] for name, variables in ADDRESS_VARIABLES.items() for variable in variables
        }
        known = process_environment({})
        for name in ("NO_PROXY", "no_proxy"):
            self.variables[name] = ",".join(filter(None, (known.get(name), LOOPBACK)))
        app = Starlette(routes=[Route(f"/{token}/{{provider}}/{{path:path}}", self._serve, methods=list(_METHODS))])
        config = uvicorn.Config(
            app, log_config=None, log_level="critical", lifespan="off", timeout_keep_alive=KEEP_ALIVE_S
        )
        server = uvicorn.Server(config)

        def serve() -> None:
            with Runner(loop_factory=ControlLoop) as runner:
                runner.run(server.serve(sockets=[listener]))

        Thread(target=serve, name="lfexp-models", daemon=True).start()

    async def _serve(self, request: Request) -> Response:
        provider = next((name for name in UPSTREAMS if name == request.path_params["provider"]), None)
        if provider is None:
            return Response(status_code=404)
        return await self._answer(provider, request.path_params["path"], request)

    @abstractmethod
    async def _answer(self, provider: ProviderName, path: str, request: Request) -> Response:
        """Answer a call to `path` after the provider's base URL."""

    @abstractmethod
    def finish(self, *, ended: bool) -> tuple[list[str], str | None]:
        """Return what the user should know, and why the run has failed, None if it has not.

        Args:
            ended: Whether all items were run.
        """


class ModelRecorder(LoopbackModels):
    """Passes calls on to the providers, and records them with their replies."""

    is_replay = False

    def __init__(self, settings: Settings, run_spec: RunSpec, use: RecordingUse) -> None:
        """Begin the recording; see `RecordingWriter`."""
        super().__init__(settings)
        keys = {"openai": settings.openai_api_key, "anthropic": settings.anthropic_api_key}
        head = RecordingHead(
            dataset=run_spec.dataset_name,
            run_name=run_spec.run_name,
            providers=tuple(name for name in UPSTREAMS if keys[name] is not None),
            judge_provider=settings.judge_provider,
            judge_model=settings.judge_model,
        )
        self._writer = RecordingWriter(use.file, head)
        self.nonce_key = bytes.fromhex(self._writer.head.nonce_key)
        secrets_known = (*keys.values(), settings.langfuse_secret_key)
        self._secrets = [form for key in secrets_known if key is not None for form in _forms(key.get_secret_value())]
        self._upstreams = {
            "openai": settings.openai_base_url or UPSTREAMS["openai"],
            "anthropic": settings.anthropic_base_url or UPSTREAMS["anthropic"],
        }
        self._places = count(self._writer.calls)
        # The caller has a time-out.
        self._client = httpx.AsyncClient(timeout=None, limits=httpx.Limits())  # noqa: S113
        self._uncovered: Counter[str] = Counter()
        self._open: dict[int, Callable[..., None]] = {}
        """What records a reply, by its place, until it has ended."""
        self._ending = Lock()

    async def _answer(self, provider: ProviderName, path: str, request: Request) -> Response:
        place, content = next(self._places), await request.body()
        headers = [(name, value) for name, value in request.headers.items() if name not in _OF_ONE_CONNECTION]
        url = f"{self._upstreams[provider].rstrip('/')}/{path}"
        asked = self._client.build_request(
            request.method,
            httpx.URL(url, query=request.url.query.encode()) if request.url.query else url,
            headers=[*(each for each in headers if each[0] != "accept-encoding"), ("accept-encoding", "identity")],
            content=content,
        )
        try:
            reply = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            return _failure(provider, 502, f"The provider could not be reached: {type(error).__name__} {error}", {})

        parts: list[bytes] = []
        self._open[place] = partial(self._record, place, provider, request.method, path, content, reply, parts)

        async def passed_on() -> AsyncIterator[bytes]:
            is_whole = False
            try:
                async for part in reply.aiter_bytes():
                    parts.append(part)
                    yield part
                is_whole = True
            finally:
                # It broke off, or the task waited no longer.
                self._end(place, cut=not is_whole)
                await reply.aclose()

        returned = {
            name: value
            for name, value in reply.headers.items()
            if name not in {*_OF_ONE_CONNECTION, "content-encoding"}
        }
        return StreamingResponse(passed_on(), reply.status_code, returned)

    def _end(self, place: int, *, cut: bool) -> None:
        with self._ending:
            record = self._open.pop(place, None)
            if record is not None:
                record(cut=cut)

    def _record(
        self,
        place: int,
        provider: ProviderName,
        method: str,
        path: str,
        content: bytes,
        reply: httpx.Response,
        parts: Sequence[bytes],
        *,
        cut: bool,
    ) -> None:
        try:
            text = self._masked(b"".join(parts).decode())
            call = RecordedCall(
                place=place,
                provider=provider,
                method=method,
                path=path,
                request=_body(self._masked(content.decode()).encode()),
                status=reply.status_code,
                content_type=reply.headers.get("content-type", "application/json"),
                # Errors of providers quote keys.
                reply=text if reply.is_success else mask(text),
                cut=cut,
            )
        except ValueError:
            self._uncovered[f"{method} {path}"] += 1
        else:
            self._writer.add(call)

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def finish(self, *, ended: bool) -> tuple[list[str], str | None]:
        """See `LoopbackModels`."""
        # A reply that the last task stopped reading may not be known to have ended.
        with self._ending:
            for place in sorted(self._open):
                self._open.pop(place)(cut=True)
        warnings = [
            f"{calls} calls of {what} were not recorded, since they are neither JSON nor text: a replay fails there."
            for what, calls in self._uncovered.items()
        ]
        if self._writer.failure is not None:
            warnings.append(f"The recording lacks calls: it could not be written ({self._writer.failure}).")
        elif not self._writer.calls:
            warnings.append(NOTHING_RECORDED)
        self._writer.close(ended=ended)
        return warnings, None


class ModelReplayer(LoopbackModels):
    """Answers calls from a recording, and no others."""

    is_replay = True

    def __init__(self, settings: Settings, use: RecordingUse) -> None:
        """Read the recording.

        Raises:
            UsageError: It is not the one that the run was begun with.
        """
        self._recording = Recording(use.file)
        if self._recording.sha256 != use.sha256:
            raise UsageError(f"The recording {use.file} has changed since the run began. Use another run name.")
        head = self._recording.head
        super().__init__(replay_settings(settings, head.providers, head.judge_provider, head.judge_model))
        for name, variable in KEY_VARIABLES.items():
            # A stranger's code gets no key to call a model past this server.
            self.variables[variable] = REPLAYED_KEY if name in head.providers else None
        self.variables["ANTHROPIC_AUTH_TOKEN"] = None
        self.nonce_key = bytes.fromhex(head.nonce_key)
        self._refused: list[str] = []
        self._network = NetworkGuard(settings.langfuse_url)
        self._network.install()

    async def _answer(self, provider: ProviderName, path: str, request: Request) -> Response:
        try:
            body = _body(await request.body())
        except ValueError:
            found: RecordedCall | str = f"{request.method} {path} is not JSON, which a recording does not hold."
        else:
            found = self._recording.answer(provider, request.method, path, body)
        if isinstance(found, str):
            self._refused.append(found)
            return _failure(provider, UNRECORDED, found, _FINAL)
        headers = {"content-type": found.content_type, **_FINAL}
        return (
            StreamingResponse(_cut(found.reply), found.status, headers)
            if found.cut
            else Response(found.reply, found.status, headers)
        )

    def finish(self, *, ended: bool) -> tuple[list[str], str | None]:
        """See `LoopbackModels`."""
        unused = self._recording.unused if ended else 0
        notes = [f"{unused} recorded replies were not asked for."] if unused else []
        problems = []
        if self._refused:
            calls = "1 call has" if len(self._refused) == 1 else f"{len(self._refused)} calls have"
            problems.append(f"{calls} no recorded reply, so this does not replay the recorded run. {self._refused[0]}")
        if hosts := sorted(set(self._network.refused)):
            listed = ", ".join(map(repr, hosts[:MAX_HOSTS_SHOWN]))
            problems.append(
                f"The code tried to reach {listed}. A replay reaches nothing: only calls to models are recorded."
            )
        return notes, " ".join(problems) or None


_FINAL = {"x-should-retry": "false"}
"""Asks the providers' SDKs to make no call again, since that would get the same reply."""


def open_loopback_models(settings: Settings, run_spec: RunSpec, use: RecordingUse) -> ModelRecorder | ModelReplayer:
    """Open what stands before the models of a run that is recorded or replayed.

    Raises:
        LfexpError: The recording cannot be used.
        OSError: No port can be listened on.
    """
    return ModelReplayer(settings, use) if use.mode == "replay" else ModelRecorder(settings, run_spec, use)


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it may stand in a text: as it is, percent-encoded, and in base64."""
    if len(secret) < MIN_SECRET_CHARS:
        return ()
    return secret, quote(secret, safe=""), b64encode(secret.encode()).decode().rstrip("=")


async def _cut(text: str) -> AsyncIterator[str]:
    """Yield what came of a reply, and then break the connection."""
    if text:
        yield text
    raise ConnectionResetError("the recorded reply ends here")


def _body(content: bytes) -> JsonValue:
    return strict_loads(content.decode()) if content else None


def _failure(provider: ProviderName, status: int, message: str, headers: Mapping[str, str]) -> Response:
    error: Mapping[str, object] = {"message": message, "type": "lfexp_recording", "code": None, "param": None}
    body = {"error": error} if provider == "openai" else {"type": "error", "error": error}
    return JSONResponse(body, status, headers)
