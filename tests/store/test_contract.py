"""What any Langfuse server does for the SDK: the embedded store by default, or the one of LFEXP_TEST_BASE_URL.

With LFEXP_TEST_BASE_URL, LFEXP_TEST_PUBLIC_KEY and LFEXP_TEST_SECRET_KEY set, the tests run against that server. They
make things under names of their own, and leave them. Servers show some writes late, so reading waits for what it wants.
"""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import httpx
import pytest
from langfuse import Evaluation, Langfuse, propagate_attributes
from langfuse.api import (
    CreateScoreRequest,
    DatasetItem,
    DatasetStatus,
    ExperimentItem,
    ExperimentItemsResponse,
    GetScoresV3Response,
    LangfuseAPI,
    NotFoundError,
    ObservationsV2Response,
    ObservationV2,
    ScoreV3,
    UnauthorizedError,
)
from langfuse.api.core import ApiError
from langfuse.experiment import ExperimentItemResult, ExperimentResult, LocalExperimentItem
from langfuse.model import ChatMessageDict
from pydantic import JsonValue

from lfexp_mcp.store.process import StoreConnection, ensure_store, stop_store
from tests.waiting import PATIENCE_S, wait_until

POLL_S = 0.1
ALL_ITEM_FIELDS = "core,dataset,io,metadata,itemMetadata,experimentMetadata,scores"
HARD_NAME = "a/b, \"c\" 'd' é漢🙂 %2F?#"

T = TypeVar("T")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreConnection]:
    """The server under test."""
    if url := os.environ.get("LFEXP_TEST_BASE_URL"):
        yield StoreConnection(url, os.environ["LFEXP_TEST_PUBLIC_KEY"], os.environ["LFEXP_TEST_SECRET_KEY"])
        return
    folder = tmp_path_factory.mktemp("contract")
    yield ensure_store(folder)
    stop_store(folder)


@pytest.fixture(scope="module")
def langfuse(target: StoreConnection) -> Iterator[Langfuse]:
    client = Langfuse(public_key=target.public_key, secret_key=target.secret_key, base_url=target.base_url, timeout=30)
    yield client
    client.shutdown()


@pytest.fixture(scope="module")
def api(langfuse: Langfuse) -> LangfuseAPI:
    return langfuse.api


@pytest.fixture(scope="module")
def http(target: StoreConnection) -> Iterator[httpx.Client]:
    keys = (target.public_key, target.secret_key)
    with httpx.Client(base_url=f"{target.base_url}/api/public", auth=keys, timeout=PATIENCE_S) as client:
        yield client


def unique(name: str) -> str:
    return f"lfexp-{name}-{uuid.uuid4().hex[:12]}"


def eventually(read: Callable[[], T], enough: Callable[[T], bool]) -> T:
    """Read until the server shows what was written."""
    return wait_until(read, enough, interval_s=POLL_S)


def yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


def items_of(api: LangfuseAPI, experiment_id: str, count: int, scores: int = 0) -> list[ExperimentItem]:
    def read() -> list[ExperimentItem]:
        page: ExperimentItemsResponse = api.experiments.list_items(
            from_start_time=yesterday(), experiment_id=experiment_id, fields=ALL_ITEM_FIELDS, limit=100
        )
        return page.data

    def complete(items: list[ExperimentItem]) -> bool:
        return len(items) == count and sum(len(item.scores or ()) for item in items) == scores

    return eventually(read, complete)


def scores_of(
    api: LangfuseAPI, count: int, *, trace_id: str | None = None, experiment_id: str | None = None
) -> list[ScoreV3]:
    def read() -> list[ScoreV3]:
        page: GetScoresV3Response = api.scores.get_many(
            trace_id=trace_id, experiment_id=experiment_id, fields="details,subject,annotation", limit=100
        )
        return page.data

    return eventually(read, lambda scores: len(scores) == count)


def make_dataset(langfuse: Langfuse, items: int = 0) -> str:
    name = unique("dataset")
    langfuse.create_dataset(name=name)
    for number in range(items):
        langfuse.create_dataset_item(
            dataset_name=name,
            id=f"{name}-{number}",
            input={"number": number},
            expected_output={"double": 2 * number},
            metadata={"region": "eu", "nested": {"a": {"b": number}}},
        )
    return name


