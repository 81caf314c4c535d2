import uuid
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import JsonValue, SecretStr

from lfexp_mcp.errors import JudgeError, NotFoundError
from lfexp_mcp.gateway import Dataset
from lfexp_mcp.judges.discovery import FoundJudges, find_judges
from lfexp_mcp.model import DatasetItem, ItemResult, ResolvedJudge, RunRecord, Score
from lfexp_mcp.scores.interpretation import interpret_scores
from lfexp_mcp.services.definitions import PromptMessage
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = "Rate {{output}} against {{expected_output}}."


@pytest.fixture
async def ws(settings: Settings) -> AsyncIterator[Workspace]:
    """A workspace whose settings hold the key of a provider."""
    with_key = settings.model_copy(update={"openai_api_key": SecretStr("sk-secret-key")})
    async with open_workspace(with_key) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    return f"judge-{uuid.uuid4().hex[:8]}"


def items(*metadata: dict[str, JsonValue], expected: JsonValue = "e") -> list[DatasetItem]:
    return [DatasetItem(str(index), "i", expected, each) for index, each in enumerate(metadata or ({},))]


async def discover(
    ws: Workspace,
    *names: str,
    use: bool = True,
    given: Sequence[DatasetItem] | None = None,
    metadata: dict[str, JsonValue] | None = None,
    samples: int = 1,
) -> FoundJudges:
    dataset: Dataset = await ws.gateway.datasets.upsert(f"d-{uuid.uuid4().hex[:8]}", metadata=metadata or {})
    return await find_judges(
        ws.gateway,
        ws.settings,
        dataset,
        given or items(),
        names=names or None,
        use_langfuse_judges=use,
        samples=samples,
    )


async def only(ws: Workspace, reference: str, samples: int = 1) -> ResolvedJudge:
    (judge,) = (await discover(ws, reference, samples=samples)).judges
    return judge


async def test_a_judge_is_found_by_name_with_all_that_its_calls_need(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT, config={"scale": "1-5", "model": "gpt-x", "max_tokens": 50})
    judge = await only(ws, name)
    assert (judge.name, judge.version, judge.score_name) == (name, 1, name.removeprefix("judge-"))
    assert (judge.scale.name, judge.scale_source) == ("1-5", "prompt config")
    assert (judge.provider, judge.model) == ("openai", "gpt-x")
    assert (judge.parameters, judge.defaults) == ({"max_tokens": 50}, {"temperature": 0})
    assert judge.placeholders == ("output", "expected_output")
    assert [(message.role, message.content) for message in judge.messages] == [("user", TEXT)]


async def test_a_judge_survives_the_run_spec_and_holds_no_key(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT, config={"categories": {"good": 1, "bad": 0}})
    judge = await only(ws, name)
    written = judge.model_dump_json()
    assert ResolvedJudge.model_validate_json(written) == judge
    assert "sk-secret-key" not in written


async def test_a_score_tells_its_readers_the_judges_scale(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT, config={"scale": "0-100", "score_name": "tone"})
    judge = await only(ws, name)
    score = Score("s", "tone", 0.85, "NUMERIC", maker=judge.maker)
    record = RunRecord(
        dataset="d",
        dataset_id="d",
        run_name="r",
        experiment_ids=("e",),
        status="completed",
        items=(ItemResult("i", "succeeded", scores=(score,)),),
        total_items=1,
    )
    reading = interpret_scores(record, {})["tone"]
    assert (reading.scale, reading.scale_source, reading.prompt) == (judge.scale, "prompt config", name)
    assert reading.raw(score) == 85


async def test_the_version_in_production_is_used_unless_another_is_named(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, "One: {{output}}")
    await create_judge(ws, name, "Two: {{output}}", labels=["trial"])
    versions = [(await only(ws, name + suffix)).version for suffix in ("", ":2", "@trial", "@latest", "@production")]
    assert versions == [1, 2, 2, 2, 1]


async def test_a_prompt_that_was_never_put_into_production_counts_by_its_latest_version(
    ws: Workspace, name: str
) -> None:
    await ws.gateway.prompts.create(name, TEXT)
    await ws.gateway.prompts.create(name, TEXT)
    assert (await only(ws, name)).version == 2


async def test_names_win_over_the_datasets_judges_and_over_all(ws: Workspace, name: str) -> None:
    other = f"{name}-other"
    await create_judge(ws, name, TEXT)
    await create_judge(ws, other, TEXT)
    found = await discover(ws, name, metadata={"judge_prompts": [other]})
    assert [judge.name for judge in found.judges] == [name]


