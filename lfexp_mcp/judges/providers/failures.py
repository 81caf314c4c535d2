"""Tell from a provider's error what to do about it, without letting a key out."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lfexp_mcp.judges.providers.messages import CallFailure
from lfexp_mcp.masking import mask
from lfexp_mcp.retries import read_retry_after

LONGEST_WAIT = 300.0
"""Seconds; a provider that asks for more is not waited for longer."""
LONGEST_TEXT = 300

_PASSING = {408, 409, 425}


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An HTTP answer other than 200, as both SDKs report it."""

    provider: str
    """The provider's name for people."""
    variable: str
    """The environment variable of its key."""
    model: str
    status: int
    headers: Mapping[str, str]
    error: Mapping[str, object]
    """The provider's description: `message`, and perhaps `type`, `code`, `param`."""


def failure_of(answer: ErrorAnswer, sent: Collection[str], added: Collection[str], secret: str) -> CallFailure:
    """Work out what an error answer means.

    Args:
        answer: The answer.
        sent: Names of the parameters that the call had.
        added: Those that no prompt's config declares, and that the call can do without.
        secret: The key, which the provider's text may quote.
    """
    said = _cut(mask(str(answer.error.get("message") or answer.error.get("type") or ""), secret))
    where = f"{answer.provider} answered {answer.status}"
    if answer.status in {401, 403}:
        return CallFailure(
            "refused", f"{where}: it refuses the key in {answer.variable}. Set one that may use {answer.model!r}."
        )
    if answer.status == 404:
        return CallFailure(
            "refused", f"{where}: it has no model {answer.model!r}. Name another one in the prompt's config."
        )
    message = f"{where}: {said}" if said else f"{where}."
    if answer.error.get("code") == "insufficient_quota" or answer.status == 402:
        return CallFailure("refused", f"{message} Raise the account's budget at {answer.provider}.")
    if answer.status in {429, 529}:
        return CallFailure("throttled", message, retry_after=retry_after(answer.headers))
    if answer.status >= 500 or answer.status in _PASSING:
        return CallFailure("passing", message, retry_after=retry_after(answer.headers))
    if answer.status in {400, 422}:
        if parameter := _refused_parameter(answer.error, [name for name in sent if name in added]):
            return CallFailure("unsupported", message, parameter=parameter)
        if parameter := _refused_parameter(answer.error, [name for name in sent if name not in added]):
            return CallFailure(
                "refused", f"{message} Change `{parameter}` in the prompt's config, or leave it out there."
            )
    return CallFailure("final", message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `retry-after-ms`, else `Retry-After`, in seconds, at most `LONGEST_WAIT`; None without either."""
    milliseconds = read_retry_after(headers.get("retry-after-ms"))
    seconds = milliseconds / 1000 if milliseconds is not None else read_retry_after(headers.get("retry-after"))
    return None if seconds is None else min(seconds, LONGEST_WAIT)


def _refused_parameter(error: Mapping[str, object], names: Collection[str]) -> str | None:
    """Name the parameter that a 400 is about: as its `param` says, else the first that its text names."""
    named = str(error.get("param") or "").split(".")[0].split("[")[0]
    if named:
        return named if named in names else None
    text = str(error.get("message") or "")
    found = [
        (match.start(), name) for name in names if (match := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))
    ]
    return min(found)[1] if found else None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
