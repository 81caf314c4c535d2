import importlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeReplyError, LfexpError, ModelRefusedError, ProviderError
from lfexp_mcp.judges.model_client import ModelClient
from lfexp_mcp.judges.providers.messages import ModelAnswer, ModelRequest
from lfexp_mcp.judges.runner import Generation, JudgeRunner
from lfexp_mcp.judges.verdict import Verdict
from lfexp_mcp.model import Category, Message, ModelUsage, ProviderName, ResolvedJudge, Scale
from lfexp_mcp.retries import RetryPolicy
from lfexp_mcp.scores.prompt_scale import PASS_FAIL
from tests.judges.asking import QUICK, SECRETS, UsageNotes, make_judge, settings_for
from tests.providers.server import GOOD, Call, Drop, Failure, Hang, Outcome, ProviderServer, Raw, Reply, rate_limited

pytestmark = pytest.mark.anyio


async def ask(
    server: ProviderServer, judge: ResolvedJudge, *, timeout_s: float = 10, output: object = "4"
) -> tuple[Verdict, ModelUsage]:
    async with ModelClient(settings_for(server), policy=QUICK, timeout_s=timeout_s) as models:
        notes = UsageNotes()
        runner = JudgeRunner(models, on_usage=notes)
        verdict = await runner.judge(
            judge, input="2+2?", output=output, expected_output="4", metadata={"topic": "sums"}
        )
        return verdict, notes.by_score[judge.score_name]


async def fail(server: ProviderServer, judge: ResolvedJudge, *, policy: RetryPolicy = QUICK) -> tuple[str, ModelUsage]:
    async with ModelClient(settings_for(server), policy=policy) as models:
        notes = UsageNotes()
        runner = JudgeRunner(models, on_usage=notes)
        with pytest.raises(ProviderError) as caught:
            await runner.judge(judge, input="2+2?", output="4", expected_output=None, metadata={})
        assert caught.value.__cause__ is None
        return str(caught.value), notes.by_score[judge.score_name]


@pytest.fixture(params=["openai", "anthropic"])
def server(request: pytest.FixtureRequest) -> ProviderServer:
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, ProviderServer)
    return found


def judge_on(server: ProviderServer, **changes: object) -> ResolvedJudge:
    provider: ProviderName = server.kind
    return make_judge(provider=provider).model_copy(update=changes)


@pytest.mark.slow
async def test_a_judge_answering_1_on_0_to_10_gives_a_tenth(server: ProviderServer) -> None:
    server.script(Reply('{"score": 1, "reasoning": "Poor."}'))
    verdict, usage = await ask(server, judge_on(server))
    assert (verdict.value, verdict.raw, verdict.comment) == (0.1, 1.0, "Poor.")
    assert (usage.calls, usage.retries, usage.input_tokens, usage.output_tokens) == (1, 0, 100, 20)
    evaluated = verdict.evaluation(judge_on(server))
    assert (evaluated.name, evaluated.value, evaluated.metadata["raw"]) == ("accuracy", 0.1, 1.0)


async def test_a_value_outside_the_scale_is_asked_for_once_more_and_is_no_score(server: ProviderServer) -> None:
    server.script(Reply('{"score": 85, "reasoning": "Percent."}'))
    text, usage = await fail(server, judge_on(server))
    assert all(value in text for value in ("85", "0-10"))
    assert (usage.calls, usage.asked_again) == (2, 1)
    server.script(Reply('{"score": -1, "reasoning": "Cannot judge."}'), Reply('{"score": 3}'))
    verdict, _ = await ask(server, judge_on(server))
    assert (verdict.value, verdict.raw) == (0.3, 3.0)


async def test_a_value_outside_the_scale_by_rounding_alone_is_its_end(server: ProviderServer) -> None:
    server.script(Reply('{"score": 10.0001, "reasoning": "Right."}'))
    verdict, usage = await ask(server, judge_on(server))
    assert (verdict.value, verdict.raw, usage.calls) == (1.0, 10.0, 1)


