"""Looking at datasets and judges through the server, from nothing to a run that uses what was found."""

from uuid import uuid4

import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.catalog import DatasetDetail, DatasetList, JudgeList, PromptAnswer
from tests.tools.conftest import Caller, WriteScript, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def name() -> str:
    return f"looked at {uuid4().hex[:8]}"


async def test_what_the_catalog_names_is_what_the_next_call_takes(
    caller: Caller, write_script: WriteScript, name: str
) -> None:
    items: list[JsonValue] = [{"input": word, "expected_output": word, "metadata": {"l": "de"}} for word in "ab"]
    await caller.answer("create_dataset", name=name, items=items, description="two letters")
    listed = DatasetList.model_validate(await caller.answer("list_datasets", limit=5))
    assert listed.datasets[0].name == name
    assert listed.datasets[0].items == 2
    shown = DatasetDetail.model_validate(await caller.answer(listed.next[0].tool, **listed.next[0].arguments))
    assert (shown.dataset, shown.description, shown.total_items) == (name, "two letters", 2)
    script = write_script("task.py", "def task(*, item, **kwargs):\n    return item.input\n")
    proposed = {**shown.next[0].arguments, "run_name": "first", "task_script": str(script)}
    await caller.answer(shown.next[0].tool, **proposed)
    shown = DatasetDetail.model_validate(await caller.answer("get_dataset", dataset=name))
    assert shown.runs == {"first": "completed"}
    listed = DatasetList.model_validate(await caller.answer("list_datasets", limit=5))
    assert listed.datasets[0].last_run == "first"


async def test_a_judge_is_created_listed_and_read(caller: Caller) -> None:
    judge = f"judge-{uuid4().hex[:8]}"
    await caller.answer("create_judge", name=judge, prompt="Rate {{output}} from 1 to 5.")
    result = await caller.result("list_judges", judge=judge)
    (entry,) = JudgeList.model_validate(result.structured_content).judges
    assert (entry.judge, entry.version, entry.scale, entry.scale_source) == (judge, 1, "1-5", "prompt text")
    assert "Rate {{output}} from 1 to 5." in text_of(result)
    everything = JudgeList.model_validate(await caller.answer("list_judges", limit=100))
    assert judge in {entry.judge for entry in everything.judges}


async def test_a_prompt_is_created_and_a_judge_is_not_made_by_the_way(caller: Caller, name: str) -> None:
    prompt: list[JsonValue] = [{"role": "user", "content": "Answer {{input}}."}]
    answer = PromptAnswer.model_validate(await caller.answer("create_prompt", name=name, prompt=prompt))
    assert (answer.prompt, answer.version, answer.placeholders) == (name, 1, ["input"])
    refusal = await caller.refusal("create_prompt", name="judge-x", prompt="Rate {{output}}.")
    assert refusal.next[0].tool == "create_judge"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_datasets", {"limit": 0}),
        ("list_datasets", {"limit": 101}),
        ("list_datasets", {"cursor": "from-1e3"}),
        ("get_dataset", {"dataset": ""}),
        ("get_dataset", {"dataset": "nowhere at all"}),
        ("list_judges", {"judge": ""}),
        ("list_judges", {"judge": "judge-nowhere"}),
        ("create_prompt", {"name": "x", "prompt": []}),
    ],
)
async def test_what_cannot_be_shown_is_refused(caller: Caller, tool: str, arguments: dict[str, JsonValue]) -> None:
    assert (await caller.refusal(tool, **arguments)).error.code in {"usage", "not_found", "judge", "cursor"}
