"""A recording: the calls that the task and the judges of a run made to models, in a file that can answer them again.

A file of JSON lines: a `RecordingHead`, a `RecordedCall` for each reply in the order in which the replies ended, and a
`RecordingEnd` where the run came to its end. There are no keys and no headers in it, but prompts and replies as they
are.
"""

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lfexp_mcp.errors import StateError, UsageError
from lfexp_mcp.files import open_regular
from lfexp_mcp.model import ProviderName

MAX_RECORDING_BYTES = 256 * 1024**2
MAX_COMPARED = 500
"""Recorded requests among which the nearest to an unrecorded one is looked for."""
MAX_COMPARED_CHARS = 10_000
SHOWN_CHARS = 30
SHOWN_CHANGES = 2
TEMPORARY = {408, 409, 425, 429}
"""Statuses, besides those of a server's failures, upon which a call is made again."""
REFUSALS = {400, 422}
"""Statuses of a reply that refuses a parameter."""
CONTENT = {"messages", "system", "input", "instructions", "prompt"}
"""Members of a request that are not parameters."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


L = TypeVar("L", bound=_Line)


class RecordingHead(_Line):
    """What a recording was made with."""

    format: Literal[1] = 1
    dataset: str
    run_name: str
    providers: tuple[ProviderName, ...]
    """Those whose keys were set, by which models are chosen."""
    judge_provider: ProviderName | None = None
    judge_model: str | None = None
    """The settings of these names."""
    nonce_key: str = Field(default_factory=lambda: secrets.token_hex(32))
    """Makes the marks around what is judged the same in a replay."""


class RecordedCall(_Line):
    """A call and its reply."""

    place: int
    """Its place among all calls, by their beginning."""
    provider: ProviderName
    method: str
    path: str
    """After the provider's base URL."""
    request: JsonValue = None
    status: int = Field(ge=100, le=599)
    content_type: str = Field(default="application/json", pattern=r"^[\w.+/;=\" -]*$")
    reply: str
    cut: bool = False
    """Whether the reply broke off there, or its reader did."""

    @property
    def key(self) -> str:
        """See `key_of`."""
        return key_of(self.provider, self.method, self.path, self.request)

    @property
    def is_temporary(self) -> bool:
        """Whether a client makes the call again after this reply."""
        return self.status in TEMPORARY or self.status >= 500


class RecordingEnd(_Line):
    """The end of a recorded run."""

    calls: int
    """How many are recorded."""