def double(*, item: LocalExperimentItem | DatasetItem, **_: object) -> JsonValue:
    assert not isinstance(item, dict)
    number = item.input["number"]
    if number == 1:
        raise ValueError("boom")
    return None if number == 2 else {"double": 2 * number}


def is_right(*, output: JsonValue, expected_output: JsonValue, **_: object) -> list[Evaluation]:
    right = output == expected_output
    return [
        Evaluation(name="right", value=float(right), comment=f"got {output}", metadata={"judge": "exact"}),
        Evaluation(name="certain", value=1, data_type="BOOLEAN"),
        Evaluation(name="verdict", value="pass" if right else "fail"),
    ]


def mean_right(*, item_results: list[ExperimentItemResult], **_: object) -> Evaluation:
    return Evaluation(name="mean_right", value=1 / max(1, len(item_results)), comment="over the items")


def run(langfuse: Langfuse, dataset: str, run_name: str) -> ExperimentResult:
    result = langfuse.get_dataset(dataset).run_experiment(
        name="contract",
        run_name=run_name,
        description="what it is for",
        task=double,
        evaluators=[is_right],
        run_evaluators=[mean_right],
        metadata={"model": "m-1", "settings": {"temperature": 0}},
    )
    langfuse.flush()
    return result


def test_right_keys_are_accepted_and_name_one_project(langfuse: Langfuse, api: LangfuseAPI) -> None:
    assert langfuse.auth_check()
    assert len(api.projects.get().data) == 1


def test_wrong_keys_are_refused(target: StoreConnection) -> None:
    with httpx.Client() as http:
        stranger = LangfuseAPI(
            base_url=target.base_url, username=target.public_key, password="sk-lf-wrong", httpx_client=http
        )
        with pytest.raises(UnauthorizedError):
            stranger.datasets.list()


def test_creating_a_dataset_again_changes_it(langfuse: Langfuse, api: LangfuseAPI) -> None:
    name = unique("again")
    first = langfuse.create_dataset(name=name, description="first", metadata={"n": 1})
    second = langfuse.create_dataset(name=name, description="second")
    assert second.id == first.id
    assert api.datasets.get(name).description == "second"


def test_an_unknown_dataset_is_not_found(langfuse: Langfuse) -> None:
    with pytest.raises(NotFoundError):
        langfuse.get_dataset(unique("nowhere"))


def test_a_dataset_keeps_any_name_without_a_percent_sign(langfuse: Langfuse) -> None:
    name = f"{unique('hard')} {HARD_NAME.replace('%', '')}"
    langfuse.create_dataset(name=name)
    langfuse.create_dataset_item(dataset_name=name, input="question")
    read = langfuse.get_dataset(name)
    assert (read.name, [item.input for item in read.items]) == (name, ["question"])


