import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import JudgeError, NotFoundError, ProviderError
from lfexp_mcp.judges.model_client import Meter, ModelClient
from lfexp_mcp.judges.prompt_task import answer_input, resolve_task_prompt, variables
from lfexp_mcp.judges.templates import fill, placeholders
from lfexp_mcp.model import DatasetItem, Message, PromptMessage, ResolvedPrompt
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from tests.judges.asking import QUICK, settings_for
from tests.providers.server import Failure, ProviderServer, Reply

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ws(settings: Settings) -> AsyncIterator[Workspace]:
    with_keys = settings.model_copy(
        update={"openai_api_key": SecretStr("sk-1"), "anthropic_api_key": SecretStr("sk-2")}
    )
    async with open_workspace(with_keys) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    return f"answer-{uuid.uuid4().hex[:8]}"


def task(*texts: str, role: str = "user") -> ResolvedPrompt:
    return ResolvedPrompt(
        name="answer",
        version=1,
        messages=tuple(Message("system" if role == "system" else "user", text) for text in texts),
        placeholders=tuple(placeholders(texts)),
        provider="openai",
        model="gpt-test",
        parameters={"temperature": 0.2},
    )


def items(*inputs: JsonValue) -> list[DatasetItem]:
    return [DatasetItem(str(index), each) for index, each in enumerate(inputs)]


@pytest.mark.parametrize(
    ("text", "given", "filled"),
    [
        ("{{question}}", "2+2?", {"question": "2+2?"}),
        ("{{input}} please", "2+2?", {"input": "2+2?"}),
        ("{{anything}}", "2+2?", {"anything": "2+2?"}),
        ("{{a}} {{b}}", {"a": 1, "b": "x", "c": 0}, {"a": 1, "b": "x"}),
        ("{{input}}", {"a": 1}, {"input": {"a": 1}}),
        ("{{input}}", {"input": "inner"}, {"input": "inner"}),
        ("{{list}}", [1, 2], {"list": [1, 2]}),
        ("Say hello.", "ignored", {}),
    ],
)
async def test_an_items_input_fills_the_prompts_variables(
    text: str, given: JsonValue, filled: dict[str, object]
) -> None:
    found = variables(task(text), given, {})
    assert {key: found[key] for key in filled} == filled


@pytest.mark.parametrize(
    ("text", "params", "filled"),
    [
        ("{{language}}: {{question}}", {"language": "en"}, "en: q"),
        ("{{language}}: {{anything}}", {"language": "en"}, "en: q"),
        ("{{ tone }}, {{params.tone}}: {{input}}", {"tone": "dry"}, "dry, dry: q"),
        ("{{tone}}: {{input}}", {"tone": "{{input}} {{tone}}"}, "{{input}} {{tone}}: q"),
        ("{{{tone}}}", {"tone": "dry"}, "{dry}"),
        ("{{a}} {{b}} {{c}} {{d}}", {"a": 3, "b": 0.10, "c": True, "d": None}, "3 0.1 true null"),
        ("{{a}} {{b}} <{{c}}>", {"a": {"x": 1}, "b": ["y"], "c": ""}, '{"x":1} ["y"] <>'),
    ],
)
async def test_parameters_fill_a_prompts_variables_once(
    ws: Workspace, name: str, text: str, params: dict[str, JsonValue], filled: str
) -> None:
    await ws.gateway.prompts.create(name, text, config={"model": "gpt-x"})
    resolved = await resolve_task_prompt(ws.gateway, ws.settings, name, items("q"), params=params)
    values = variables(resolved, "q", params)
    assert [fill(message.content, values) for message in resolved.messages] == [filled]


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("{{input}}", {"input": "x"}),
        ("{{expected_output}} {{input}}", {"expected_output": "x"}),
        ("{{tonne}} {{question}}", {"tone": "dry"}),
        ("{{Tone}} {{question}}", {"tone": "dry"}),
        ("{{language}} {{question}}", {"language": "en"}),
    ],
)
async def test_parameters_that_fill_nothing_or_what_the_item_fills_are_refused(
    ws: Workspace, name: str, text: str, params: dict[str, JsonValue]
) -> None:
    await ws.gateway.prompts.create(name, text, config={"model": "gpt-x"})
    given = items({"question": "q"}, {"question": "q", "language": "de"})
    with pytest.raises(JudgeError, match="params"):
        await resolve_task_prompt(ws.gateway, ws.settings, name, given, params=params)


