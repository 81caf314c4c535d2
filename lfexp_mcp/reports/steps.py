"""The calls that an answer proposes, in words."""

import json

from lfexp_mcp.answers.base import NextStep


def next_lines(steps: list[NextStep]) -> tuple[str, ...]:
    """Say which calls make sense now, a line each."""
    return tuple(f"Next: {step.tool}({_arguments(step)}): {step.why}" for step in steps)


def _arguments(step: NextStep) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in step.arguments.items())