def test_the_path_of_a_dataset_is_decoded_twice(langfuse: Langfuse, http: httpx.Client) -> None:
    for ending in ("100% sure", "a%2Fb", "%", HARD_NAME):
        name = f"{unique('percent')} {ending}"
        langfuse.create_dataset(name=name)
        twice = http.get(f"/v2/datasets/{quote(quote(name, safe=''), safe='')}")
        assert (twice.status_code, twice.json()["name"]) == (200, name)
    slash = unique("slash")
    langfuse.create_dataset(name=f"{slash}/b")
    assert http.get(f"/v2/datasets/{slash}%252Fb").json()["name"] == f"{slash}/b"
    assert http.get("/v2/datasets/100%25%20sure").status_code == 500


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("7500", 7500),
        ("0.10", 0.1),
        (" -12\n", -12),
        ("true", True),
        ("null", None),
        ("", None),
        ('{"a":1}', {"a": 1}),
        ('["1"]', ["1"]),
        ('"quoted"', "quoted"),
        ("18 apples", "18 apples"),
        ("01", "01"),
        ("NaN", "NaN"),
        ("True", "True"),
        ("'a'", "'a'"),
        ("a\0b", "ab"),
        ("\x1b[1mbold\x1b[0m\x7f\x85\t\r\n\f", "[1mbold[0m\t\r\n\f"),
    ],
)
def test_a_text_that_is_json_becomes_what_it_says_unless_encoded_once_more(
    langfuse: Langfuse, text: str, read: JsonValue
) -> None:
    name = unique("texts")
    langfuse.create_dataset(name=name)
    langfuse.create_dataset_item(dataset_name=name, id=f"{name}-plain", input=text, expected_output=text)
    encoded = json.dumps(text)
    langfuse.create_dataset_item(dataset_name=name, id=f"{name}-encoded", input=encoded, expected_output=encoded)
    langfuse.create_dataset_item(dataset_name=name, id=f"{name}-within", input={"a": text}, metadata={"a": [text]})
    items = {item.id.removeprefix(f"{name}-"): item for item in langfuse.get_dataset(name).items}
    stored, exact = items["plain"], re.sub(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]", "", text)
    assert (stored.input, stored.expected_output) == (read, read)
    assert type(stored.input) is type(read)
    assert (items["encoded"].input, items["encoded"].expected_output) == (exact, exact)
    assert (items["within"].input, items["within"].metadata) == ({"a": exact}, {"a": [exact]})


def test_dataset_items_are_listed_newest_first(langfuse: Langfuse) -> None:
    name = make_dataset(langfuse, items=3)
    assert [item.input["number"] for item in langfuse.get_dataset(name).items] == [2, 1, 0]


def test_all_pages_of_a_dataset_are_read(langfuse: Langfuse) -> None:
    name = make_dataset(langfuse, items=5)
    read = langfuse.get_dataset(name, fetch_items_page_size=2)
    assert {item.input["number"] for item in read.items} == set(range(5))


@pytest.mark.slow
def test_an_item_id_belongs_to_one_dataset(langfuse: Langfuse) -> None:
    first, second = make_dataset(langfuse, items=1), make_dataset(langfuse)
    with pytest.raises(ApiError) as refused:
        langfuse.create_dataset_item(dataset_name=second, id=f"{first}-0", input=1)
    assert refused.value.status_code == 409


def test_an_item_without_input_is_stored(langfuse: Langfuse) -> None:
    name = make_dataset(langfuse)
    langfuse.create_dataset_item(dataset_name=name, expected_output="only this")
    [item] = langfuse.get_dataset(name).items
    assert (item.input, item.expected_output) == (None, "only this")


def test_an_item_tells_the_trace_it_came_from(langfuse: Langfuse, api: LangfuseAPI) -> None:
    name = make_dataset(langfuse)
    trace_id, span_id = Langfuse.create_trace_id(), "00000000000000ab"
    made = langfuse.create_dataset_item(
        dataset_name=name, input=1, source_trace_id=trace_id, source_observation_id=span_id
    )
    read = api.dataset_items.get(made.id)
    assert (read.source_trace_id, read.source_observation_id) == (trace_id, span_id)


def test_an_item_can_be_read_as_it_was(langfuse: Langfuse) -> None:
    name = make_dataset(langfuse)
    before = langfuse.create_dataset_item(dataset_name=name, id=f"{name}-0", input="before")

    def change() -> datetime:
        return langfuse.create_dataset_item(dataset_name=name, id=f"{name}-0", input="after").updated_at

    eventually(change, lambda moment: moment > before.updated_at)
    then = langfuse.get_dataset(name, version=before.updated_at)
    assert [item.input for item in then.items] == ["before"]
    assert [item.input for item in langfuse.get_dataset(name).items] == ["after"]


def test_an_archived_item_is_not_listed(langfuse: Langfuse, api: LangfuseAPI) -> None:
    name = make_dataset(langfuse, items=2)
    langfuse.create_dataset_item(dataset_name=name, id=f"{name}-0", status=DatasetStatus("ARCHIVED"))
    assert [item.id for item in langfuse.get_dataset(name).items] == [f"{name}-1"]
    assert api.dataset_items.get(f"{name}-0").input == {"number": 0}


