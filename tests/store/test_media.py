"""Media: uploaded once by the hash of their content, and found by the references in traces."""

import base64
import hashlib
import os
from typing import Any

import httpx
import pytest
from langfuse import Langfuse

from lfexp_mcp.store.process import StoreConnection

MEDIA = "/api/public/media"

Json = Any


def _announced(client: httpx.Client, content: bytes) -> Json:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    body = {"contentType": "image/png", "contentLength": len(content), "sha256Hash": digest, "traceId": "t"}
    answer = client.post(MEDIA, json={**body, "field": "input"})
    assert answer.status_code == 201
    return answer.json()


def test_a_content_is_uploaded_once_and_downloaded_without_keys(client: httpx.Client) -> None:
    content = os.urandom(1000)
    made = _announced(client, content)
    assert client.get(f"{MEDIA}/{made['mediaId']}").status_code == 404
    assert httpx.put(made["uploadUrl"], content=content, trust_env=False).is_success
    done = {"uploadedAt": "2026-01-01T00:00:00Z", "uploadHttpStatus": 200}
    assert client.patch(f"{MEDIA}/{made['mediaId']}", json=done).is_success
    assert _announced(client, content) == {"mediaId": made["mediaId"], "uploadUrl": None}
    found = client.get(f"{MEDIA}/{made['mediaId']}").json()
    assert (found["contentType"], found["contentLength"]) == ("image/png", 1000)
    download = httpx.get(found["url"], trust_env=False)
    assert (download.content, download.headers["content-type"]) == (content, "image/png")


def test_a_content_other_than_the_announced_one_is_refused(client: httpx.Client) -> None:
    made = _announced(client, os.urandom(1000))
    assert httpx.put(made["uploadUrl"], content=b"other", trust_env=False).status_code == 400
    assert client.get(f"{MEDIA}/{made['mediaId']}").status_code == 404


@pytest.mark.parametrize("token", ["", "?token=", "?token=00", "?token=%ff"])
def test_a_url_without_its_signature_is_refused(client: httpx.Client, token: str) -> None:
    made, other = (_announced(client, os.urandom(1000)) for _ in range(2))
    url, _, signature = made["uploadUrl"].partition("?")
    assert httpx.put(url + token, content=b"x", trust_env=False).status_code == 401
    of_another = f"{other['uploadUrl'].partition('?')[0]}?{signature}"
    assert httpx.put(of_another, content=b"x", trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "wrong", [{"sha256Hash": "AAAA"}, {"sha256Hash": "no base64"}, {"contentLength": 0}, {"contentType": ""}]
)
def test_a_content_that_cannot_be_is_refused(client: httpx.Client, wrong: Json) -> None:
    body = {"contentType": "image/png", "contentLength": 1, "sha256Hash": base64.b64encode(bytes(32)).decode()}
    assert client.post(MEDIA, json={**body, **wrong}).status_code == 400


@pytest.mark.slow
def test_an_image_in_a_trace_is_found_again_by_the_sdk(store: StoreConnection, client: httpx.Client) -> None:
    langfuse = Langfuse(public_key=store.public_key, secret_key=store.secret_key, base_url=store.base_url)
    image = f"data:image/png;base64,{base64.b64encode(os.urandom(300)).decode()}"
    with langfuse.start_as_current_observation(name="seeing", input={"image": image}) as span:
        trace_id = span.trace_id
    langfuse.flush()
    answer = client.get("/api/public/v2/observations", params={"traceId": trace_id, "fields": "core,io"})
    [found] = answer.json()["data"]
    assert image not in found["input"]
    resolved = langfuse.resolve_media_references(obj=found["input"], resolve_with="base64_data_uri")
    assert image in resolved
