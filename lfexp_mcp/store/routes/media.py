"""Media of traces: `/api/public/media`. Their content is kept in the store file, behind a URL that needs no keys."""

import base64
import binascii
import hashlib
import sqlite3
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue
from starlette.responses import Response

from lfexp_mcp.store.address import API, MEDIA_CONTENT
from lfexp_mcp.store.call import MAX_BODY_BYTES, Call, Fields, json_answer
from lfexp_mcp.store.http_errors import BadRequestError, NotFoundError
from lfexp_mcp.store.paging import get_row
from lfexp_mcp.store.times import Instant, iso, now_ms

URL_LIFETIME_MS = 3_600_000
"""How long a URL is said to work, as on a Langfuse server; it works as long as the store has its keys."""
_ID_CHARS = 22


def _checked_hash(text: str) -> str:
    try:
        is_hash = len(base64.b64decode(text, validate=True)) == hashlib.sha256().digest_size
    except binascii.Error:
        is_hash = False
    if not is_hash:
        raise ValueError("sha256Hash must be a SHA-256 hash in base64")
    return text


class MediaBody(Fields):
    """What is to be uploaded; what it belongs to is in the text that refers to it."""

    content_type: str = Field(min_length=1)
    content_length: int = Field(ge=1, le=MAX_BODY_BYTES)
    sha256_hash: Annotated[str, Field(alias="sha256Hash"), AfterValidator(_checked_hash)]


class UploadedBody(Fields):
    """How an upload went."""

    uploaded_at: Instant
    upload_http_status: int


def create_media(call: Call) -> Response:
    """Return the id of a content, which follows from its hash, and where to upload it; nowhere if it is there."""
    body = call.body(MediaBody)
    media_id = body.sha256_hash.replace("+", "-").replace("/", "_")[:_ID_CHARS]
    with call.database.write() as connection:
        (is_there,) = connection.execute(
            """
            INSERT INTO media (id, content_type, content_length, sha256) VALUES (?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET content_type = excluded.content_type
            RETURNING content IS NOT NULL
            """,
            (media_id, body.content_type, body.content_length, body.sha256_hash),
        ).fetchone()
    return json_answer({"mediaId": media_id, "uploadUrl": None if is_there else _url(call, media_id)}, 201)


def upload_content(call: Call) -> JsonValue:
    """Store the content that was announced, and no other."""
    media_id = call.path("id")
    with call.database.write() as connection:
        row = get_row(connection, "media", media_id, "Media not found")
        if base64.b64encode(hashlib.sha256(call.content).digest()).decode() != row["sha256"]:
            raise BadRequestError("The content is not the one whose hash was announced")
        connection.execute(
            "UPDATE media SET content = ?, uploaded_at = ? WHERE id = ?", (call.content, now_ms(), media_id)
        )
    return {}


def update_media(call: Call) -> JsonValue:
    """Take note of how an upload went, which the store knows by itself."""
    call.body(UploadedBody)
    return {}


def get_media(call: Call) -> JsonValue:
    """Return a content's type and size, and where to download it."""
    row = _uploaded(call)
    return {
        "mediaId": row["id"],
        "contentType": row["content_type"],
        "contentLength": row["content_length"],
        "uploadedAt": iso(row["uploaded_at"]),
        "url": _url(call, row["id"]),
        "urlExpiry": iso(now_ms() + URL_LIFETIME_MS),
    }


def download_content(call: Call) -> Response:
    """Return a content."""
    row = _uploaded(call)
    return Response(row["content"], headers={"x-content-type-options": "nosniff"}, media_type=row["content_type"])


def _uploaded(call: Call) -> sqlite3.Row:
    with call.database.read() as connection:
        row = get_row(connection, "media", call.path("id"), "Media not found")
    if row["content"] is None:
        raise NotFoundError("Media not yet uploaded")
    return row


def _url(call: Call, media_id: str) -> str:
    token = call.request.app.state.sign_media(media_id)
    return str(call.request.base_url.replace(path=f"{API}{MEDIA_CONTENT}/{media_id}", query=f"token={token}"))
