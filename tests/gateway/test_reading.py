"""The gateway against the real store: what it writes comes back decoded."""

import json
from uuid import uuid4

import httpx
import pytest
from langfuse import Evaluation, Langfuse

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.gateway import unknown_prompt
from lfexp_mcp.model import PromptMessage, Score
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.store.process import StoreConnection

pytestmark = pytest.mark.anyio

NAMES = ["plain", "with/slash", "a, comma", 'it\'s "quoted"', "Ünïcode 日本", "100% & more?#"]


def _unique(name: str) -> str:
    return f"{name} {uuid4().hex[:8]}"


@pytest.mark.parametrize("name", NAMES)
async def test_a_dataset_is_found_by_any_name(workspace: Workspace, name: str) -> None:
    name = _unique(name)
    made = await workspace.gateway.datasets.upsert(name, "first", {"owner": "qa", "n": 3})
    again = await workspace.gateway.datasets.upsert(name, "second")
    found = await workspace.gateway.datasets.get(name)
    assert (found.id, found.description) == (made.id, "second") == (again.id, again.description)


async def test_an_unknown_dataset_is_answered_with_the_names_near_it(workspace: Workspace) -> None:
    name = _unique("support-questions")
    await workspace.gateway.datasets.upsert(name)
    with pytest.raises(NotFoundError) as refused:
        await workspace.gateway.datasets.get(name[:-1])
    assert name in refused.value.near


@pytest.mark.parametrize(("name", "proposed"), [("", 0), (" ", 0), ("p", 1), ("judge-p", 2)])
async def test_a_prompt_without_a_name_is_not_proposed_to_be_created(name: str, proposed: int) -> None:
    assert len(unknown_prompt(name, ["other"]).next) == proposed


async def test_a_dataset_unlike_any_is_answered_with_the_newest_ones(workspace: Workspace) -> None:
    names = [_unique("newest") for _ in range(6)]
    for name in names:
        await workspace.gateway.datasets.upsert(name)
    with pytest.raises(NotFoundError) as caught:
        await workspace.gateway.datasets.get("qqqqqqqqqqqqqqqq")
    text = str(caught.value)
    assert all(repr(name) in text for name in names[1:])
    assert repr(names[0]) not in text
    assert " more." in text
    assert [step.tool for step in caught.value.next] == ["create_dataset", "list_datasets"]


@pytest.mark.slow
async def test_dataset_items_come_back_oldest_first_with_their_json(workspace: Workspace) -> None:
    name = _unique("items")
    await workspace.gateway.datasets.upsert(name)
    for number in range(105):
        await workspace.gateway.dataset_items.upsert(
            name,
            id=f"{name}-{number}",
            input={"n": number},
            expected_output=[number],
            metadata={"even": number % 2 == 0},
        )
    items = await workspace.gateway.datasets.items(name)
    assert [item.input for item in items] == [{"n": number} for number in range(105)]
    assert items[3].expected_output == [3]
    assert items[3].metadata == {"even": False}


async def test_an_item_id_of_another_dataset_is_refused_with_what_to_do(workspace: Workspace) -> None:
    first, second = _unique("first"), _unique("second")
    for name in (first, second):
        await workspace.gateway.datasets.upsert(name)
    await workspace.gateway.dataset_items.upsert(first, id=f"{first}-x", input=1)
    with pytest.raises(UsageError, match=f"{first}-x"):
        await workspace.gateway.dataset_items.upsert(second, id=f"{first}-x", input=1)


async def test_prompts_are_read_by_version_and_label_and_listed_beyond_a_page(workspace: Workspace) -> None:
    prefix = _unique("prompt")
    for number in range(12):
        await workspace.gateway.prompts.create(f"{prefix}/{number}", "Say {{input}}", labels=["production"])
    assert len([p for p in await workspace.gateway.prompts.all() if p.name.startswith(prefix)]) == 12
    name = f"{prefix}/0"
    messages = [PromptMessage("system", "Judge."), PromptMessage("user", "{{output}}")]
    second = await workspace.gateway.prompts.create(
        f"{prefix}/chat", messages, config={"scale": "0-10"}, labels=["dev"]
    )
    assert (await workspace.gateway.prompts.get(name, version=1)).prompt == "Say {{input}}"
    read = await workspace.gateway.prompts.get(f"{prefix}/chat", label="dev")
    assert (read.prompt, read.config, read.version) == (tuple(messages), {"scale": "0-10"}, second.version)
    with pytest.raises(NotFoundError, match=r"version 9.*version 1; label 'latest', 'production'"):
        await workspace.gateway.prompts.get(name, version=9)
    with pytest.raises(NotFoundError, match=r"label 'prod'.*label 'latest', 'production'"):
        await workspace.gateway.prompts.get(name, label="prod")
    with pytest.raises(NotFoundError) as refused:
        await workspace.gateway.prompts.get(f"{prefix}/chatt")
    assert f"{prefix}/chat" in refused.value.near


