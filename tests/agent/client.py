"""A client without a model: it wants one tool's answer, and otherwise does what answers propose.

It knows a few facts (paths, names and texts, by the argument that takes them) and the tools' schemas. What it cannot do
with these, an answer has to tell it, by its `next` steps or its cursor.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mcp import Client
from pydantic import JsonValue, TypeAdapter
from typing_extensions import TypedDict

MAX_CALLS = 12
_PLACEHOLDER = re.compile(r"<[^<>]*>")

Answer = dict[str, JsonValue]
Arguments = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    tool: str
    arguments: Arguments


@dataclass
class Agent:
    """Follows rules, in this order.

    1. After an error it takes the first `next` step that it can, and then repeats the call that failed, unless the step
       was that call, corrected. Without such a step, it tries another fact, such as another script.
    2. A running run is waited for.
    3. Otherwise it takes the `next` step that calls the wanted tool, else the cursor, else the first step that is new,
       of the newest answer that has one.
    """

    client: Client
    facts: Mapping[str, list[JsonValue]]
    """What it knows for arguments, by the argument's name; the first is tried first."""
    calls: list[Call] = field(default_factory=list)
    _left: list[Call] = field(default_factory=list)
    """Steps that were proposed and not taken, those of the newest answer first."""
    _given_up: dict[str, int] = field(default_factory=dict)
    """How many facts of a name have been given up."""

    async def pursue(self, tool: str, reached: Callable[[Answer], bool], start: Call | None = None) -> Answer:
        """Call tools until an answer of the wanted one will do.

        Args:
            tool: The wanted tool.
            reached: Whether its answer will do.
            start: The first call; by default the wanted tool with the facts that it takes.

        Raises:
            AssertionError: It knows no further call, or made too many; the text lists them.
        """
        failed: list[Call] = []
        call: Call | None = start or await self.first(tool)
        while call is not None and len(self.calls) < MAX_CALLS:
            result = await self.client.call_tool(call.tool, call.arguments)
            self.calls.append(call)
            answer = result.structured_content or {}
            if result.is_error:
                step = next(iter(self._steps(answer)), None)
                if step is None:
                    step = self._with_other_fact(call)
                elif step.tool != call.tool:
                    failed.append(call)
                call = step
            elif call.tool == tool and reached(answer):
                return answer
            else:
                call = failed.pop() if failed else self._following(call, answer, tool)
        made = "\n".join(f"{made.tool} {made.arguments}" for made in self.calls)
        raise AssertionError(f"{tool} is not reached by\n{made}")

    def _following(self, call: Call, answer: Answer, tool: str) -> Call | None:
        steps = self._steps(answer)
        if answer.get("status") == "running" and tool != "cancel_run":
            return next(step for step in steps if step.tool == "get_run")
        wanted = next((step for step in steps if step.tool == tool), None)
        if wanted is None and call.tool == tool and "next_cursor" in answer:
            return Call(tool, {**call.arguments, "cursor": answer["next_cursor"]})
        self._left = [step for step in (*steps, *self._left) if step not in self.calls]
        return wanted or next(iter(self._left), None)

    def _steps(self, answer: Answer) -> list[Call]:
        """The steps that an answer proposes, that are new, and whose placeholders can be filled."""
        proposed = answer.get("next", [])
        assert isinstance(proposed, list)
        steps = [Call(step["tool"], self._filled(step["arguments"])) for step in map(_as_step, proposed)]
        can_be_made = [step for step in steps if None not in step.arguments.values()]
        return [step for step in can_be_made if step not in self.calls or step.arguments.get("wait_seconds")]

    def _filled(self, arguments: Arguments) -> Arguments:
        return {
            name: self._fact(name) if isinstance(value, str) and _PLACEHOLDER.search(value) else value
            for name, value in arguments.items()
        }

    def _fact(self, name: str) -> JsonValue:
        known = self.facts.get(name, [])
        place = self._given_up.get(name, 0)
        return known[place] if place < len(known) else None

    def _with_other_fact(self, call: Call) -> Call | None:
        """The same call with another value of an argument for which several are known."""
        for name, known in self.facts.items():
            place = self._given_up.get(name, 0) + 1
            if name in call.arguments and place < len(known):
                self._given_up[name] = place
                return Call(call.tool, {**call.arguments, name: known[place]})
        return None

    async def first(self, tool: str) -> Call:
        """The call of a tool with all that it takes of what is known."""
        tools = (await self.client.list_tools()).tools
        schema = next(each.input_schema for each in tools if each.name == tool)
        return Call(tool, {name: known[0] for name, known in self.facts.items() if name in schema["properties"]})


class _Step(TypedDict):
    tool: str
    arguments: Arguments
    why: str


_as_step = TypeAdapter(_Step).validate_python
