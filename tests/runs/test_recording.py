"""The file that keeps a run's calls to models, also damaged or made by a stranger."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import UsageError
from lfexp_mcp.runs.recording import RecordedCall, Recording, RecordingHead, RecordingWriter

HEAD = RecordingHead(dataset="d", run_name="r", providers=("openai",))


def call(place: int, content: str = "a", reply: str = "", status: int = 200, **members: Any) -> RecordedCall:  # noqa: ANN401
    request: JsonValue = {"model": "m", "messages": [{"role": "user", "content": content}], **members}
    return RecordedCall(
        place=place,
        provider="openai",
        method="POST",
        path="chat/completions",
        request=request,
        status=status,
        reply=reply or f"reply {place}",
    )


def write(path: Path, *calls: RecordedCall, end: bool = True) -> Path:
    writer = RecordingWriter(path, HEAD)
    for each in calls:
        writer.add(each)
    writer.close(ended=end)
    return path


def ask(recording: Recording, content: str = "a", **members: Any) -> str | int:  # noqa: ANN401
    asked = call(0, content, **members)
    found = recording.answer(asked.provider, asked.method, asked.path, asked.request)
    return found if isinstance(found, str) else found.reply if found.status == 200 else found.status


def test_equal_requests_get_each_reply_once_in_the_order_of_the_calls(tmp_path: Path) -> None:
    recording = Recording(write(tmp_path / "r.jsonl", call(2), call(0), call(1, "b")))
    assert [ask(recording), ask(recording), ask(recording, "b")] == ["reply 0", "reply 2", "reply 1"]
    assert "2" in str(ask(recording))
    assert recording.is_whole


@pytest.mark.parametrize(
    ("calls", "asked"),
    [
        ([(429, "x"), (200, "good")], ["good"]),
        ([(500, "x"), (429, "x"), (200, "good"), (200, "better")], ["good", "better"]),
        ([(500, "x"), (503, "x")], [503]),
        ([(400, "x")], [400]),
    ],
)
def test_a_call_that_was_made_again_is_replayed_by_its_last_reply(
    calls: list[tuple[int, str]], asked: list[str | int], tmp_path: Path
) -> None:
    recorded = [call(place, reply=reply, status=status) for place, (status, reply) in enumerate(calls)]
    recording = Recording(write(tmp_path / "r.jsonl", *recorded))
    assert [ask(recording) for _ in asked] == asked
    assert "asked once more" in str(ask(recording))


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        ({"content": "a "}, "messages[0].content: 'a' -> 'a '"),
        ({"content": "a", "temperature": 0.5}, "temperature: '(none)' -> '0.5'"),
        ({"content": "x" * 100 + "1"}, "messages[0].content: '…xxxxxxxxxx0' -> '…xxxxxxxxxx1'"),
        ({"content": "a", "model": "n"}, "model: 'm' -> 'n'"),
        ({"content": "a", "n": 1.0, "stop": ["."], "seed": 1}, "and 1 more"),
    ],
)
def test_a_request_that_was_not_recorded_gets_no_reply_but_what_differs(
    asked: dict[str, Any], difference: str, tmp_path: Path
) -> None:
    recording = Recording(write(tmp_path / "r.jsonl", call(0), call(1, "x" * 100 + "0")))
    assert difference in str(ask(recording, **asked))
    assert ask(recording) == "reply 0"


def test_the_order_of_members_is_no_difference_and_another_path_is(tmp_path: Path) -> None:
    recording = Recording(write(tmp_path / "r.jsonl", call(0, "a", top_p=1, seed=2)))
    request: JsonValue = {"seed": 2, "messages": [{"content": "a", "role": "user"}], "top_p": 1, "model": "m"}
    assert "responses" in str(recording.answer("openai", "POST", "responses", request))
    assert not isinstance(recording.answer("openai", "POST", "chat/completions", request), str)


def test_a_refused_parameter_is_refused_of_other_content_only_if_that_was_recorded_without_it(tmp_path: Path) -> None:
    calls = [call(0, "a", status=400, temperature=0), call(1, "a"), call(2, "b")]
    recording = Recording(write(tmp_path / "r.jsonl", *calls))
    assert (ask(recording, "b", temperature=0), ask(recording, "b")) == (400, "reply 2")
    assert "'r.jsonl'" in str(ask(recording, "c", temperature=0))
    assert "'r.jsonl'" in str(ask(recording, "b", temperature=1))


def test_a_recording_of_a_killed_run_lacks_its_last_half_line_and_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", call(0), call(1, "b"), end=False)
    path.write_bytes(path.read_bytes()[:-20])
    recording = Recording(path)
    assert (recording.calls, recording.is_whole) == (1, False)
    assert "'r.jsonl'" in str(ask(recording, "b"))
    writer = RecordingWriter(path, RecordingHead(dataset="d", run_name="r", providers=()))
    assert writer.head.nonce_key == recording.head.nonce_key
    writer.add(call(1, "b"))
    writer.close(ended=True)
    resumed = Recording(path)
    assert (resumed.calls, resumed.is_whole, ask(resumed, "b")) == (2, True, "reply 1")
    with pytest.raises(UsageError, match=path.name):
        RecordingWriter(path, RecordingHead(dataset="d", run_name="other", providers=()))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is empty"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "line 1"),
        (HEAD.model_dump_json() + "\n", "no calls"),
        (HEAD.model_dump_json().replace('"format":1', '"format":2') + "\n", "format"),
        ("[" * 100_000, "line 1"),
        (HEAD.model_dump_json() + "\n" + json.dumps({"place": 0}) + "\n", "line 2"),
        (
            HEAD.model_dump_json() + "\n" + call(0).model_dump_json().replace("application/json", "a\\r\\nX: y") + "\n",
            "content_type",
        ),
    ],
    ids=["empty", "an LFS pointer", "no calls", "a newer format", "deep", "a field missing", "a header in a header"],
)
def test_what_is_no_recording_is_refused(content: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=why):
        Recording(path)