def test_a_deleted_item_is_gone(langfuse: Langfuse, api: LangfuseAPI) -> None:
    name = make_dataset(langfuse, items=1)
    api.dataset_items.delete(f"{name}-0")
    assert langfuse.get_dataset(name).items == []
    with pytest.raises(NotFoundError):
        api.dataset_items.get(f"{name}-0")


def test_a_prompt_label_belongs_to_one_version(langfuse: Langfuse, api: LangfuseAPI) -> None:
    name = f"{unique('prompt')}/in a folder"
    langfuse.create_prompt(name=name, prompt="one {{output}}", labels=["production", "mine"], config={"n": 1})
    langfuse.create_prompt(name=name, prompt="two {{output}}", labels=["production"])
    newest = langfuse.get_prompt(name, cache_ttl_seconds=0)
    assert (newest.version, newest.prompt) == (2, "two {{output}}")
    assert set(newest.labels) == {"production", "latest"}
    pinned = langfuse.get_prompt(name, label="mine", cache_ttl_seconds=0)
    assert (pinned.version, pinned.labels, pinned.config) == (1, ["mine"], {"n": 1})
    assert langfuse.get_prompt(name, version=1, cache_ttl_seconds=0).prompt == "one {{output}}"
    langfuse.update_prompt(name=name, version=1, new_labels=["production"])
    assert langfuse.get_prompt(name, cache_ttl_seconds=0).version == 1


def test_a_chat_prompt_keeps_its_messages(langfuse: Langfuse) -> None:
    name = unique("chat")
    system: ChatMessageDict = {"role": "system", "content": "Judge."}
    user: ChatMessageDict = {"role": "user", "content": "{{output}}"}
    langfuse.create_prompt(name=name, type="chat", prompt=[system, user], labels=["production"])
    read = langfuse.get_prompt(name, type="chat", cache_ttl_seconds=0)
    assert read.compile(output="x") == [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": "x"},
    ]


def test_an_unknown_prompt_is_not_found(api: LangfuseAPI) -> None:
    with pytest.raises(NotFoundError) as missing:
        api.prompts.get("lfexp-nowhere")
    assert missing.value.body["message"] == "Prompt not found: 'lfexp-nowhere' with label 'production'"


def test_prompts_are_listed_by_tens(langfuse: Langfuse, api: LangfuseAPI) -> None:
    tag = unique("tag")
    for number in range(11):
        langfuse.create_prompt(name=f"{tag}-{number:02d}", prompt="p", tags=[tag], labels=["production"])
    first, second = api.prompts.list(tag=tag), api.prompts.list(tag=tag, page=2)
    assert (first.meta.limit, first.meta.total_items, len(first.data), len(second.data)) == (10, 11, 10, 1)
    assert {prompt.name for prompt in [*first.data, *second.data]} == {f"{tag}-{number:02d}" for number in range(11)}
    [found] = api.prompts.list(name=f"{tag}-03", label="production").data
    assert (found.versions, set(found.labels)) == ([1], {"production", "latest"})


@pytest.mark.slow
def test_an_experiment_is_read_back_as_it_ran(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=4)
    result = run(langfuse, dataset, "first")
    assert result.experiment_url is not None
    assert len(result.item_results) == 3
    items = {item.experiment_item_id: item for item in items_of(api, result.experiment_id, 4, scores=9)}
    assert [items[f"{dataset}-{number}"].output for number in range(4)] == [
        '{"double": 0}',
        "Error: boom",
        "",
        '{"double": 6}',
    ]
    assert [items[f"{dataset}-{number}"].level for number in range(2)] == ["DEFAULT", "ERROR"]
    item = items[f"{dataset}-3"]
    assert (item.input, item.expected_output) == ('{"number": 3}', '{"double": 6}')
    assert (item.environment, item.experiment_name) == ("sdk-experiment", "first")
    assert item.experiment_description == "what it is for"
    assert item.experiment_item_metadata == {"region": "eu", "nested.a.b": "3"}
    assert item.experiment_metadata == {"model": "m-1", "settings.temperature": "0"}
    assert item.metadata is not None
    assert item.metadata["region"] == '"eu"'