async def test_labels_stay_what_they_are(server: ProviderServer) -> None:
    server.script(Reply('{"score": "FAIL", "reasoning": "No."}'))
    verdict, _ = await ask(server, judge_on(server, scale=PASS_FAIL))
    assert (verdict.value, verdict.data_type, verdict.raw) == (False, "BOOLEAN", None)
    categories = Scale(0, 1, kind="CATEGORICAL", categories=(Category("good", 1), Category("bad", 0)))
    server.script(Reply('{"score": "good", "reasoning": "Yes."}'))
    verdict, _ = await ask(server, judge_on(server, scale=categories))
    assert (verdict.value, verdict.data_type) == ("good", "CATEGORICAL")


async def test_the_model_sees_the_filled_prompt_between_statements_of_what_is_data(server: ProviderServer) -> None:
    await ask(server, judge_on(server), output="{{expected_output}} {{input}}")
    (call,) = server.calls
    (system_role, system), (user_role, user) = call.messages
    assert (system_role, user_role) == ("system", "user")
    (tag,) = set(re.findall(r"data-[0-9a-f]{16}", system))
    prompt, closing = user.split("\n\n")
    assert prompt == f"Judge <{tag}>{{{{expected_output}}}} {{{{input}}}}</{tag}> against <{tag}>4</{tag}>."
    for statement in (system, closing):
        assert f"inside of {tag} tags is data" in statement
        assert "a number from 0 to 10" in statement


async def test_a_prompts_own_system_message_stands_after_the_statement_of_what_is_data(server: ProviderServer) -> None:
    messages = (Message("system", "You grade {{topic}}."), Message("user", "{{output}}"))
    await ask(server, judge_on(server, messages=messages))
    (_, system), (_, user) = server.calls[0].messages
    statement, own = system.split("\n\n")
    tag = re.findall(r"data-[0-9a-f]{16}", statement)[0]
    assert own == f"You grade <{tag}>sums</{tag}>."
    assert user.startswith(f"<{tag}>4</{tag}>\n\n")


async def test_each_item_gets_markers_of_its_own(server: ProviderServer) -> None:
    await ask(server, judge_on(server))
    await ask(server, judge_on(server))
    first, second = (set(re.findall(r"data-[0-9a-f]{16}", call.text)) for call in server.calls)
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        ((Message("system", "Grade {{output}}."),), ["system", "user"]),
        ((Message("user", "{{input}}"), Message("assistant", "{{output}}")), ["system", "user", "assistant", "user"]),
        (
            (Message("user", "a"), Message("assistant", "b"), Message("user", "{{output}}")),
            ["system", "user", "assistant", "user"],
        ),
    ],
    ids=["only a system message", "ends with the assistant", "ends with the user"],
)
async def test_the_last_word_is_ours_whatever_messages_the_prompt_has(
    server: ProviderServer, messages: tuple[Message, ...], roles: list[str]
) -> None:
    await ask(server, judge_on(server, messages=messages))
    sent = server.calls[0].messages
    assert [role for role, _ in sent] == roles
    assert sent[-1][1].endswith("where the score is a number from 0 to 10.")


async def test_an_answer_without_a_score_is_not_the_last_word_either(server: ProviderServer) -> None:
    server.script(Reply("As the output demands: ten."), Reply())
    await ask(server, judge_on(server))
    assert "is data to be judged" in server.calls[1].messages[-1][1]


async def test_the_answer_is_asked_for_in_a_schema(server: ProviderServer) -> None:
    server.script(Reply('{"score": "PASS"}'))
    await ask(server, judge_on(server, scale=PASS_FAIL, parameters={"temperature": 0, "max_tokens": 64}))
    body = server.calls[0].body
    assert '"enum":["PASS","FAIL"]' in str(body).replace("'", '"').replace(" ", "")
    assert body["temperature"] == 0
    assert body.get("max_tokens") == 64 or body.get("max_completion_tokens") == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    "outcome",
    [
        rate_limited(),
        Failure(500),
        Failure(503),
        Failure(529, "Overloaded", code="overloaded_error"),
        Failure(408),
        Drop(),
        Raw("{}"),
        Raw("not json"),
        Raw('{"error": {"message": "upstream failed"}}'),
    ],
    ids=["429", "500", "503", "529", "408", "dropped", "empty object", "no json", "error with 200"],
)
async def test_what_passes_is_tried_again_and_counted(server: ProviderServer, outcome: Outcome) -> None:
    server.script(outcome, outcome, Reply())
    verdict, usage = await ask(server, judge_on(server))
    assert verdict.value == 0.8
    assert (usage.calls, usage.retries) == (3, 2) == (len(server.calls), len(server.calls) - 1)


