import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.judges.model_choice import DEFAULT_MODELS, ChosenModel, call_parameters, choose_model, usable_model
from lfexp_mcp.model import ProviderName
from lfexp_mcp.settings import Settings


def settings(
    *keys: ProviderName, judge_model: str | None = None, judge_provider: ProviderName | None = None
) -> Settings:
    secret = SecretStr("sk-test")
    return Settings(
        openai_api_key=secret if "openai" in keys else None,
        anthropic_api_key=secret if "anthropic" in keys else None,
        judge_model=judge_model,
        judge_provider=judge_provider,
    )


BOTH = settings("openai", "anthropic")


@pytest.mark.parametrize(
    ("config", "given", "chosen"),
    [
        ({}, settings("openai"), ChosenModel("openai", DEFAULT_MODELS["openai"])),
        ({}, settings("anthropic"), ChosenModel("anthropic", DEFAULT_MODELS["anthropic"])),
        ({}, BOTH, ChosenModel("openai", DEFAULT_MODELS["openai"])),
        ({"model": "claude-x"}, BOTH, ChosenModel("anthropic", "claude-x")),
        ({"model": "gpt-x"}, settings("openai", judge_provider="anthropic"), ChosenModel("openai", "gpt-x")),
        ({"model": "llama-3"}, settings("openai"), ChosenModel("openai", "llama-3")),
        ({"provider": "OpenAI", "model": "claude-x"}, BOTH, ChosenModel("openai", "claude-x")),
        ({"provider": "anthropic"}, BOTH, ChosenModel("anthropic", DEFAULT_MODELS["anthropic"])),
        ({}, settings("openai", "anthropic", judge_model="claude-y"), ChosenModel("anthropic", "claude-y")),
        (
            {"provider": "openai"},
            settings("openai", judge_model="claude-y"),
            ChosenModel("openai", DEFAULT_MODELS["openai"]),
        ),
        (
            {},
            settings("openai", "anthropic", judge_provider="anthropic"),
            ChosenModel("anthropic", DEFAULT_MODELS["anthropic"]),
        ),
        ({}, settings("openai", judge_model="llama-3"), ChosenModel("openai", "llama-3")),
    ],
)
def test_the_model_is_the_configs_else_the_settings_else_the_default_of_whose_key_is_set(
    config: dict[str, JsonValue], given: Settings, chosen: ChosenModel
) -> None:
    assert choose_model("judge-x", config, given) == chosen
    assert usable_model("judge-x", config, given) == chosen


@pytest.mark.parametrize(
    ("config", "given", "part"),
    [
        ({}, settings(), "neither OPENAI_API_KEY nor ANTHROPIC_API_KEY is set"),
        ({"model": "claude-x"}, settings("openai"), "ANTHROPIC_API_KEY is not set"),
        ({"provider": "openai"}, settings("anthropic"), "OPENAI_API_KEY is not set"),
        ({"provider": "azure"}, BOTH, "names the provider 'azure'"),
        ({"model": 7}, BOTH, "`model` in the config of prompt 'judge-x' must be a name"),
    ],
)
def test_a_judge_that_nobody_can_answer_is_refused_naming_the_variable(
    config: dict[str, JsonValue], given: Settings, part: str
) -> None:
    with pytest.raises(JudgeError) as caught:
        usable_model("judge-x", config, given)
    assert part in str(caught.value)
    assert "sk-test" not in str(caught.value)


def test_parameters_are_taken_from_the_config_and_other_keys_are_the_users_own() -> None:
    config: dict[str, JsonValue] = {
        "temperature": 0.5,
        "max_output_tokens": 300,
        "reasoning": {"effort": "low"},
        "supported_languages": ["de"],
        "model": "gpt-x",
    }
    assert call_parameters("judge-x", config) == {
        "temperature": 0.5,
        "max_tokens": 300,
        "reasoning": {"effort": "low"},
    }


@pytest.mark.parametrize(
    "config", [{"temperature": "0"}, {"max_tokens": 1.5}, {"max_tokens": 0}, {"top_p": True}, {"seed": "x"}]
)
def test_a_parameter_of_the_wrong_kind_is_refused_before_the_run(config: dict[str, JsonValue]) -> None:
    with pytest.raises(JudgeError, match="'judge-x'"):
        call_parameters("judge-x", config)
