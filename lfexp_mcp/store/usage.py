"""Token counts of a generation under Langfuse's names: `input`, `output`, their finer kinds, and `total`."""

from collections.abc import Mapping

from pydantic import JsonValue

_OPENAI_SIDES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))
"""How OpenAI names the two sides, with a `total_tokens`: in chat completions, and in responses."""


def read_usage(sent: Mapping[str, JsonValue]) -> dict[str, float]:
    """Read the usage details of a span.

    OpenAI's two shapes, which the SDK's `langfuse.openai` sends as they are, get Langfuse's names: a detail of a side,
    such as its `cached_tokens`, becomes a kind of its own, `input_cached_tokens`, and is taken off the side. Any other
    shape keeps its names. A `total` that was not sent is the sum.
    """
    usage = next((_from_openai(sent, *sides) for sides in _OPENAI_SIDES if _has(sent, *sides)), None)
    if usage is None:
        usage = numbers(sent)
    if usage and "total" not in usage:
        usage["total"] = sum(usage.values())
    return usage


def numbers(sent: Mapping[str, JsonValue]) -> dict[str, float]:
    """Keep the members that are numbers."""
    return {
        name: member
        for name, member in sent.items()
        if isinstance(member, int | float) and not isinstance(member, bool)
    }


def _has(sent: Mapping[str, JsonValue], *names: str) -> bool:
    return numbers(sent).keys() >= {*names, "total_tokens"}


def _from_openai(sent: Mapping[str, JsonValue], input_name: str, output_name: str) -> dict[str, float]:
    counts = numbers(sent)
    usage: dict[str, float] = {"total": counts["total_tokens"]}
    for side, name in (("input", input_name), ("output", output_name)):
        details = sent.get(f"{name}_details")
        kinds = numbers(details) if isinstance(details, dict) else {}
        usage[side] = max(counts[name] - sum(kinds.values()), 0)
        usage.update({f"{side}_{kind}": count for kind, count in kinds.items()})
    return usage