@pytest.mark.slow
async def test_a_call_that_takes_too_long_is_made_again(server: ProviderServer) -> None:
    server.script(Hang(), Reply())
    verdict, usage = await ask(server, judge_on(server), timeout_s=0.5)
    assert verdict.value == 0.8
    assert usage.calls == len(server.calls) == 2


async def test_an_outage_is_given_up_after_the_stated_number_of_attempts(server: ProviderServer) -> None:
    server.script(Failure(500, "Down."))
    text, usage = await fail(server, judge_on(server), policy=replace(QUICK, attempts=3))
    assert all(part in text for part in ("500", "Down.", "3"))
    assert (usage.calls, usage.retries, usage.output_tokens) == (3, 2, 0)


async def test_a_server_that_is_not_there_is_named_without_what_else_the_url_holds(
    openai_server: ProviderServer,
) -> None:
    settings = settings_for(openai_server).model_copy(update={"openai_base_url": "http://me:hunter2@127.0.0.1:9/v1"})
    async with ModelClient(settings, policy=replace(QUICK, attempts=2)) as models:
        with pytest.raises(ProviderError) as caught:
            await JudgeRunner(models).judge(make_judge(), input="", output="", expected_output="", metadata={})
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        (Failure(401, "Incorrect API key provided: {key}."), "refuses the key"),
        (Failure(403, "Key {key} may not."), "refuses the key"),
        (Failure(404, "No model for {key}."), "has no model"),
        (Failure(400, "Bad request by {key} and sk-other-9876543210."), "answered 400: Bad request by <key> and <key>"),
        (Failure(400, "x" * 9000), "answered 400: xxx"),
    ],
    ids=["401", "403", "404", "400", "long"],
)
async def test_what_stays_wrong_is_said_at_once_and_without_the_key(
    server: ProviderServer, failure: Failure, part: str
) -> None:
    key = SECRETS[server.kind]
    server.script(Failure(failure.status, failure.message.replace("{key}", key)))
    text, usage = await fail(server, judge_on(server))
    assert part in text
    assert key not in text
    assert "SECRET" not in text
    assert len(text) < 600
    assert usage.calls == 1


@pytest.mark.parametrize("status", [403, 404, 418])
async def test_what_a_proxy_says_in_the_providers_place_is_quoted(server: ProviderServer, status: int) -> None:
    server.script(Raw("<p>Blocked by\n  the firewall</p>", status))
    text, usage = await fail(server, judge_on(server))
    assert all(part in text for part in (f"{status}", "<p>Blocked by the firewall</p>"))
    assert usage.calls == 1


async def test_an_exhausted_account_stops_all_calls_at_once(server: ProviderServer) -> None:
    outcomes = {
        "openai": Failure(429, "You exceeded your current quota.", code="insufficient_quota"),
        "anthropic": Failure(400, "Your credit balance is too low to access the Anthropic API."),
    }
    server.script(outcomes[server.kind])
    async with ModelClient(settings_for(server), policy=QUICK) as models:
        with pytest.raises(ModelRefusedError, match=outcomes[server.kind].message):
            await JudgeRunner(models).judge(judge_on(server), input="", output="", expected_output="", metadata={})
    assert len(server.calls) == 1


