"""Choose the model that answers a prompt, and its parameters, from the prompt's config and the settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.judges.providers.messages import (
    EFFORT_NAMES,
    KEY_VARIABLES,
    PROVIDER_TITLES,
    SAMPLING_PARAMETERS,
    effort_of,
)
from lfexp_mcp.model import ProviderName, ResolvedPrompt
from lfexp_mcp.settings import Settings

DEFAULT_MODELS: dict[ProviderName, str] = {"openai": "gpt-5.4-mini", "anthropic": "claude-sonnet-4-6"}
"""Used where neither the prompt's config nor LFEXP_JUDGE_MODEL names a model."""

_OPENAI_MODEL = re.compile(r"gpt|chatgpt|o[134]", re.IGNORECASE)
_PROVIDERS: tuple[ProviderName, ...] = ("openai", "anthropic")
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_INTEGERS = ("max_tokens", "top_k", "seed")
_OTHERS = ("reasoning", "reasoning_effort", "effort", "thinking", "verbosity", "service_tier")
_LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model and its provider."""

    provider: ProviderName
    model: str


DEFAULT_MODEL = ChosenModel("openai", DEFAULT_MODELS["openai"])
"""Stands in for a model where no provider's key is set."""


def choose_model(prompt: str, config: Mapping[str, JsonValue], settings: Settings) -> ChosenModel | None:
    """Choose the model that answers a prompt.

    The provider is the config's `provider`, else the one whose models are named like the config's `model`, else
    LFEXP_JUDGE_PROVIDER, else the one whose key is set. The model is the config's `model`, else LFEXP_JUDGE_MODEL
    if it is that provider's, else the provider's default.

    Args:
        prompt: Name of the prompt, for errors.

    Returns:
        The choice; None if nothing names a provider and no key is set.

    Raises:
        JudgeError: The config names an unknown provider.
    """
    model = _text(prompt, config, "model")
    provider = _named_provider(prompt, config) or (provider_of(model) if model else None)
    preferred = settings.judge_model
    if provider is None and model is None and preferred is not None:
        provider = settings.judge_provider or provider_of(preferred)
    provider = provider or settings.judge_provider or next(iter(_providers_with_key(settings)), None)
    if provider is None:
        return None
    if model is None and preferred is not None and provider_of(preferred) in {None, provider}:
        model = preferred
    return ChosenModel(provider, model or DEFAULT_MODELS[provider])


def usable_model(prompt: str, config: Mapping[str, JsonValue], settings: Settings) -> ChosenModel:
    """Choose the model that answers a prompt, and check that its provider's key is set; see `choose_model`.

    Raises:
        JudgeError: The config names an unknown provider, or the provider's key is not set.
    """
    chosen = choose_model(prompt, config, settings)
    if chosen is None:
        raise JudgeError(
            f"No model can answer prompt {prompt!r}: neither OPENAI_API_KEY nor ANTHROPIC_API_KEY is set. "
            "Set one of them in the environment of lfexp-mcp."
        )
    if chosen.provider not in _providers_with_key(settings):
        raise JudgeError(
            f"Prompt {prompt!r} is answered by {chosen.model!r} of provider {chosen.provider!r}, but "
            f"{KEY_VARIABLES[chosen.provider]} is not set. Set it in the environment of lfexp-mcp, "
            "or name another provider and model in the prompt's config."
        )
    return chosen


def provider_of(model: str) -> ProviderName | None:
    """Return the provider whose models are named like this one; None if the name does not tell."""
    if model.lower().startswith("claude"):
        return "anthropic"
    return "openai" if _OPENAI_MODEL.match(model) else None


def call_parameters(prompt: str, config: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the parameters of the model calls in a prompt's config; other keys are the user's own.

    Raises:
        JudgeError: One has a value of the wrong type.
    """
    limit = next((config[name] for name in _LIMIT_NAMES if config.get(name) is not None), None)
    given = {**config, "max_tokens": limit}
    parameters = {name: given[name] for name in (*_NUMBERS, *_INTEGERS, *_OTHERS) if given.get(name) is not None}
    for name, value in parameters.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if (name in _NUMBERS and not is_number) or (name in _INTEGERS and not (is_number and isinstance(value, int))):
            kind = "a number" if name in _NUMBERS else "a whole number"
            raise JudgeError(f"`{name}` in the config of prompt {prompt!r} must be {kind}, not {value!r}.")
    if isinstance(limit, int) and limit < 1:
        raise JudgeError(f"`max_tokens` in the config of prompt {prompt!r} must be at least 1, not {limit}.")
    return parameters


def parameter_warnings(prompt: ResolvedPrompt) -> list[str]:
    """Warn about declared parameters that are not sent to the provider, so that none is dropped silently."""
    title, given = PROVIDER_TITLES[prompt.provider], prompt.parameters
    warnings = [
        f"The config of prompt {prompt.name!r} has `{name}`, which {title} does not know: it is not sent."
        for name in given
        if name not in (*SAMPLING_PARAMETERS[prompt.provider], *EFFORT_NAMES, "max_tokens")
    ]
    effort = effort_of(given)
    if any(given[name] not in (effort, {"effort": effort}) for name in EFFORT_NAMES if name in given):
        sent = "nothing" if effort is None else f"only the effort {effort!r}"
        warnings.append(f"Of the reasoning options in the config of prompt {prompt.name!r}, {sent} is sent to {title}.")
    return warnings


def _named_provider(prompt: str, config: Mapping[str, JsonValue]) -> ProviderName | None:
    named = _text(prompt, config, "provider")
    if named is None:
        return None
    known = next((provider for provider in _PROVIDERS if provider == named.lower()), None)
    if known is None:
        raise JudgeError(
            f"The config of prompt {prompt!r} names the provider {named!r}. Known are anthropic, and openai, which "
            "with OPENAI_BASE_URL is any server that speaks its chat completions."
        )
    return known


def _text(prompt: str, config: Mapping[str, JsonValue], key: str) -> str | None:
    value = config.get(key)
    if value is not None and not (isinstance(value, str) and value):
        raise JudgeError(f"`{key}` in the config of prompt {prompt!r} must be a name, not {value!r}.")
    return value


def _providers_with_key(settings: Settings) -> list[ProviderName]:
    keys = {"openai": settings.openai_api_key, "anthropic": settings.anthropic_api_key}
    return [provider for provider in _PROVIDERS if keys[provider] is not None]