async def test_a_run_that_the_sdk_recorded_is_read_with_its_scores_and_comments(
    workspace: Workspace, store: StoreConnection
) -> None:
    name, run_name = _unique("sdk, run"), _unique("run, one/two")
    dataset = await workspace.gateway.datasets.upsert(name)
    for number in range(3):
        await workspace.gateway.dataset_items.upsert(
            name, id=f"{name}-{number}", input={"n": number}, expected_output=str(number), metadata={"lang": "de"}
        )

    def task(*, item: object, **_: object) -> dict[str, object]:
        number = item.input["n"]  # type: ignore[attr-defined]
        if number == 2:
            raise RuntimeError("boom")
        if number == 1:
            sdk.update_current_span(level="ERROR")
        return {"answer": number}

    def accuracy(*, output: dict[str, object], **_: object) -> Evaluation:
        return Evaluation(name="accuracy", value=0.5, comment=f"got {output['answer']}")

    sdk = Langfuse(public_key=store.public_key, secret_key=store.secret_key, base_url=store.base_url)
    result = sdk.run_experiment(
        name="capitals",
        run_name=run_name,
        data=sdk.get_dataset(name).items,
        task=task,
        evaluators=[accuracy],
        metadata={"model": "gpt-x", "nested": "a"},
    )
    sdk.flush()

    gateway = workspace.gateway
    experiment = await gateway.experiments.find(dataset.id, run_name)
    assert experiment is not None
    assert experiment.id == result.experiment_id == await gateway.experiments.id_of(dataset.id, run_name)
    assert (experiment.item_count, experiment.metadata["model"]) == (3, "gpt-x")
    assert await gateway.experiments.find(dataset.id, "another") is None
    assert [run.name for run in (await gateway.experiments.page(dataset.id))[0]] == [run_name]

    items = {item.item_id: item for item in await gateway.experiments.results(experiment.id)}
    first, alarmed, failed = (items[f"{name}-{number}"] for number in range(3))
    assert (first.input, first.output, first.expected_output) == ({"n": 0}, {"answer": 0}, "0")
    assert (first.metadata, first.status) == ({"lang": "de"}, "succeeded")
    assert [(score.name, score.value, score.comment) for score in first.scores] == [("accuracy", 0.5, None)]
    assert (alarmed.status, alarmed.output) == ("succeeded", {"answer": 1})
    assert (failed.status, failed.error, failed.output) == ("failed", "boom", None)

    scores = await gateway.scores.find(trace_ids=[first.trace_id or ""])
    assert [(score.comment, score.observation_id) for score in scores] == [("got 0", first.observation_id)]


async def test_scores_of_many_traces_are_read_in_pages_and_groups(workspace: Workspace) -> None:
    traces = [uuid4().hex for _ in range(130)]
    writes = [
        Score(id=uuid4().hex, name="n", value=float(number), data_type="NUMERIC", trace_id=trace)
        for number, trace in enumerate(traces)
    ]
    assert await workspace.gateway.scores.write(writes) == {}
    scores = await workspace.gateway.scores.find(trace_ids=traces)
    assert {score.trace_id for score in scores} == set(traces)
    assert sorted(float(score.value) for score in scores) == [float(number) for number in range(130)]


async def test_comments_annotations_and_queues_are_read(workspace: Workspace, store: StoreConnection) -> None:
    sdk = Langfuse(public_key=store.public_key, secret_key=store.secret_key, base_url=store.base_url)
    with sdk.start_as_current_observation(name="answer", input={"q": 1}) as span:
        trace = span.trace_id
    sdk.flush()
    async with httpx.AsyncClient(base_url=store.base_url, auth=(store.public_key, store.secret_key)) as http:
        config = await http.post("/api/public/score-configs", json={"name": "human", "dataType": "NUMERIC"})
        config_id = config.json()["id"]
        annotation = {"traceId": trace, "name": "human", "value": 0.5, "source": "ANNOTATION", "comment": "curt"}
        await http.post("/api/public/scores", json={**annotation, "configId": config_id})
        project = (await http.get("/api/public/projects")).json()["data"][0]["id"]
        comment = {"projectId": project, "objectType": "TRACE", "objectId": trace, "content": "too rude"}
        await http.post("/api/public/comments", json=comment)
        queue = await http.post("/api/public/annotation-queues", json={"name": trace, "scoreConfigIds": [config_id]})
        await http.post(
            f"/api/public/annotation-queues/{queue.json()['id']}/items", json={"objectId": trace, "objectType": "TRACE"}
        )
    gateway = workspace.gateway
    [score] = await gateway.scores.find(trace_ids=[trace], source="ANNOTATION")
    assert (score.comment, score.source, score.config_id) == ("curt", "ANNOTATION", config_id)
    assert "human" in {config.name for config in await gateway.score_configs()}
    [found] = [comment for comment in await gateway.comments() if comment.object_id == trace]
    assert found.content == "too rude"
    [made] = [queue for queue in await gateway.queues.all() if queue.name == trace]
    assert [item.object_id for item in await gateway.queues.items(made.id)] == [trace]


async def test_model_prices_of_the_project_come_before_those_of_langfuse(
    workspace: Workspace, store: StoreConnection
) -> None:
    name = _unique("model")
    body = {"modelName": name, "matchPattern": f"^{name}$", "unit": "TOKENS", "inputPrice": 1e-6, "outputPrice": 2e-6}
    async with httpx.AsyncClient(base_url=store.base_url, auth=(store.public_key, store.secret_key)) as http:
        assert (await http.post("/api/public/models", json=body)).is_success, json.dumps(body)
    [price] = [price for price in await workspace.gateway.model_prices() if price.model_name == name]
    assert (price.input_price, price.output_price) == (1e-6, 2e-6)