async def test_the_datasets_judges_win_over_all(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    await create_judge(ws, f"{name}-other", TEXT)
    found = await discover(ws, metadata={"judge_prompts": [f"{name}:1"]})
    assert [judge.name for judge in found.judges] == [name]


@pytest.mark.slow
async def test_all_judges_are_found_on_more_than_one_page_of_prompts(own_store: Settings) -> None:
    async with open_workspace(own_store) as ws:
        for number in range(120):
            await ws.gateway.prompts.create(f"judge-{number:03}", TEXT, labels=["production"])
        await ws.gateway.prompts.create("summary", "{{input}}", labels=["production"])
        found = await discover(ws)
    assert [judge.score_name for judge in found.judges] == [f"{number:03}" for number in range(120)]


@pytest.mark.slow
async def test_pairwise_judges_are_not_found_where_single_outputs_are_judged(own_store: Settings) -> None:
    async with open_workspace(own_store) as ws:
        await ws.gateway.prompts.create("judge-one", TEXT, labels=["production"])
        await ws.gateway.prompts.create("judge-two", "{{output_a}} or {{output_b}}?", labels=["production"])
        found = await discover(ws)
        assert [judge.name for judge in found.judges] == ["judge-one"]
        with pytest.raises(JudgeError):
            await discover(ws, "judge-two")


@pytest.mark.slow
async def test_no_judges_at_all_is_an_error_that_says_how_to_make_one(own_store: Settings) -> None:
    async with open_workspace(own_store) as ws:
        with pytest.raises(JudgeError) as refused:
            await discover(ws)
    assert [step.tool for step in refused.value.next] == ["create_judge"]


async def test_no_judges_are_looked_for_where_none_were_asked_for(ws: Workspace) -> None:
    found = await discover(ws, use=False, metadata={"judge_prompts": ["judge-missing"]})
    assert found.judges == ()


async def test_a_judge_that_does_not_exist_is_named_with_those_near_it(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    with pytest.raises(NotFoundError) as refused:
        await discover(ws, f"{name}x")
    assert name in refused.value.near
    with pytest.raises(NotFoundError, match="version 7"):
        await discover(ws, f"{name}:7")


@pytest.mark.parametrize("listed", [7, ["judge-a", 7], {"judge": "a"}, [""]])
async def test_a_datasets_judges_that_are_no_names_are_an_error(ws: Workspace, listed: JsonValue) -> None:
    with pytest.raises(JudgeError, match="judge_prompts"):
        await discover(ws, metadata={"judge_prompts": listed})


async def test_two_judges_of_one_score_are_refused(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    await create_judge(ws, name, TEXT)
    with pytest.raises(JudgeError, match=rf"{name}.* 1.*{name}.* 2"):
        await discover(ws, f"{name}:1", f"{name}:2")


async def test_naming_a_judge_twice_asks_it_once(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    assert len((await discover(ws, name, name)).judges) == 1


async def test_a_placeholder_that_no_item_provides_is_refused_with_what_may_be_meant(ws: Workspace, name: str) -> None:
    await ws.gateway.prompts.create(name, "Score {{output}} against {{expected}}.")
    with pytest.raises(JudgeError) as caught:
        await discover(ws, name, given=items({"topic": "sums"}))
    assert all(named in str(caught.value) for named in ("{{expected}}", "{{expected_output}}", "topic"))


async def test_a_key_that_only_some_items_have_is_a_warning(ws: Workspace, name: str) -> None:
    await ws.gateway.prompts.create(name, "{{output}} {{topic}} {{metadata.topic}}")
    found = await discover(ws, name, given=items({"topic": "sums"}, {}))
    assert [warning for warning in found.warnings if "metadata of 1 of 2 items" in warning]


async def test_a_judge_that_compares_with_what_is_not_there_is_a_warning(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT, config={"missing_expected_output": "(none)"})
    found = await discover(ws, name, given=items({}, expected=None))
    (warning,) = found.warnings
    assert "1 of 1 items" in warning
    assert "'(none)'" in warning


async def test_a_parameter_that_the_provider_does_not_have_is_a_warning(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT, config={"provider": "openai", "top_k": 5, "temperature": 0.5})
    assert ["`top_k`" in warning for warning in (await discover(ws, name)).warnings] == [True]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"reasoning": {"effort": "low"}}, []),
        ({"reasoning_effort": "low", "effort": "low"}, []),
        ({"reasoning": {"effort": "low", "max_tokens": 500}}, ["only the effort 'low'"]),
        ({"reasoning_effort": "low", "effort": "high"}, ["only the effort 'low'"]),
        ({"reasoning": {"max_tokens": 500}}, ["nothing is sent"]),
    ],
)
async def test_reasoning_options_that_are_not_sent_are_a_warning(
    ws: Workspace, name: str, config: dict[str, JsonValue], said: list[str]
) -> None:
    await create_judge(ws, name, TEXT, config={"provider": "openai", **config})
    warnings = (await discover(ws, name)).warnings
    assert [any(part in warning for part in said) for warning in warnings] == [True] * len(said)