def test_scores_of_an_item_hang_on_its_task_span(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=1)
    result = run(langfuse, dataset, "scored")
    [item] = items_of(api, result.experiment_id, 1, scores=3)
    embedded = {score.name: score.value for score in item.scores or ()}
    assert embedded == {"right": 1, "certain": True, "verdict": "pass"}
    scores = {score.name: score for score in scores_of(api, 3, trace_id=item.trace_id)}
    assert scores["right"].comment == "got {'double': 0}"
    assert scores["right"].metadata == {"judge": "exact"}
    subject = scores["right"].subject
    assert subject is not None
    assert (subject.kind, subject.id) == ("observation", item.id)
    assert [scores[name].data_type for name in ("right", "certain", "verdict")] == ["NUMERIC", "BOOLEAN", "CATEGORICAL"]


def test_scores_of_a_run_are_found_by_its_id(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=1)
    result = run(langfuse, dataset, "run level")
    [score] = scores_of(api, 1, experiment_id=result.experiment_id)
    assert (score.name, score.value, score.comment) == ("mean_right", 1, "over the items")


def test_the_same_run_name_is_the_same_experiment(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=2)
    first, second = run(langfuse, dataset, "twice"), run(langfuse, dataset, "twice")
    assert first.experiment_id == second.experiment_id
    items = items_of(api, first.experiment_id, 4, scores=6)
    assert sorted(item.experiment_item_id for item in items) == sorted([f"{dataset}-0", f"{dataset}-1"] * 2)
    [experiment] = api.experiments.list(from_start_time=yesterday(), id=first.experiment_id).data
    assert (experiment.item_count, experiment.name) == (4, "twice")
    of_all_datasets = api.experiments.list(from_start_time=yesterday(), limit=100).data
    assert experiment.dataset_id in {each.dataset_id for each in of_all_datasets}


def test_a_run_name_with_a_comma_is_found_by_id_and_filter_only(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=1)
    name = f"{unique('run')}, with {HARD_NAME}"
    result = run(langfuse, dataset, name)
    items_of(api, result.experiment_id, 1, scores=3)
    since = yesterday()
    assert [found.name for found in api.experiments.list(from_start_time=since, id=result.experiment_id).data] == [name]
    assert api.experiments.list(from_start_time=since, name=name).data == []
    condition = {"type": "string", "column": "name", "operator": "contains", "value": name.split(",")[0]}
    [found] = api.experiments.list(from_start_time=since, filter=json.dumps([condition])).data
    assert found.id == result.experiment_id


def test_pages_of_items_hold_each_item_once(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=5)
    result = run(langfuse, dataset, "paged")
    expected = {item.id for item in items_of(api, result.experiment_id, 5, scores=12)}
    seen: list[str] = []
    cursor = None
    while True:
        page = api.experiments.list_items(
            from_start_time=yesterday(), experiment_id=result.experiment_id, limit=2, cursor=cursor
        )
        seen += [item.id for item in page.data]
        cursor = page.meta.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(expected)


def test_an_unknown_experiment_is_an_empty_list(api: LangfuseAPI) -> None:
    assert api.experiments.list(from_start_time=yesterday(), id=unique("nothing")).data == []
    assert api.experiments.list_items(from_start_time=yesterday(), experiment_id=unique("nothing")).data == []


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/experiments", {}),
        ("/experiments", {"fromStartTime": "2026-01-01T00:00:00Z", "limit": "101"}),
        ("/experiment-items", {"fromStartTime": "2026-01-01T00:00:00Z", "limit": "101"}),
        ("/experiment-items", {"fromStartTime": "2026-01-01T00:00:00Z", "fields": "everything"}),
        ("/v3/scores", {"limit": "101"}),
        ("/v3/scores", {"traceId": "a", "experimentId": "b"}),
        ("/v2/observations", {"limit": "1001"}),
        ("/v2/observations", {"parseIoAsJson": "true"}),
    ],
)
def test_a_request_beyond_the_limits_is_refused(http: httpx.Client, path: str, parameters: dict[str, str]) -> None:
    assert http.get(path, params=parameters).status_code == 400


