"""The batch endpoints of a loopback provider: OpenAI's files and batches, and Anthropic's message batches.

Protocols: https://platform.openai.com/docs/api-reference/batch and
https://docs.anthropic.com/en/api/creating-message-batches.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Line = dict[str, JsonValue]
Answer = Callable[[Line], tuple[int, Line]]
"""Answers one request of a batch: HTTP status and body, as the live endpoint does."""
Step = Literal["upload", "uploaded", "create", "created", "list", "poll", "results", "cancel"]
"""What a client asked for; `uploaded` and `created` are before the answer goes out."""
CUSTOM_ID = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")


@dataclass
class Batch:
    """A batch as the provider knows it."""

    id: str
    requests: list[Line]
    """With `custom_id` and `body`."""
    created: float = field(default_factory=time.time)
    metadata: Line = field(default_factory=dict)
    input_file_id: str = ""
    polls: int = 0
    ended: Literal["completed", "expired", "cancelled", "failed"] | None = None
    results: list[tuple[str, int | str, Line]] = field(default_factory=list)
    """Of each request: its id, the HTTP status or why there is none, the body."""


class Batches:
    """What a provider does with batches, and what it was asked for.

    Attributes:
        polls: How often a batch is looked at before it has ended.
        held: Whether batches stay in progress.
        ends: How a batch ends that nobody cancels.
        answered: How many requests of a batch are answered before it expires or is cancelled; None for all.
        refuses: HTTP statuses of the next creations, which create nothing.
        loses: HTTP statuses of the next creations, which create a batch nevertheless.
        exists: Whether there are batch endpoints.
        render: Writes the results; tests replace it to damage them.
        on_step: Called with each step, before it is carried out or answered.
        steps: All steps so far.
        batches: By id, in the order of their creation.
        files: Content of the uploaded files, by id.
    """

    def __init__(self, kind: Literal["openai", "anthropic"], answer: Answer) -> None:
        self.polls = 1
        self.held = False
        self.ends: Literal["completed", "expired", "failed"] = "completed"
        self.answered: int | None = None
        self.refuses: list[int] = []
        self.loses: list[int] = []
        self.exists = True
        self.render: Callable[[list[Line]], bytes] = lambda lines: b"".join(
            json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in reversed(lines)
        )
        self.on_step: Callable[[Step], None] = lambda _step: None
        self.steps: list[Step] = []
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self._names: dict[str, str] = {}
        self._outputs: dict[str, list[Line]] = {}
        self._kind = kind
        self._answer = answer

    @property
    def requests(self) -> list[Line]:
        """All requests of all batches."""
        return [request for batch in self.batches.values() for request in batch.requests]

    @property
    def routes(self) -> list[Route]:
        """The endpoints."""
        if self._kind == "openai":
            return [
                Route("/v1/files", self._upload, methods=["POST"]),
                Route("/v1/files", self._files, methods=["GET"]),
                Route("/v1/files/{id}/content", self._content, methods=["GET"]),
                Route("/v1/batches", self._create_openai, methods=["POST"]),
                Route("/v1/batches", self._list, methods=["GET"]),
                Route("/v1/batches/{id}", self._retrieve, methods=["GET"]),
                Route("/v1/batches/{id}/cancel", self._cancel, methods=["POST"]),
            ]
        return [
            Route("/v1/messages/batches", self._create_anthropic, methods=["POST"]),
            Route("/v1/messages/batches", self._list, methods=["GET"]),
            Route("/v1/messages/batches/{id}", self._retrieve, methods=["GET"]),
            Route("/v1/messages/batches/{id}/results", self._results, methods=["GET"]),
            Route("/v1/messages/batches/{id}/cancel", self._cancel, methods=["POST"]),
        ]

    def count(self, step: Step) -> int:
        """How often a step was made."""
        return self.steps.count(step)

    def _step(self, step: Step) -> None:
        self.steps.append(step)
        self.on_step(step)

    def _error(self, status: int, message: str) -> Response:
        if self._kind == "openai":
            return JSONResponse({"error": {"message": message, "type": "error", "param": None, "code": None}}, status)
        return JSONResponse({"type": "error", "error": {"type": "api_error", "message": message}}, status)

    async def _upload(self, request: Request) -> Response:
        self._step("upload")
        if not self.exists:
            return self._error(404, "Not Found")
        async with request.form(max_part_size=1 << 30) as form:
            upload = form["file"]
            assert not isinstance(upload, str)
            assert form["purpose"] == "batch"
            identity = f"file-{len(self.files)}"
            self.files[identity] = await upload.read()
            self._names[identity] = str(upload.filename)
        self._step("uploaded")
        return JSONResponse(self._file(identity))

    def _file(self, identity: str) -> Line:
        return {
            "id": identity,
            "object": "file",
            "bytes": len(self.files[identity]),
            "created_at": 1,
            "filename": self._names[identity],
            "purpose": "batch",
            "status": "processed",
        }

    async def _files(self, _request: Request) -> Response:
        listed: list[JsonValue] = [dict(self._file(identity)) for identity in self._names]
        return JSONResponse({"object": "list", "data": listed, "has_more": False})

    async def _content(self, request: Request) -> Response:
        self._step("results")
        lines = self._outputs.get(request.path_params["id"])
        return self._error(404, "No such file.") if lines is None else Response(self.render(lines))

    async def _create_openai(self, request: Request) -> Response:
        body = json.loads(await request.body())
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        content = self.files[body["input_file_id"]].decode()
        requests = [json.loads(line) for line in content.split("\n") if line]
        for each in requests:
            assert (each["method"], each["url"]) == ("POST", "/v1/chat/completions")
        return self._create(requests, body.get("metadata") or {}, body["input_file_id"])

    async def _create_anthropic(self, request: Request) -> Response:
        listed = json.loads(await request.body())["requests"]
        return self._create([{"custom_id": each["custom_id"], "body": each["params"]} for each in listed], {}, "")

    def _create(self, requests: list[Line], metadata: Line, input_file_id: str) -> Response:
        self._step("create")
        if not self.exists:
            return self._error(404, "Not Found")
        if self.refuses:
            return self._error(self.refuses.pop(0), "Not now.")
        identities = [str(each["custom_id"]) for each in requests]
        assert requests
        assert len(set(identities)) == len(identities)
        assert all(map(CUSTOM_ID.match, identities))
        batch = Batch(f"batch_{len(self.batches)}", requests, metadata=metadata, input_file_id=input_file_id)
        self.batches[batch.id] = batch
        self._step("created")
        if self.loses:
            return self._error(self.loses.pop(0), "Something went wrong.")
        return JSONResponse(self._describe(batch))

    async def _list(self, request: Request) -> Response:
        self._step("list")
        if not self.exists:
            return self._error(404, "Not Found")
        newest = list(reversed(self.batches.values()))
        cursor = request.query_params.get("after" if self._kind == "openai" else "after_id")
        ids = [batch.id for batch in newest]
        start = ids.index(cursor) + 1 if cursor else 0
        end = start + int(request.query_params.get("limit", 20))
        listed: list[JsonValue] = [dict(self._describe(batch)) for batch in newest[start:end]]
        return JSONResponse(
            {
                "object": "list",
                "data": listed,
                "has_more": end < len(newest),
                "first_id": ids[start] if listed else None,
                "last_id": ids[min(end, len(ids)) - 1] if listed else None,
            }
        )

    async def _retrieve(self, request: Request) -> Response:
        self._step("poll")
        batch = self.batches.get(request.path_params["id"])
        if batch is None:
            return self._error(404, "No such batch.")
        batch.polls += 1
        if batch.ended is None and not self.held and batch.polls > self.polls:
            self._end(batch, self.ends)
        return JSONResponse(self._describe(batch))

    async def _cancel(self, request: Request) -> Response:
        self._step("cancel")
        batch = self.batches[request.path_params["id"]]
        if batch.ended is None:
            self._end(batch, "cancelled")
        return JSONResponse(self._describe(batch))

    def _end(self, batch: Batch, ended: Literal["completed", "expired", "cancelled", "failed"]) -> None:
        batch.ended = ended
        if ended == "failed":
            return
        answered = len(batch.requests) if self.answered is None else self.answered
        for index, request in enumerate(batch.requests):
            identity, body = str(request["custom_id"]), request["body"]
            assert isinstance(body, dict)
            batch.results.append((identity, *self._answer(body)) if index < answered else (identity, ended, {}))
        if self._kind == "openai":
            good = [_openai_result(*result) for result in batch.results if result[1] == 200]
            bad = [_openai_result(*result) for result in batch.results if result[1] != 200]
            for name, lines in (("output", good), ("errors", bad)):
                if lines:
                    self._outputs[f"{batch.id}-{name}"] = lines

    async def _results(self, request: Request) -> Response:
        self._step("results")
        batch = self.batches[request.path_params["id"]]
        assert batch.ended is not None
        return Response(self.render([_anthropic_result(*result) for result in batch.results]))

    def _describe(self, batch: Batch) -> Line:
        return self._describe_openai(batch) if self._kind == "openai" else self._describe_anthropic(batch)

    def _describe_openai(self, batch: Batch) -> Line:
        succeeded = sum(1 for _, status, _ in batch.results if status == 200)
        errors: Line = {"object": "list", "data": [{"code": "invalid", "line": 17, "message": "Line 17 is invalid."}]}
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "input_file_id": batch.input_file_id,
            "created_at": int(batch.created),
            "metadata": batch.metadata,
            "status": batch.ended or ("in_progress" if batch.polls else "validating"),
            "errors": errors if batch.ended == "failed" else None,
            "request_counts": {
                "total": len(batch.requests) if batch.polls else 0,
                "completed": succeeded,
                "failed": len(batch.results) - succeeded,
            },
            "output_file_id": f"{batch.id}-output" if f"{batch.id}-output" in self._outputs else None,
            "error_file_id": f"{batch.id}-errors" if f"{batch.id}-errors" in self._outputs else None,
        }

    def _describe_anthropic(self, batch: Batch) -> Line:
        kinds = [_kind(status) for _, status, _ in batch.results]
        counts: Line = {kind: kinds.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")}
        counts["processing"] = 0 if batch.ended else len(batch.requests)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(batch.created))
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.ended else "in_progress",
            "request_counts": counts,
            "created_at": created,
            "expires_at": created,
            "results_url": f"http://elsewhere.invalid/{batch.id}" if batch.ended else None,
        }


def _openai_result(identity: str, status: int | str, body: Line) -> Line:
    if isinstance(status, str):
        error: Line = {"code": f"batch_{status}", "message": f"The batch is {status}."}
        return {"id": f"r-{identity}", "custom_id": identity, "response": None, "error": error}
    response: Line = {"status_code": status, "request_id": "r", "body": body}
    return {"id": f"r-{identity}", "custom_id": identity, "response": response, "error": None}


def _anthropic_result(identity: str, status: int | str, body: Line) -> Line:
    result: Line = {"type": _kind(status)}
    if status == 200:
        result["message"] = body
    elif isinstance(status, int):
        result["error"] = body
    return {"custom_id": identity, "result": result}


def _kind(status: int | str) -> str:
    if isinstance(status, str):
        return {"cancelled": "canceled"}.get(status, status)
    return "succeeded" if status == 200 else "errored"
