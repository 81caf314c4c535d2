"""Recorded tool calls, and what `agentevals` says of them.

A line of `trajectories.jsonl` gives the calls that were made and those that were expected, as steps: a call, a list of
calls that were made together, or a message. `agentevals` is the answer of that package. Run as a script, in a process
of its own since the package brings LangChain with it, this grades all that can be expressed in its modes, and prints
each answer that differs from the recorded one, then how many it gave.
"""

import json
from pathlib import Path
from typing import Any

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
]
MODES = {"exact": "strict", "any_order": "unordered", "subset": "subset", "superset": "superset"}
"""Our modes in the words of agentevals."""


def made(value: Any) -> Any:  # noqa: ANN401
    """Return a value, or that of the expression which `{"$py": ...}` holds."""
    return eval(value["$py"]) if isinstance(value, dict) and "$py" in value else value


def as_messages(steps: list[Any]) -> list[dict[str, Any]]:
    """Write steps as OpenAI messages, each of the assistant."""
    return [step if isinstance(step, dict) and "role" in step else _message(step) for step in steps]


def _message(step: Any) -> dict[str, Any]:  # noqa: ANN401
    calls = step if isinstance(step, list) else [step]
    functions = [{"name": call["name"], "arguments": _arguments(call["args"])} for call in calls]
    entries = [{"id": "", "type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": "", "tool_calls": entries}


def _arguments(given: Any) -> Any:  # noqa: ANN401
    return json.dumps(given) if isinstance(given, dict) else given


def _compare() -> None:
    from agentevals.trajectory.match import create_trajectory_match_evaluator

    compared = 0
    for case in CASES:
        if "agentevals" not in case or case["mode"] not in MODES:
            continue
        evaluate = create_trajectory_match_evaluator(
            trajectory_match_mode=MODES[case["mode"]],
            tool_args_match_mode=case["arguments"],
            tool_args_match_overrides=case.get("overrides"),
        )
        output, reference = (made(case[side]) for side in ("output", "reference"))
        sides = (as_messages(side) if isinstance(side, list) else side for side in (output, reference))
        score = evaluate(**dict(zip(("outputs", "reference_outputs"), sides, strict=True)))["score"]
        compared += 1
        if score != bool(case["agentevals"]):
            print(case["id"], score, case["agentevals"])  # noqa: T201
    print(f"{compared} compared")  # noqa: T201


if __name__ == "__main__":
    _compare()
