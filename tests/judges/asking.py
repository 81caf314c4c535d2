"""Judges and settings for tests that ask loopback servers."""

from dataclasses import replace

from pydantic import JsonValue, SecretStr

from lfexp_mcp.judges.model_client import POLICY
from lfexp_mcp.judges.templates import placeholders
from lfexp_mcp.model import TEN, Message, ModelUsage, ProviderName, ResolvedJudge, Scale
from lfexp_mcp.settings import Settings
from tests.providers.server import ProviderServer

SECRETS = {"openai": "sk-proj-SECRETopenai0123456789", "anthropic": "sk-ant-SECRETanthropic0123456789"}
QUICK = replace(POLICY, first_delay_s=0.01, max_delay_s=0.05)


def settings_for(*servers: ProviderServer, judge_concurrency: int = 10) -> Settings:
    """Settings with the keys and base URLs of some servers."""
    urls = {server.kind: server.base_url for server in servers}
    keys = {kind: SecretStr(SECRETS[kind]) for kind in urls}
    return Settings(
        openai_api_key=keys.get("openai"),
        openai_base_url=urls.get("openai"),
        anthropic_api_key=keys.get("anthropic"),
        anthropic_base_url=urls.get("anthropic"),
        judge_concurrency=judge_concurrency,
    )


def make_judge(
    name: str = "accuracy",
    *,
    provider: ProviderName = "openai",
    scale: Scale = TEN,
    text: str = "Judge {{output}} against {{expected_output}}.",
    messages: tuple[Message, ...] | None = None,
    parameters: dict[str, JsonValue] | None = None,
    defaults: dict[str, JsonValue] | None = None,
    samples: int = 1,
    missing_expected_output: str = "",
) -> ResolvedJudge:
    """A judge of the score `name`."""
    template = messages or (Message("user", text),)
    return ResolvedJudge(
        name=f"judge-{name}",
        version=1,
        score_name=name,
        messages=template,
        placeholders=tuple(placeholders(message.content for message in template)),
        missing_expected_output=missing_expected_output,
        scale=scale,
        scale_source="default",
        provider=provider,
        model="gpt-test" if provider == "openai" else "claude-test",
        parameters=parameters or {},
        defaults=defaults or {},
        samples=samples,
    )


class UsageNotes:
    """What judges used, by the name of their score; a panel's `on_usage`."""

    def __init__(self) -> None:
        self.by_score: dict[str, ModelUsage] = {}

    def __call__(self, judge: ResolvedJudge, used: ModelUsage) -> None:
        self.by_score[judge.score_name] = self.by_score.get(judge.score_name, ModelUsage()) + used
