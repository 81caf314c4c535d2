"""Prompts: versions, labels, tags, deletion."""

import uuid
from typing import Any

import httpx
import pytest

PROMPTS = "/api/public/v2/prompts"

Json = Any


@pytest.fixture
def name() -> str:
    return f"prompt-{uuid.uuid4().hex[:8]}"


def _create(client: httpx.Client, name: str, **body: Json) -> Json:
    answer = client.post(PROMPTS, json={"name": name, "prompt": "p", **body})
    assert answer.is_success, answer.text
    return answer.json()


def _labels(client: httpx.Client, name: str, versions: int) -> list[set[str]]:
    pages = [client.get(f"{PROMPTS}/{name}", params={"version": number + 1}) for number in range(versions)]
    return [set(page.json()["labels"]) for page in pages]


def test_latest_is_always_the_newest_version(client: httpx.Client, name: str) -> None:
    for label in ("production", "staging", "production"):
        _create(client, name, labels=[label])
    assert _labels(client, name, 3) == [set(), {"staging"}, {"production", "latest"}]


def test_latest_passes_on_when_its_version_is_deleted(client: httpx.Client, name: str) -> None:
    for _ in range(3):
        _create(client, name)
    assert client.delete(f"{PROMPTS}/{name}", params={"version": 3}).status_code == 204
    assert client.get(f"{PROMPTS}/{name}", params={"label": "latest"}).json()["version"] == 2


def test_versions_are_deleted_by_label_or_all_together(client: httpx.Client, name: str) -> None:
    for label in ("a", "b", "c"):
        _create(client, name, labels=[label])
    assert client.delete(f"{PROMPTS}/{name}", params={"label": "b"}).status_code == 204
    [summary] = client.get(PROMPTS, params={"name": name}).json()["data"]
    assert (summary["versions"], summary["labels"]) == ([1, 3], ["a", "c", "latest"])
    assert client.delete(f"{PROMPTS}/{name}").status_code == 204
    assert client.get(PROMPTS, params={"name": name}).json()["data"] == []
    assert client.delete(f"{PROMPTS}/{name}").status_code == 404


def test_tags_belong_to_all_versions(client: httpx.Client, name: str) -> None:
    _create(client, name, tags=["old"])
    assert _create(client, name)["tags"] == ["old"]
    _create(client, name, tags=["new"])
    assert client.get(f"{PROMPTS}/{name}", params={"version": 1}).json()["tags"] == ["new"]


def test_what_is_missing_is_named(client: httpx.Client, name: str) -> None:
    _create(client, name)
    answers = [client.get(f"{PROMPTS}/{name}", params=each) for each in ({"version": 7}, {"label": "x"}, {})]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert [answer.json()["message"] for answer in answers] == [
        f"Prompt not found: '{name}' with version 7",
        f"Prompt not found: '{name}' with label 'x'",
        f"Prompt not found: '{name}' with label 'production'",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "text", "type": "chat"},
        {"prompt": [{"role": "user", "content": "c"}], "type": "text"},
        {"prompt": 3},
        {"prompt": [{"role": "user"}], "type": "chat"},
        {"prompt": [{"role": "user", "content": ["c"]}], "type": "chat"},
        {"prompt": [{"type": "placeholder", "name": "1st"}], "type": "chat"},
        {"prompt": ["c"], "type": "chat"},
        {"prompt": "p", "labels": [""]},
        {"name": "", "prompt": "p"},
        {"name": " ", "prompt": "p"},
        {"name": "new", "prompt": "p"},
        {"name": " metrics", "prompt": "p"},
        {"name": "a|b", "prompt": "p"},
        {"name": "/a", "prompt": "p"},
        {"name": "a/", "prompt": "p"},
        {"name": "a//b", "prompt": "p"},
        {"name": "a <b>c</b>", "prompt": "p"},
        {"prompt": "p", "labels": ["Staging"]},
        {"prompt": "p", "labels": ["two words"]},
        {"prompt": "p", "labels": ["x\n"]},
        {"prompt": "p", "commitMessage": "m" * 501},
        {"type": "text"},
    ],
)
def test_a_prompt_that_makes_no_sense_is_refused(client: httpx.Client, name: str, wrong: Json) -> None:
    assert client.post(PROMPTS, json={"name": name, **wrong}).status_code == 400


def test_blanks_around_a_name_are_no_part_of_it(client: httpx.Client, name: str) -> None:
    assert _create(client, f" {name} ")["name"] == name


def test_a_name_may_hold_slashes(client: httpx.Client, name: str) -> None:
    _create(client, f"folder/{name}", labels=["production"])
    assert client.get(f"{PROMPTS}/folder%2F{name}").json()["name"] == f"folder/{name}"


def test_a_version_and_a_label_together_are_refused(client: httpx.Client, name: str) -> None:
    _create(client, name, labels=["production"])
    both: dict[str, str | int] = {"version": 1, "label": "production"}
    assert client.get(f"{PROMPTS}/{name}", params=both).status_code == 400
    assert client.delete(f"{PROMPTS}/{name}", params=both).status_code == 400
    assert client.get(f"{PROMPTS}/{name}", params={"version": 1, "label": ""}).json()["version"] == 1


def test_a_chat_prompt_keeps_its_messages_and_placeholders(client: httpx.Client, name: str) -> None:
    messages = [{"role": "system", "content": ""}, {"type": "placeholder", "name": "history"}]
    made = _create(client, name, type="chat", prompt=[{**messages[0], "type": "chatmessage"}, messages[1]])
    assert made["prompt"] == client.get(f"{PROMPTS}/{name}", params={"version": 1}).json()["prompt"] == messages


def test_a_prompt_keeps_its_type(client: httpx.Client, name: str) -> None:
    _create(client, name)
    chat = {"name": name, "type": "chat", "prompt": [{"role": "user", "content": "c"}]}
    assert client.post(PROMPTS, json=chat).status_code == 400


def test_the_label_latest_cannot_be_given_away(client: httpx.Client, name: str) -> None:
    _create(client, name)
    answer = client.patch(f"{PROMPTS}/{name}/versions/1", json={"newLabels": ["latest"]})
    assert answer.status_code == 400


@pytest.mark.parametrize("version", ["0", "-1", "1.5", "one", "9" * 30, "9" * 5000])
def test_a_version_that_no_prompt_has_gets_no_label(client: httpx.Client, name: str, version: str) -> None:
    _create(client, name)
    answer = client.patch(f"{PROMPTS}/{name}/versions/{version}", json={"newLabels": ["x"]})
    assert answer.status_code == 400
    assert client.patch(f"{PROMPTS}/{name}/versions/2", json={"newLabels": ["x"]}).status_code == 404