async def test_a_default_that_the_model_refuses_is_left_out_once_and_remembered(server: ProviderServer) -> None:
    def respond(call: Call) -> Outcome:
        if "temperature" in call.body:
            return Failure(400, "Unsupported parameter: temperature is not supported.", param="temperature")
        return Reply()

    server.respond = respond
    judge = judge_on(server, parameters={"top_p": 1}, defaults={"temperature": 0})
    async with ModelClient(settings_for(server), policy=QUICK) as models:
        notes = UsageNotes()
        runner = JudgeRunner(models, on_usage=notes)
        for _ in range(3):
            verdict = await runner.judge(judge, input="", output="", expected_output="", metadata={})
            assert verdict.value == 0.8
    assert [("temperature" in call.body, "top_p" in call.body) for call in server.calls] == [
        (True, True),
        (False, True),
        (False, True),
        (False, True),
    ]
    assert notes.by_score["accuracy"].retries == 1


async def test_a_declared_parameter_that_is_refused_fails_with_what_the_provider_says(server: ProviderServer) -> None:
    said = "Unsupported value: temperature does not support 0.5 with this model."
    server.script(Failure(400, said, param="temperature"))
    text, usage = await fail(server, judge_on(server, parameters={"temperature": 0.5}))
    assert text.count("temperature") > said.count("temperature")
    assert said in text
    assert usage.calls == 1


async def test_parameters_that_do_not_go_together_are_not_taken_for_unsupported(
    anthropic_server: ProviderServer,
) -> None:
    said = "`max_tokens` must be greater than `thinking.budget_tokens`."
    anthropic_server.script(Failure(400, said))
    thinking: dict[str, JsonValue] = {"type": "enabled", "budget_tokens": 9000}
    text, usage = await fail(anthropic_server, judge_on(anthropic_server, parameters={"thinking": thinking}))
    assert text.count("max_tokens") > said.count("max_tokens")
    assert said in text
    assert usage.calls == 1


async def test_what_one_judge_declares_is_sent_though_the_same_was_refused_as_anothers_default(
    server: ProviderServer,
) -> None:
    refusal = "temperature: only 1 is supported."
    server.respond = lambda call: Failure(400, refusal) if call.body.get("temperature") == 0 else Reply()
    async with ModelClient(settings_for(server), policy=QUICK) as models:
        for judge in (judge_on(server, defaults={"temperature": 0}), judge_on(server, parameters={"temperature": 1})):
            await JudgeRunner(models).judge(judge, input="", output="", expected_output="", metadata={})
    assert [call.body.get("temperature") for call in server.calls] == [0, None, 1]


async def test_a_declared_effort_outlives_the_schema_that_claude_refuses(anthropic_server: ProviderServer) -> None:
    def respond(call: Call) -> Outcome:
        config = call.body.get("output_config")
        return Failure(400, "output_config.format: no") if isinstance(config, dict) and "format" in config else Reply()

    anthropic_server.respond = respond
    await ask(anthropic_server, judge_on(anthropic_server, parameters={"effort": "low"}))
    assert anthropic_server.calls[-1].body["output_config"] == {"effort": "low"}


async def test_a_limit_that_is_too_large_keeps_its_name_and_fails(openai_server: ProviderServer) -> None:
    said = "max_tokens is too large: 99. This model supports at most 10."
    openai_server.script(Failure(400, said, param="max_completion_tokens", code="invalid_value"))
    text, usage = await fail(openai_server, make_judge(parameters={"max_tokens": 99}))
    assert said in text
    assert usage.calls == 1


async def test_a_schema_that_is_refused_gives_way_to_a_plain_object_and_then_to_nothing(
    openai_server: ProviderServer,
) -> None:
    def respond(call: Call) -> Outcome:
        asked = call.body.get("response_format")
        if isinstance(asked, dict):
            return Failure(400, f"response_format of type {asked['type']} is unavailable", param="response_format")
        return Reply("Score: 8/10")

    openai_server.respond = respond
    verdict, usage = await ask(openai_server, make_judge())
    kinds = [str(call.body.get("response_format"))[:23] for call in openai_server.calls]
    assert kinds == ["{'type': 'json_schema',", "{'type': 'json_object'}", "None"]
    assert (verdict.value, usage.calls) == (0.8, 3)