def test_a_list_of_scores_is_accepted_for_an_unknown_trace(api: LangfuseAPI) -> None:
    trace_id = Langfuse.create_trace_id()
    requests = [CreateScoreRequest(name=f"s{number}", value=number, trace_id=trace_id) for number in range(3)]
    api.scores.create(request=requests)
    assert {score.name for score in scores_of(api, 3, trace_id=trace_id)} == {"s0", "s1", "s2"}


def test_posting_a_score_again_keeps_the_old_comment(http: httpx.Client, api: LangfuseAPI) -> None:
    trace_id, score_id = Langfuse.create_trace_id(), uuid.uuid4().hex
    body = {"id": score_id, "name": "s", "value": 0.25, "traceId": trace_id}
    assert http.post("/scores", json={**body, "comment": "kept"}).json() == {"id": score_id}
    scores_of(api, 1, trace_id=trace_id)
    assert http.post("/scores", json={**body, "value": 0.75}).json() == {"id": score_id}

    def read() -> list[ScoreV3]:
        page: GetScoresV3Response = api.scores.get_many(trace_id=trace_id, fields="details")
        return page.data

    [score] = eventually(read, lambda scores: [score.value for score in scores] == [0.75])
    assert score.comment == "kept"


def test_true_is_one_and_not_a_number_is_text(langfuse: Langfuse, api: LangfuseAPI) -> None:
    trace_id = Langfuse.create_trace_id()
    langfuse.create_score(trace_id=trace_id, name="bool", value=True)
    langfuse.create_score(trace_id=trace_id, name="nan", value=float("nan"))
    langfuse.flush()
    scores = {score.name: (score.data_type, score.value) for score in scores_of(api, 2, trace_id=trace_id)}
    assert scores == {"bool": ("NUMERIC", 1.0), "nan": ("CATEGORICAL", "NaN")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": 2, "dataType": "BOOLEAN"},
        {"value": "x" * 501, "dataType": "TEXT"},
        {"value": 1, "source": "ANNOTATION"},
    ],
    ids=["boolean beyond 1", "text too long", "annotation without config"],
)
def test_a_score_that_breaks_a_rule_is_refused(http: httpx.Client, wrong: dict[str, str | int]) -> None:
    body = {"name": "s", "traceId": Langfuse.create_trace_id(), **wrong}
    assert http.post("/scores", json=body).status_code == 400


def test_a_config_names_its_scores_and_drops_values_beyond_its_range(http: httpx.Client, api: LangfuseAPI) -> None:
    config = api.score_configs.create(name=unique("config"), data_type="NUMERIC", min_value=0, max_value=1)
    trace_id = Langfuse.create_trace_id()
    body = {"traceId": trace_id, "configId": config.id}
    assert http.post("/scores", json={**body, "name": "beyond", "value": 7}).status_code == 200
    annotation = {**body, "name": "other", "value": 0.5, "source": "ANNOTATION", "comment": "half"}
    assert http.post("/scores", json=annotation).status_code == 200
    [score] = scores_of(api, 1, trace_id=trace_id)
    assert (score.name, score.value, score.source, score.config_id, score.comment) == (
        config.name,
        0.5,
        "ANNOTATION",
        config.id,
        "half",
    )


def test_comments_are_listed_by_what_they_are_on(langfuse: Langfuse, api: LangfuseAPI) -> None:
    dataset = make_dataset(langfuse, items=1)
    [item] = items_of(api, run(langfuse, dataset, "commented").experiment_id, 1, scores=3)
    project = api.projects.get().data[0].id
    for kind, object_id in (("TRACE", item.trace_id), ("OBSERVATION", item.id)):
        api.comments.create(project_id=project, object_type=kind, object_id=object_id, content=f"on {kind}")
        [comment] = api.comments.get(object_type=kind, object_id=object_id).data
        assert comment.content == f"on {kind}"
    with pytest.raises(ApiError) as refused:
        api.comments.create(project_id=project, object_type="TRACE", object_id=item.trace_id, content="x" * 5001)
    assert refused.value.status_code == 400


