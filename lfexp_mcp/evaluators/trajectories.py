"""The tool calls that a task made, or was to make: read from its trace, from messages, or from a list of calls."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pydantic import JsonValue

from lfexp_mcp.evaluators.base import UnscoredError
from lfexp_mcp.evaluators.values import show
from lfexp_mcp.model import Trace

_ARGUMENTS = ("args", "arguments", "input", "parameters")
_FORMS = (
    'a list of tool names, of calls {"name": ..., "args": {...}}, or of OpenAI or Anthropic messages, which an object '
    "may hold as `messages` or `tool_calls`"
)


class Broken:
    """Arguments that are not JSON."""


BROKEN: Final = Broken()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool."""

    name: str
    arguments: JsonValue | Broken | None = None
    """None where only the name is given."""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Calls that were made together, so that their order means nothing."""

    calls: tuple[ToolCall, ...]
    role: str | None = None
    """Of the message that made them; None for calls that are not from messages."""


def calls_of(steps: Iterable[Step]) -> list[ToolCall]:
    """Return all calls, in order."""
    return [call for step in steps for call in step.calls]


def steps_of_trace(trace: Trace) -> list[Step]:
    """Return the tool calls of a trace, those within tools included; calls that started at the same time are one step.

    They are its observations of type TOOL. If it has none, they are the calls that its models' replies ask for.
    """
    tools = [each for each in trace.observations if each.type == "TOOL"]
    if tools:
        groups = groupby(tools, key=lambda each: each.started)
        return [
            Step(tuple(ToolCall(each.name or "", _traced(each.input), each.level == "ERROR") for each in group))
            for _, group in groups
        ]
    steps: list[Step] = []
    for each in trace.observations:
        if each.type == "GENERATION" and isinstance(each.output, dict | list):
            entries = each.output if isinstance(each.output, list) else [each.output]
            found = [call for entry in entries if isinstance(entry, dict) for call in _calls_in(entry)]
            steps += [Step(tuple(found))] if found else []
    return steps


def _traced(given: JsonValue) -> JsonValue | Broken:
    """Return the arguments of a traced call; those of a function that `@observe` traced are its keyword arguments."""
    if isinstance(given, dict) and given.keys() == {"args", "kwargs"} and not given["args"]:
        return given["kwargs"]
    return _read_arguments(given)


def read_trajectory(given: JsonValue, what: str = "expected_output") -> list[Step]:
    """Read calls that are written down; `what` names them in an error.

    Raises:
        UnscoredError: They are not in one of the known forms.
    """
    value = given
    if isinstance(given, str):
        try:
            value = json.loads(given)
        except (ValueError, RecursionError):
            value = None
    if isinstance(value, dict):
        value = value.get("messages", value.get("tool_calls"))
    if not isinstance(value, list):
        raise UnscoredError(f"The {what} must be {_FORMS}, not {show(given)}.")
    steps = [_read_step(entry) for entry in value]
    if any(step.role for step in steps):
        # A bare call among messages is one of the assistant's.
        return [step if step.role else Step(step.calls, "assistant") for step in steps]
    return steps


def _read_step(entry: JsonValue) -> Step:
    if isinstance(entry, str) and entry:
        return Step((ToolCall(entry),))
    if isinstance(entry, list):
        return Step(tuple(call for one in entry for call in _read_step(one).calls))
    if isinstance(entry, dict) and isinstance(role := entry.get("role"), str):
        return Step(tuple(_calls_in(entry)), {"ai": "assistant", "human": "user"}.get(role, role))
    call = _read_call(entry)
    if call is None or not call.name:
        raise UnscoredError(f"{show(entry)} is not a tool call; write {_FORMS}.")
    return Step((call,))


def _calls_in(message: Mapping[str, JsonValue]) -> Sequence[ToolCall]:
    """Return the calls of a message, as OpenAI or Anthropic write them."""
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    listed = message.get("tool_calls")
    entries = [*(listed if isinstance(listed, list) else []), *(b for b in blocks if b.get("type") == "tool_use")]
    return [call for call in map(_read_call, entries) if call is not None]


def _read_call(entry: JsonValue) -> ToolCall | None:
    if not isinstance(entry, dict):
        return None
    function = entry.get("function")
    fields = function if isinstance(function, dict) else entry
    name = fields.get("name")
    if not isinstance(name, str):
        return None
    given = next((fields[field] for field in _ARGUMENTS if field in fields), {})
    return ToolCall(name, _read_arguments(given))


def _read_arguments(given: JsonValue) -> JsonValue | Broken:
    """Return arguments, decoded if they are JSON text, even twice; null and an empty text count as none."""
    for _ in range(2):
        if not isinstance(given, str) or not given:
            break
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return BROKEN
    return {} if given is None or given == "" else given