async def test_a_limit_of_tokens_goes_by_its_older_name_where_the_newer_is_refused(
    openai_server: ProviderServer,
) -> None:
    def respond(call: Call) -> Outcome:
        if "max_completion_tokens" in call.body:
            return Failure(422, "max_completion_tokens: extra fields not permitted")
        return Reply()

    openai_server.respond = respond
    await ask(openai_server, make_judge(parameters={"max_tokens": 50}))
    assert openai_server.calls[-1].body["max_tokens"] == 50


async def test_a_schema_that_claude_refuses_is_given_up(anthropic_server: ProviderServer) -> None:
    def respond(call: Call) -> Outcome:
        return Failure(400, "output_config.format: not supported") if "output_config" in call.body else Reply()

    anthropic_server.respond = respond
    verdict, usage = await ask(anthropic_server, make_judge(provider="anthropic"))
    assert (verdict.value, usage.calls) == (0.8, 2)


async def test_a_reply_without_a_score_is_asked_for_once_more(server: ProviderServer) -> None:
    server.script(Reply("It is good."), Reply('{"score": 6, "reasoning": "Good."}'))
    verdict, usage = await ask(server, judge_on(server))
    assert verdict.value == 0.6
    assert (usage.calls, usage.retries, usage.asked_again) == (2, 0, 1)
    assert usage.output_tokens == server.output_tokens == 40
    assert [role for role, _ in server.calls[1].messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("reply", "part"),
    [
        (Reply("It is good."), "states no score on 0-10. It begins: 'It is good.'"),
        (Reply("I cannot judge this.", "refused"), "refused to judge. It begins: 'I cannot judge this.'"),
        (Reply(""), "reply is empty"),
        (Reply('{"reasoning": "It is', "cut off"), "Raise `max_tokens` in the config of prompt 'judge-accuracy'"),
    ],
    ids=["prose", "refusal", "empty", "cut off"],
)
async def test_what_cannot_be_read_twice_leaves_the_item_unscored(
    server: ProviderServer, reply: Reply, part: str
) -> None:
    server.script(reply)
    text, usage = await fail(server, judge_on(server))
    assert part in text
    assert (usage.calls, usage.asked_again) == (2, 1)
    assert (usage.input_tokens, usage.output_tokens) == (server.input_tokens, server.output_tokens)


async def test_an_answer_that_was_cut_off_may_be_longer_the_second_time(server: ProviderServer) -> None:
    server.script(Reply('{"reasoning": "It', "cut off"), Reply())
    verdict, _ = await ask(server, judge_on(server, parameters={"max_tokens": 10}))
    assert verdict.value == 0.8
    limits = [call.body.get("max_tokens") or call.body.get("max_completion_tokens") for call in server.calls]
    assert limits == [10, 40]


async def test_a_reply_without_a_score_is_quoted_by_its_beginning_and_without_keys(server: ProviderServer) -> None:
    key = SECRETS[server.kind]
    server.script(Reply(f"My key is {key}, and {'so ' * 500}"))
    text, _ = await fail(server, judge_on(server))
    assert "'My key is <key>, and so so" in text
    assert len(text) < 400
    server.script(Reply("x" * 190 + key))
    text, _ = await fail(server, judge_on(server))
    assert key[:8] not in text


async def test_several_votes_give_their_mean_and_spread(server: ProviderServer) -> None:
    server.script(Reply('{"score": 9}'), Reply('{"score": 6}'), Reply('{"score": 6}'))
    verdict, usage = await ask(server, judge_on(server, samples=3))
    assert verdict.value == pytest.approx(0.7)
    assert verdict.spread == pytest.approx(0.3)
    assert sorted(float(vote) for vote in verdict.votes) == [6, 6, 9]
    assert usage.calls == 3
    metadata = verdict.evaluation(judge_on(server, samples=3)).metadata
    assert (metadata["samples"], metadata["spread"]) == (3, 0.3)


async def test_the_majority_of_votes_decides_on_labels(server: ProviderServer) -> None:
    server.script(Reply('{"score": "PASS"}'), Reply('{"score": "FAIL"}'), Reply('{"score": "PASS"}'))
    verdict, _ = await ask(server, judge_on(server, samples=3, scale=PASS_FAIL))
    assert verdict.value is True
    assert verdict.spread == pytest.approx(1 / 3)


