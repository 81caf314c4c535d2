"""Compare the tool calls of a task with those that are expected, as the package `agentevals` (0.0.9) does.

Its matching is kept where it is surprising: each expected call takes the first free call that matches it, `any_order`
asks both directions, so that `arguments` other than `ignore` have to be equal, and `subset` reads them the other way
round. `in_order` is not in agentevals.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from lfexp_mcp.evaluators.base import BuiltIn, UnscoredError, require
from lfexp_mcp.evaluators.trajectories import Broken, Step, ToolCall, calls_of, read_trajectory, steps_of_trace
from lfexp_mcp.model import Evaluation, Trace

MAX_CALLS = 3000
"""Of calls that are compared: that takes time by the product of the two numbers."""

ArgumentMatch = Literal["exact", "ignore", "subset", "superset"]
Matches = Callable[[ToolCall, ToolCall], bool]
"""Whether a call that was made is one that was expected."""


class ToolCalls(BuiltIn):
    """Whether the task made the tool calls that its item expects.

    What is expected is a list of tool names, of calls such as `{"name": "search", "args": {"q": "x"}}`, or of messages.
    An item without it is unscored; an empty list expects no call.
    """

    evaluator: ClassVar[str] = "tool_calls"
    main_option: ClassVar[str | None] = "mode"

    mode: Literal["exact", "in_order", "any_order", "subset", "superset"] = "exact"
    """The same calls in the same order; the expected ones in their order, with others between; the same in any order;
    no others than expected; at least those expected. Calls made together have no order."""
    arguments: ArgumentMatch = "exact"
    """How arguments are compared: equal, not at all, none but the expected ones, or at least the expected ones."""
    overrides: dict[str, ArgumentMatch | list[str]] = Field(default_factory=dict)
    """Another comparison for single tools, or the paths of the arguments to compare."""
    source: Literal["trace", "output"] = "trace"
    """Where the calls are: in the trace, or in the output, which is a list of calls or messages."""

    @property
    def takes_trace(self) -> bool:
        """See `BuiltIn`."""
        return self.source == "trace"

    def __call__(self, *, output: JsonValue, expected_output: JsonValue, trace: Trace | None) -> Evaluation:
        """Score one item; see `BuiltIn`."""
        expected = read_trajectory(require(expected_output))
        broken = next((call.name for call in calls_of(expected) if isinstance(call.arguments, Broken)), None)
        if broken is not None:
            raise UnscoredError(f"The expected arguments of {broken!r} are not JSON.")
        if self.source == "output":
            if output is None:
                raise UnscoredError("The output is null, not a list of calls.")
            made = read_trajectory(output, "output")
        elif trace is None:
            raise UnscoredError("There is no trace.")
        else:
            made = steps_of_trace(trace)
        if max(len(calls_of(made)), len(calls_of(expected))) > MAX_CALLS:
            raise UnscoredError(f"More than {MAX_CALLS:,} calls are too many to compare.")
        return self.evaluation(self._is_as_expected(made, expected), _comment(calls_of(made), calls_of(expected)))

    def _is_as_expected(self, made: Sequence[Step], expected: Sequence[Step]) -> bool:
        calls, wanted = calls_of(made), calls_of(expected)
        match self.mode:
            case "superset":
                return _are_all_in(wanted, calls, lambda want, call: self._matches(call, want))
            case "subset":
                return _are_all_in(calls, wanted, self._matches_swapped)
            case "any_order":
                at_least = _are_all_in(wanted, calls, lambda want, call: self._matches(call, want))
                return at_least and _are_all_in(calls, wanted, self._matches_swapped)
            case "exact" if _has_roles(made) and _has_roles(expected):
                return len(made) == len(expected) and all(map(self._is_same_message, made, expected))
            case "exact":
                return len(calls) == len(wanted) and self._is_in_order(made, expected)
            case "in_order":
                return self._is_in_order(made, expected)

    def _is_same_message(self, made: Step, expected: Step) -> bool:
        return (
            made.role == expected.role
            and len(made.calls) == len(expected.calls)
            and _are_all_in(made.calls, expected.calls, self._matches)
        )

    def _is_in_order(self, made: Sequence[Step], expected: Sequence[Step]) -> bool:
        """Whether the expected calls are made in their order, each as early as can be."""
        waiting = [list(step.calls) for step in expected if step.calls]
        for step in made:
            free = list(step.calls)
            while waiting:
                found = next(((call, want) for want in waiting[0] for call in free if self._matches(call, want)), None)
                if found is None:
                    break
                free.remove(found[0])
                waiting[0].remove(found[1])
                if not waiting[0]:
                    waiting.pop(0)
        return not waiting

    def _matches_swapped(self, call: ToolCall, want: ToolCall) -> bool:
        """As agentevals compares for `subset`: the expected arguments in the place of those that were given."""
        return self._matches(want, call)

    def _matches(self, call: ToolCall, want: ToolCall) -> bool:
        if call.name != want.name:
            return False
        rule = self.overrides.get(want.name) or self.arguments
        given, expected = call.arguments, want.arguments
        if rule == "ignore" or given is None or expected is None:
            return True
        if isinstance(given, Broken) or isinstance(expected, Broken):
            return False
        if isinstance(rule, list):
            return all(_nested(given, path) == _nested(expected, path) for path in rule)
        if rule == "exact" or not (isinstance(given, dict) and isinstance(expected, dict)):
            return given == expected
        less, more = (given, expected) if rule == "subset" else (expected, given)
        return all(name in more and more[name] == value for name, value in less.items())


def _are_all_in(some: Sequence[ToolCall], others: Sequence[ToolCall], matches: Matches) -> bool:
    """Whether each call has another one of its own, the first free one that matches."""
    free: dict[str, list[ToolCall]] = {}
    for other in others:
        free.setdefault(other.name, []).append(other)
    for one in some:
        candidates = free.get(one.name, [])
        at = next((at for at, other in enumerate(candidates) if matches(one, other)), None)
        if at is None:
            return False
        del candidates[at]
    return True


def _has_roles(steps: Sequence[Step]) -> bool:
    return any(step.role for step in steps)


def _nested(arguments: JsonValue, path: str) -> JsonValue:
    value = arguments
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _comment(made: Sequence[ToolCall], expected: Sequence[ToolCall]) -> str:
    failed = sum(call.failed for call in made)
    text = f"made: {_counted(made)}; expected: {_counted(expected)}"
    return (text + (f"; {failed} of those made failed" if failed else ""))[:1000]


def _counted(calls: Sequence[ToolCall]) -> str:
    """List the tools by the number of their calls, in the order of the first call of each."""
    counts = Counter(call.name[:100] for call in calls)
    shown = [name if count == 1 else f"{name} x{count}" for name, count in list(counts.items())[:10]]
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    return (", ".join(shown) or "no call") + more