@pytest.mark.parametrize(
    ("text", "given", "part"),
    [
        ("{{a}} {{b}}", "text", "needs {{a}}, {{b}}, but the item's input is not an object"),
        ("{{a}} {{b}}", {"a": 1}, "needs {{b}}, but the item's input has the keys a"),
    ],
)
async def test_a_variable_that_the_input_does_not_fill_is_named(text: str, given: JsonValue, part: str) -> None:
    with pytest.raises(JudgeError) as caught:
        variables(task(text), given, {})
    assert part in str(caught.value)


async def test_a_prompt_answers_an_item_and_counts_what_it_used(openai_server: ProviderServer) -> None:
    openai_server.script(Failure(500), Reply("4"))
    async with ModelClient(settings_for(openai_server), policy=QUICK) as models:
        meter = Meter()
        given = "2+2 {{question}}"
        assert await answer_input(task("What is {{question}}?"), given, {}, models, meter) == "4"
    call = openai_server.calls[-1]
    assert call.messages == [("user", "What is 2+2 {{question}}?")]
    assert "response_format" not in call.body
    assert (meter.usage.calls, meter.usage.retries, meter.usage.output_tokens) == (2, 1, 20)


async def test_a_prompt_that_is_only_a_system_message_still_asks_something(openai_server: ProviderServer) -> None:
    async with ModelClient(settings_for(openai_server), policy=QUICK) as models:
        await answer_input(task("Answer {{input}}", role="system"), "x", {}, models, Meter())
    assert [role for role, _ in openai_server.calls[0].messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("reply", "part"),
    [(Reply("No.", "refused"), "refused"), (Reply("The answ", "cut off"), "max_tokens")],
)
async def test_an_answer_that_is_none_fails_the_item(openai_server: ProviderServer, reply: Reply, part: str) -> None:
    openai_server.script(reply)
    async with ModelClient(settings_for(openai_server), policy=QUICK) as models:
        with pytest.raises(ProviderError, match=part):
            await answer_input(task("{{input}}"), "x", {}, models, Meter())


async def test_a_prompt_is_resolved_with_the_model_that_the_call_names(ws: Workspace, name: str) -> None:
    await ws.gateway.prompts.create(
        name,
        [PromptMessage("system", "Be short."), PromptMessage("user", "{{question}}")],
        config={"model": "gpt-x", "provider": "openai", "temperature": 0.3},
        labels=["production"],
    )
    resolved = await resolve_task_prompt(ws.gateway, ws.settings, name, items("q"), {})
    assert (resolved.provider, resolved.model, resolved.parameters) == ("openai", "gpt-x", {"temperature": 0.3})
    changed = await resolve_task_prompt(ws.gateway, ws.settings, name, items("q"), {}, model="claude-y")
    assert (changed.provider, changed.model) == ("anthropic", "claude-y")
    forced = await resolve_task_prompt(
        ws.gateway, ws.settings, f"{name}@production", items("q"), {}, model="claude-y", provider="openai"
    )
    assert (forced.provider, forced.model) == ("openai", "claude-y")
    assert ResolvedPrompt.model_validate_json(forced.model_dump_json()) == forced


async def test_a_prompt_that_no_item_fills_is_refused_before_the_run(ws: Workspace, name: str) -> None:
    await ws.gateway.prompts.create(name, "{{a}} {{b}}", labels=["production"])
    with pytest.raises(JudgeError, match=r"\{\{b\}\}"):
        await resolve_task_prompt(ws.gateway, ws.settings, name, items("x", {"a": 1}), {})
    await resolve_task_prompt(ws.gateway, ws.settings, name, items("x", {"a": 1, "b": 2}), {})


async def test_a_prompt_that_does_not_exist_is_named(ws: Workspace) -> None:
    with pytest.raises(NotFoundError) as refused:
        await resolve_task_prompt(ws.gateway, ws.settings, "answer-missing@production", items("q"), {})
    assert refused.value.name == "answer-missing"