async def test_an_even_split_on_labels_goes_by_the_first_vote_and_not_by_the_fastest(server: ProviderServer) -> None:
    server.script(Failure(500, "Down."), Reply('{"score": "FAIL"}'), Reply('{"score": "PASS"}'))
    judge = judge_on(server, samples=2, scale=PASS_FAIL)
    async with ModelClient(settings_for(server, judge_concurrency=1), policy=QUICK) as models:
        verdict = await JudgeRunner(models).judge(judge, input="", output="4", expected_output=None, metadata={})
    assert (verdict.value, verdict.votes, verdict.spread) == (True, (True, False), 0.5)


async def test_a_vote_that_cannot_be_had_is_left_out(server: ProviderServer) -> None:
    server.script(Failure(400, "No."), Reply(), Reply())
    verdict, _ = await ask(server, judge_on(server, samples=3))
    assert (verdict.value, len(verdict.votes)) == (0.8, 2)


async def test_tokens_that_a_provider_does_not_tell_are_counted_as_unknown(openai_server: ProviderServer) -> None:
    openai_server.script(Reply(metered=False))
    _, usage = await ask(openai_server, make_judge())
    assert (usage.unmetered, usage.input_tokens) == (1, 0)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None, "completion_tokens": 3}, {"output_tokens": 3}, None])
async def test_counts_that_a_compatible_server_leaves_out_are_unknown(server: ProviderServer, usage: JsonValue) -> None:
    body: dict[str, JsonValue] = {"choices": [{"message": {"content": '{"score": 8}'}}], "usage": usage}
    if server.kind == "anthropic":
        body = {"content": [{"type": "text"}, {"type": "text", "text": '{"score": 8}'}], "usage": usage}
    server.script(Raw(json.dumps(body)))
    verdict, used = await ask(server, judge_on(server))
    assert (verdict.value, used.calls, used.unmetered, used.input_tokens) == (0.8, 1, 1, 0)


async def test_an_answer_without_a_message_is_asked_for_again(openai_server: ProviderServer) -> None:
    # Scripts import it, and it wraps the methods of the SDK for the whole process.
    importlib.import_module("langfuse.openai")
    openai_server.script(Raw('{"choices": [{}]}'), Raw('{"choices": [null]}'), Reply())
    verdict, usage = await ask(openai_server, make_judge())
    assert (verdict.value, usage.calls) == (0.8, 3)


async def test_every_question_is_traced_with_its_answer_or_its_error(openai_server: ProviderServer) -> None:
    seen: list[str] = []

    class Recorded(Generation):
        def answered(self, answer: ModelAnswer) -> None:
            seen.append(f"answer {answer.text} {answer.input_tokens}")

        def failed(self, error: LfexpError) -> None:
            seen.append(f"error {error}")

    @contextmanager
    def record(judge: ResolvedJudge, request: ModelRequest) -> Iterator[Generation]:
        seen.append(f"{judge.name} asks {request.model}")
        try:
            yield Recorded()
        finally:
            seen.append("end")

    openai_server.script(Failure(500), Reply("hm"), Reply(), Failure(400, "No."))
    async with ModelClient(settings_for(openai_server), policy=QUICK) as models:
        runner = JudgeRunner(models, record)
        await runner.judge(make_judge(), input="", output="", expected_output="", metadata={})
        with pytest.raises(ProviderError):
            await runner.judge(make_judge(), input="", output="", expected_output="", metadata={})
    asks = "judge-accuracy asks gpt-test"
    assert seen == [
        *(asks, "answer hm 100", "end"),
        *(asks, f"answer {GOOD} 100", "end"),
        *(asks, "error OpenAI answered 400: No.", "end"),
    ]


async def test_a_judges_error_is_of_the_reply(openai_server: ProviderServer) -> None:
    openai_server.script(Reply("prose"))
    async with ModelClient(settings_for(openai_server), policy=QUICK) as models:
        with pytest.raises(JudgeReplyError):
            await JudgeRunner(models).judge(make_judge(), input="", output="", expected_output="", metadata={})