def key_of(provider: ProviderName, method: str, path: str, request: JsonValue) -> str:
    """Identify a request by its method, path and body, whose order of members does not matter."""
    text = json.dumps([provider, method, path, request], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class RecordingWriter:
    """Appends calls to a recording. Thread-safe.

    Attributes:
        failure: Why a call could not be written; nothing is written after that.
    """

    def __init__(self, path: Path, head: RecordingHead) -> None:
        """Begin a recording, or go on with the one of a run that is resumed.

        Raises:
            UsageError: The file is not a recording of this run.
            StateError: It cannot be written.
        """
        self.failure: str | None = None
        self.calls = 0
        self._lock = Lock()
        self.head = head
        try:
            if path.exists() and path.stat().st_size:
                self.head, recorded, _ = read_recording(path, path.read_bytes())
                if (self.head.dataset, self.head.run_name) != (head.dataset, head.run_name):
                    raise UsageError(f"{path} is the recording of another run. Name another file.")
                self.calls = len(recorded)
                self._file = path.open("a", encoding="utf-8")
                # What a killed worker has left may be half a line.
                self._file.write("\n")
            else:
                self._file = path.open("w", encoding="utf-8")
                self._write(head)
        except OSError as error:
            raise StateError(f"The recording {path} cannot be written ({error.strerror}).") from None

    def add(self, call: RecordedCall) -> None:
        """Append a call."""
        with self._lock:
            self.calls += 1
            self._write(call)

    def close(self, *, ended: bool) -> None:
        """Close the file.

        Args:
            ended: Whether the run came to its end, which is recorded.
        """
        with self._lock:
            if ended:
                self._write(RecordingEnd(calls=self.calls))
            self._file.close()

    def _write(self, line: _Line) -> None:
        if self.failure is not None:
            return
        try:
            self._file.write(line.model_dump_json(exclude_none=True) + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            self.failure = str(error)


class Recording:
    """A recording that answers calls. Each recorded reply is given once, in the order of the recorded calls.

    Args:
        path: The file.

    Attributes:
        head: What it was made with.
        calls: How many calls it has.
        is_whole: Whether the recorded run came to its end.
        sha256: Of the file.

    Raises:
        UsageError: There is no such file, or it is not a recording.
    """

    def __init__(self, path: Path) -> None:
        with open_regular(path, "recording", MAX_RECORDING_BYTES) as file:
            content = file.read()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.name = path.name
        self.head, recorded, self.is_whole = read_recording(path, content)
        self.calls = len(recorded)
        if not recorded:
            raise UsageError(f"The recording {path} has no calls, so it answers none. Record the run again.")
        self._by_key: dict[str, list[RecordedCall]] = defaultdict(list)
        for call in sorted(recorded, key=lambda call: call.place):
            self._by_key[call.key].append(call)
        self._given: dict[str, int] = defaultdict(int)
        self._replies = {key: _replies(calls) for key, calls in self._by_key.items()}
        self._lock = Lock()
        self._refusals = {
            _key_of_part(call.provider, call.path, call.request, content=False): call
            for call in recorded
            if call.status in REFUSALS
        }
        good = (call for call in recorded if call.status < 300) if self._refusals else ()
        self._contents = {_key_of_part(call.provider, call.path, call.request, content=True) for call in good}

    def answer(self, provider: ProviderName, method: str, path: str, request: JsonValue) -> RecordedCall | str:
        """Return the next recorded reply to a request, or why there is none."""
        key = key_of(provider, method, path, request)
        with self._lock:
            replies, given = self._replies.get(key, []), self._given[key]
            if given < len(replies):
                self._given[key] += 1
                return replies[given]
            if not replies and (refusal := self._refusal_of_parameters(provider, path, request)) is not None:
                return refusal
        what = f"{method} {path}"
        if replies:
            return f"This {what} was recorded {_times(len(replies))}, and is asked once more. {self._advice}"
        return f"This {what} is not in {self.name!r}{self._nearest(provider, path, request)}. {self._advice}"

    @property
    def unused(self) -> int:
        """How many replies were not given."""
        return sum(len(replies) - self._given[key] for key, replies in self._replies.items())

    def _refusal_of_parameters(self, provider: ProviderName, path: str, request: JsonValue) -> RecordedCall | None:
        """Return how a model refused parameters, if the rest of a request was recorded with others.

        Which of the concurrent calls come before a client has learned that differs from run to run.
        """
        of_parameters, of_content = (_key_of_part(provider, path, request, content=each) for each in (False, True))
        return self._refusals.get(of_parameters) if of_content in self._contents else None

    @property
    def _advice(self) -> str:
        return "A replay asks no model: record the run again."

    def _nearest(self, provider: ProviderName, path: str, request: JsonValue) -> str:
        """Say what the nearest recorded request has otherwise."""
        asked = dict(_leaves(request))
        nearest: tuple[tuple[int, int], list[str], dict[str, JsonValue]] | None = None
        alike = (calls[0] for calls in self._by_key.values() if (calls[0].provider, calls[0].path) == (provider, path))
        for call, _ in zip(alike, range(MAX_COMPARED), strict=False):
            known = dict(_leaves(call.request))
            changed = [name for name in {**known, **asked} if known.get(name) != asked.get(name)]
            alike_for = _alike_for(known.get(changed[0]), asked.get(changed[0])) if changed else 0
            distance = len(changed), -alike_for
            if nearest is None or distance < nearest[0]:
                nearest = distance, changed, known
        if nearest is None:
            return f", which has no call of {path}"
        _, changed, known = nearest
        shown = [f"{name}: {_difference(known.get(name), asked.get(name))}" for name in changed[:SHOWN_CHANGES]]
        more = f" and {len(changed) - SHOWN_CHANGES} more" if len(changed) > SHOWN_CHANGES else ""
        return f"; the nearest differs in {', '.join(shown)}{more}"


def _key_of_part(provider: ProviderName, path: str, request: JsonValue, *, content: bool) -> str:
    """Identify the content of a request, or its parameters."""
    members = request if isinstance(request, dict) else {}
    part = {name: member for name, member in members.items() if (name in CONTENT) == content}
    return key_of(provider, "", path, [part, members.get("model")])


def read_recording(path: Path, content: bytes) -> tuple[RecordingHead, list[RecordedCall], bool]:
    """Read the content of a recording: its head, its calls, and whether the run came to its end.

    Raises:
        UsageError: It is not a recording.
    """
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise UsageError(f"The recording {path} is empty. Make one: run with --record.")
    head = _read(RecordingHead, path, *lines[0])
    recorded: list[RecordedCall] = []
    is_whole = False
    for number, line in lines[1:]:
        is_whole = line.startswith(b'{"calls":')
        if is_whole:
            is_whole = _read(RecordingEnd, path, number, line).calls == len(recorded)
            continue
        try:
            recorded.append(_read(RecordedCall, path, number, line))
        except UsageError:
            # A killed worker leaves half a line, which does not count as a call; other damage does.
            if _is_whole_json(line):
                raise
    return head, recorded, is_whole


def _replies(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """The replies to one request, without those upon which it was made again."""
    final = [call for call in calls if not call.is_temporary]
    return final or list(calls[-1:])


def _read(kind: type[L], path: Path, number: int, line: bytes) -> L:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        why = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, why["loc"]))
        raise UsageError(
            f"{path} is not a recording that this version reads: line {number}, {place}: {why['msg']}. Make one: run "
            "with --record."
        ) from None


def _is_whole_json(line: bytes) -> bool:
    with suppress(ValueError):
        json.loads(line)
        return True
    return False


def _leaves(value: JsonValue, name: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Yield what is in a request that is neither object nor list, with its place, such as `messages[0].content`."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _leaves(member, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _leaves(member, f"{name}[{index}]")
    else:
        yield name, value


def _alike_for(one: JsonValue, other: JsonValue) -> int:
    """Return with how many equal characters two values begin."""
    texts = zip(str(one)[:MAX_COMPARED_CHARS], str(other)[:MAX_COMPARED_CHARS], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], texts))


def _difference(recorded: JsonValue, asked: JsonValue) -> str:
    """Show two values where they begin to differ."""
    texts = ["(none)" if value is None else str(value) for value in (recorded, asked)]
    start = max(_alike_for(recorded, asked) - SHOWN_CHARS // 3, 0)
    return " -> ".join(_cut(text, start) for text in texts)


def _cut(text: str, start: int) -> str:
    shown = text[start : start + SHOWN_CHARS]
    return repr(f"{'…' if start else ''}{shown}{'…' if start + SHOWN_CHARS < len(text) else ''}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