async def test_a_judge_that_does_not_see_the_output_is_a_warning(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, "Is {{input}} good?")
    assert "no {{output}}" in (await discover(ws, name)).warnings[0]


async def test_without_a_key_no_run_starts(settings: Settings, name: str) -> None:
    async with open_workspace(settings) as ws:
        answer = await create_judge(ws, name, TEXT)
        assert answer.model is None
        assert "OPENAI_API_KEY" in answer.warnings[-1]
        with pytest.raises(JudgeError, match="OPENAI_API_KEY"):
            await discover(ws, name)


async def test_a_judge_with_several_votes_keeps_the_models_own_temperature(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    judge = await only(ws, name, samples=3)
    assert (judge.samples, judge.parameters, judge.defaults) == (3, {}, {})


async def test_a_chat_prompts_messages_keep_their_roles(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, [PromptMessage("system", "You grade."), PromptMessage("user", "{{output}}")])
    judge = await only(ws, name)
    assert [message.role for message in judge.messages] == ["system", "user"]


async def test_making_a_judge_says_what_it_is_and_what_to_call_next(ws: Workspace, name: str) -> None:
    answer = await create_judge(ws, name, "Rate {{output}} for {{topic}} from 1 to 5.", config={"score_name": "tone"})
    assert (answer.judge, answer.version, answer.labels) == (name, 1, ["production", "latest"])
    assert (answer.score_name, answer.scale, answer.scale_source) == ("tone", "1-5", "prompt text")
    assert answer.placeholders == ["output", "topic"]
    assert answer.next[0].arguments["judges"] == [name]
    assert ["{{topic}}" in warning for warning in answer.warnings] == [True]


async def test_making_a_judge_again_is_a_new_version_that_runs_use(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    answer = await create_judge(ws, name, "Better: {{output}}")
    assert answer.version == 2
    assert (await only(ws, name)).version == 2


async def test_a_version_kept_out_of_production_is_offered_by_its_number(ws: Workspace, name: str) -> None:
    await create_judge(ws, name, TEXT)
    answer = await create_judge(ws, name, TEXT, labels=[])
    assert answer.next[0].arguments["judges"] == [f"{name}:2"]


@pytest.mark.parametrize(
    ("bad_name", "prompt", "config", "part"),
    [
        ("accuracy", TEXT, {}, "'judge-accuracy'"),
        ("judge-", TEXT, {}, "'judge-accuracy'"),
        ("judge-a:1", TEXT, {}, "leave out `:` and `@`"),
        ("judge-" + "a" * 250, TEXT, {}, "255"),
        ("judge-a", "  ", {}, "is empty"),
        ("judge-a", [], {}, "is empty"),
        ("judge-a", [PromptMessage("tool", "x")], {}, "role 'tool'"),
        ("judge-a", TEXT, {"scale": "ten"}, "the scale 'ten'"),
        ("judge-a", TEXT, {"temperature": "hot"}, "`temperature`"),
        ("judge-a", TEXT, {"provider": "azure"}, "'azure'"),
        ("judge-a", TEXT, {"score_name": ""}, "`score_name`"),
        ("judge-a", TEXT, {"missing_expected_output": 5}, "`missing_expected_output`"),
        ("judge-a", TEXT, {"lower_is_better": "yes"}, "`lower_is_better`"),
        ("judge-a", TEXT, {"categories": ["one"]}, "the categories ['one']"),
        ("judge-a", TEXT, {"model": 7}, "`model`"),
        ("judge-a", TEXT, {"max_tokens": 0}, "`max_tokens`"),
    ],
)
async def test_a_judge_that_could_not_be_used_is_not_stored(
    ws: Workspace, bad_name: str, prompt: str | list[PromptMessage], config: dict[str, JsonValue], part: str
) -> None:
    before = {info.name for info in await ws.gateway.prompts.all()}
    with pytest.raises(JudgeError) as caught:
        await create_judge(ws, bad_name, prompt, config=config)
    assert part in str(caught.value)
    assert {info.name for info in await ws.gateway.prompts.all()} == before