def test_items_of_an_annotation_queue_are_listed_by_status(api: LangfuseAPI) -> None:
    config = api.score_configs.create(name=unique("config"), data_type="BOOLEAN")
    queue = api.annotation_queues.create_queue(name=unique("queue"), score_config_ids=[config.id])
    made = [
        api.annotation_queues.create_queue_item(queue.id, object_id=Langfuse.create_trace_id(), object_type="TRACE")
        for _ in range(2)
    ]
    api.annotation_queues.update_queue_item(queue.id, made[0].id, status="COMPLETED")
    pending = api.annotation_queues.list_queue_items(queue.id, status="PENDING").data
    assert [item.id for item in pending] == [made[1].id]
    done = api.annotation_queues.get_queue_item(queue.id, made[0].id)
    assert done.completed_at is not None
    api.annotation_queues.delete_queue_item(queue.id, made[1].id)
    assert len(api.annotation_queues.list_queue_items(queue.id).data) == 1


def test_a_trace_of_production_is_told_from_those_of_experiments(langfuse: Langfuse, api: LangfuseAPI) -> None:
    name = unique("trace")
    with langfuse.start_as_current_observation(name=name, input={"q": 1}) as root:
        with root.start_as_current_observation(name="child", as_type="generation", model="m-1", output="a") as child:
            child.update(usage_details={"input": 3, "output": 4})
        root.update(output="answer", metadata={"user": "u", "depth": {"a": 1}})
    langfuse.flush()
    fields = "core,basic,io,metadata,model,usage,trace_context"

    def read() -> list[ObservationV2]:
        page: ObservationsV2Response = api.observations.get_many(trace_id=root.trace_id, fields=fields)
        return page.data

    found = {span.name: span for span in eventually(read, lambda spans: len(spans) == 2)}
    assert [found[each].is_root_observation for each in (name, "child")] == [True, False]
    assert (found[name].input, found[name].output, found[name].environment) == ('{"q": 1}', "answer", "default")
    metadata = found[name].metadata or {}
    assert (metadata["user"], metadata["depth"]) == ("u", {"a": 1})
    assert (found["child"].type, found["child"].model) == ("GENERATION", "m-1")
    assert (found["child"].usage_details or {})["input"] == 3
    roots = api.observations.get_many(trace_id=root.trace_id, is_root_observation=True, environment=["default"]).data
    assert [span.name for span in roots] == [name]


def test_traces_are_filtered_by_what_propagates_to_their_root(langfuse: Langfuse, api: LangfuseAPI) -> None:
    user = f"user {uuid.uuid4()}"
    with (
        propagate_attributes(user_id=user, session_id=f"of {user}", tags=["a", "x,y"], environment="staging"),
        langfuse.start_as_current_observation(name="root", input="q") as root,
        langfuse.start_as_current_observation(name="inner"),
    ):
        pass
    langfuse.flush()
    started = datetime.now(UTC)
    is_root = {"type": "boolean", "column": "isRootObservation", "operator": "=", "value": True}
    of_user = {"type": "string", "column": "userId", "operator": "=", "value": user}

    def found(*conditions: dict[str, JsonValue]) -> list[str | None]:
        asked = json.dumps([is_root, of_user, *conditions])
        return [row.id for row in api.observations.get_many(filter=asked, fields="core,basic,trace_context").data]

    eventually(found, lambda ids: ids == [root.id])
    cases: list[tuple[str, str, str, JsonValue, JsonValue]] = [
        ("string", "sessionId", "=", f"of {user}", "of another"),
        ("arrayOptions", "traceTags", "all of", ["a", "x,y"], ["a", "b"]),
        ("stringOptions", "environment", "any of", ["default", "staging"], ["default"]),
        ("stringOptions", "traceId", "any of", [root.trace_id], ["0" * 32]),
        ("datetime", "startTime", "<", (started + timedelta(hours=1)).isoformat(), "2020-01-01T00:00:00Z"),
        ("datetime", "startTime", ">=", "2020-01-01T00:00:00Z", (started + timedelta(hours=1)).isoformat()),
    ]
    for kind, column, operator, holds, fails in cases:
        condition: dict[str, JsonValue] = {"type": kind, "column": column, "operator": operator}
        assert found({**condition, "value": holds}) == [root.id], column
        assert found({**condition, "value": fails}) == [], column
