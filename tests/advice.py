"""What a warning tells to do is in the answer's next steps too, so that an agent need not read it."""

import re
from typing import get_args

from lfexp_mcp.answers.base import ToolAnswer
from lfexp_mcp.model import NextStep, ToolName

_TOOL = re.compile(rf"\b({'|'.join(get_args(ToolName))})\b")
_RESUME = re.compile(r"\b(a|then) resume\b", re.IGNORECASE)


def check_advice(answer: ToolAnswer) -> None:
    """Fail if a warning of an answer names a call that is not among its next steps."""
    told = {step.tool for step in answer.next} | {"a resume" for step in answer.next if _is_resume(step)}
    for warning in answer.warnings:
        named = {*_TOOL.findall(warning), *(["a resume"] if _RESUME.search(warning) else [])}
        assert named <= told, f"{warning!r} names {named - told}, which is not in {answer.next}"


def _is_resume(step: NextStep) -> bool:
    return step.tool == "run_experiment" and step.arguments.get("resume") is True
