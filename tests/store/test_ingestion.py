"""From spans to observations, costs and experiment items."""

import gzip
import json
import uuid
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

from tests.store.spans import PROTOBUF, SpanSketch, experiment_attributes, export_request, send

ALL_FIELDS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"
START = 1_700_000_000_000

Json = Any


def _trace_id() -> str:
    return uuid.uuid4().hex


def _observations(client: httpx.Client, trace_id: str, **parameters: str) -> list[Json]:
    answer = client.get("/api/public/v2/observations", params={"traceId": trace_id, "fields": ALL_FIELDS, **parameters})
    assert answer.is_success, answer.text
    data: list[Json] = answer.json()["data"]
    return data


def _ingest(client: httpx.Client, attributes: dict[str, str | int | float | bool], **scope: str) -> Json:
    trace_id = _trace_id()
    span = SpanSketch(trace_id, "00000000000000aa", START, START + 1500, attributes=attributes, scope=scope)
    send(client, [span])
    [found] = _observations(client, trace_id)
    return found


def test_a_span_sent_again_is_one_observation_the_newest(client: httpx.Client) -> None:
    trace_id = _trace_id()
    for name in ("first", "second"):
        send(client, [SpanSketch(trace_id, "00000000000000aa", START, START + 1, name)])
    assert [each["name"] for each in _observations(client, trace_id)] == ["second"]


@pytest.mark.slow
def test_an_item_sent_again_is_one_item_of_one_experiment(client: httpx.Client) -> None:
    trace_id, span_id, experiment = _trace_id(), "00000000000000aa", uuid.uuid4().hex[:16]
    for _ in range(2):
        attributes = experiment_attributes(experiment, "run", "item", span_id)
        send(client, [SpanSketch(trace_id, span_id, START, START + 1, attributes=attributes)])
    parameters = {"fromStartTime": "2020-01-01T00:00:00Z", "id": experiment}
    [found] = client.get("/api/public/experiments", params=parameters).json()["data"]
    assert found["itemCount"] == 1


def test_an_experiment_spans_all_its_spans_and_follows_the_newest(client: httpx.Client) -> None:
    experiment = uuid.uuid4().hex[:16]
    for offset, name in ((5000, "new name"), (0, "old name")):
        attributes = experiment_attributes(experiment, name, f"item-{offset}", "00000000000000aa")
        span = SpanSketch(_trace_id(), "00000000000000aa", START + offset, START + offset + 10, attributes=attributes)
        send(client, [span])
    parameters = {"fromStartTime": "2020-01-01T00:00:00Z", "id": experiment}
    [found] = client.get("/api/public/experiments", params=parameters).json()["data"]
    assert (found["name"], found["itemCount"]) == ("new name", 2)
    assert (found["startTime"], found["endTime"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:25.010Z")


def test_json_is_read_as_protobuf_is(client: httpx.Client) -> None:
    trace_id = _trace_id()
    span = SpanSketch(trace_id, "00000000000000ab", START, START + 2, "json", "00000000000000aa", {"user.id": "u"})
    body = MessageToDict(export_request([span]))
    [written] = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    written |= {"traceId": trace_id, "spanId": "00000000000000ab", "parentSpanId": "00000000000000aa"}
    client.post("/api/public/otel/v1/traces", json=body).raise_for_status()
    [found] = _observations(client, trace_id)
    assert (found["id"], found["parentObservationId"], found["userId"]) == ("00000000000000ab", "00000000000000aa", "u")


def test_a_body_of_several_gzip_members_is_read_whole(client: httpx.Client) -> None:
    trace_id = _trace_id()
    requests = [export_request([SpanSketch(trace_id, span, START, START)]) for span in ("0" * 15 + "a", "0" * 15 + "b")]
    # Messages of protobuf that follow each other are one.
    content = b"".join(gzip.compress(request.SerializeToString()) for request in requests)
    headers = {**PROTOBUF, "content-encoding": "gzip"}
    client.post("/api/public/otel/v1/traces", content=content, headers=headers).raise_for_status()
    assert [each["id"][-1] for each in _observations(client, trace_id)] == ["b", "a"]


def test_attributes_of_the_trace_are_on_its_observations(client: httpx.Client) -> None:
    found = _ingest(
        client,
        {
            "session.id": "s-1",
            "user.id": "u-1",
            "langfuse.trace.name": "the trace",
            "langfuse.trace.tags": '["a", "b"]',
            "langfuse.trace.public": True,
            "langfuse.trace.metadata.plan": '"pro"',
            "langfuse.release": "r-1",
            "langfuse.version": "v-1",
            "langfuse.observation.type": "tool",
            "langfuse.observation.completion_start_time": '"2023-11-14T22:13:20.250Z"',
        },
    )
    expected = {
        "sessionId": "s-1",
        "userId": "u-1",
        "traceName": "the trace",
        "tags": ["a", "b"],
        "public": True,
        "release": "r-1",
        "version": "v-1",
        "type": "TOOL",
        "latency": 1.5,
        "timeToFirstToken": 0.25,
        "isRootObservation": True,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["metadata"]["plan"] == "pro"


def test_the_environment_comes_from_the_resource_when_the_span_has_none(client: httpx.Client) -> None:
    found = _ingest(client, {}, **{"resourceAttributes.deployment.environment.name": "staging"})
    assert found["environment"] == "staging"
    assert _ingest(client, {})["environment"] == "default"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"text"', "text"),
        ("3", 3),
        ('{"a":{"b":1}}', {"a": {"b": 1}}),
        ("no json", "no json"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ('"\\ud800"', '"\\ud800"'),
        ("[" * 5000, "[" * 200),
    ],
)
def test_metadata_is_decoded_where_it_is_json(client: httpx.Client, written: str, read: Json) -> None:
    found = _ingest(client, {"langfuse.observation.metadata.key": written})
    assert found["metadata"]["key"] == read


def test_an_attribute_whose_name_only_begins_as_that_of_metadata_is_none(client: httpx.Client) -> None:
    assert (
        _ingest(client, {"langfuse.observation.metadata_key": "x", "langfuse.trace.metadatakey": "y"})["metadata"] == {}
    )


@pytest.mark.parametrize("written", ["no json", "[1]", "3", "", "{"])
def test_metadata_of_an_experiment_that_is_no_object_does_not_hide_it(client: httpx.Client, written: str) -> None:
    experiment, trace_id = uuid.uuid4().hex[:16], _trace_id()
    attributes = experiment_attributes(experiment, experiment, "item", "00000000000000aa")
    attributes |= dict.fromkeys(("langfuse.experiment.metadata", "langfuse.experiment.item.metadata"), written)
    send(client, [SpanSketch(trace_id, "00000000000000aa", START, START, attributes=attributes)])
    query = {"fromStartTime": "2020-01-01T00:00:00Z", "fields": "core,metadata"}
    [run] = client.get("/api/public/experiments", params={**query, "id": experiment}).json()["data"]
    query["fields"] = "core,itemMetadata,experimentMetadata"
    [item] = client.get("/api/public/experiment-items", params={**query, "experimentId": experiment}).json()["data"]
    assert [run["metadata"], item["experimentItemMetadata"], item["experimentMetadata"]] == [{}, {}, {}]


def test_long_metadata_is_cut_unless_asked_for(client: httpx.Client) -> None:
    trace_id = _trace_id()
    attributes = {f"langfuse.observation.metadata.{key}": json.dumps("x" * 300) for key in "ab"}
    send(client, [SpanSketch(trace_id, "00000000000000aa", START, START, attributes=attributes)])
    [found] = _observations(client, trace_id, expandMetadata="b")
    assert [len(found["metadata"][key]) for key in "ab"] == [200, 300]


def test_attributes_that_langfuse_does_not_know_are_metadata(client: httpx.Client) -> None:
    found = _ingest(client, {"http.method": "GET", "retries": 2, "ratio": 0.5, "ok": True})
    expected = {
        "attributes.http.method": "GET",
        "attributes.retries": 2,
        "attributes.ratio": 0.5,
        "attributes.ok": True,
    }
    assert {name: found["metadata"][name] for name in expected} == expected


def _model(client: httpx.Client, **prices: float) -> str:
    name = f"model-{uuid.uuid4().hex[:8]}"
    body = {"modelName": name, "matchPattern": f"(?i)^({name})$", "unit": "TOKENS", **prices}
    answer = client.post("/api/public/models", json=body)
    assert answer.is_success, answer.text
    return name


def _generation(model: str, **attributes: str) -> dict[str, str | int | float | bool]:
    return {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": model,
        "langfuse.observation.usage_details": '{"input": 1000, "output": 200}',
        **{f"langfuse.observation.{name}": value for name, value in attributes.items()},
    }


def test_a_generation_costs_what_its_model_says(client: httpx.Client) -> None:
    model = _model(client, inputPrice=0.00001, outputPrice=0.00003)
    found = _ingest(client, _generation(model.upper()))
    assert found["usageDetails"] == {"input": 1000, "output": 200, "total": 1200}
    assert found["costDetails"] == pytest.approx({"input": 0.01, "output": 0.006, "total": 0.016})
    assert (found["totalCost"], found["inputPrice"]) == (pytest.approx(0.016), "0.00001")
    assert (found["model"], found["usagePricingTierName"]) == (model.upper(), "Standard")


OPENAI_DETAILS: Json = {
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
            {"input": 100, "output": 20, "total": 120},
        ),
        (
            {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120, "output_tokens_details": None},
            {"input": 100, "output": 20, "total": 120},
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, **OPENAI_DETAILS},
            {"input": 60, "input_cached_tokens": 40, "output": 15, "output_reasoning_tokens": 5, "total": 120},
        ),
        ({"input": 7, "audio": 3, "note": "x"}, {"input": 7, "audio": 3, "total": 10}),
    ],
)
def test_token_counts_as_openai_names_them_get_langfuses_names(client: httpx.Client, sent: Json, read: Json) -> None:
    found = _ingest(client, _generation("nobody-knows-me", usage_details=json.dumps(sent)))
    assert found["usageDetails"] == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ('{"input": 1e308, "output": 1e308}', {"input": 1e308, "output": 1e308}),
        ('{"input": 1%s, "output": 2}' % ("0" * 400), {"output": 2, "total": 2}),
        ('{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 1%s}' % ("0" * 400), None),
        ('{"input": true, "output": "3"}', {}),
    ],
    ids=["sum", "part", "openai", "no numbers"],
)  # fmt: skip
def test_counts_and_costs_beyond_any_number_are_left_out(client: httpx.Client, sent: str, read: Json) -> None:
    attributes = {"langfuse.observation.usage_details": sent, "langfuse.observation.cost_details": sent}
    found = _ingest(client, {**_generation("unknown"), **attributes})
    for details in (found["usageDetails"], found["costDetails"]):
        assert details == (read if read is not None else {"prompt_tokens": 1, "completion_tokens": 2, "total": 3})


def test_token_counts_as_openai_names_them_are_priced(client: httpx.Client) -> None:
    model = _model(client, inputPrice=0.00001, outputPrice=0.00003)
    sent = '{"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}'
    assert _ingest(client, _generation(model, usage_details=sent))["totalCost"] == pytest.approx(0.016)


def test_a_cost_that_was_sent_is_kept(client: httpx.Client) -> None:
    model = _model(client, inputPrice=1.0)
    found = _ingest(client, _generation(model, cost_details='{"input": 0.5, "output": 0.25}'))
    assert found["costDetails"] == {"input": 0.5, "output": 0.25, "total": 0.75}


def test_a_generation_of_an_unknown_model_has_no_cost(client: httpx.Client) -> None:
    found = _ingest(client, _generation("nobody-knows-me"))
    assert (found["costDetails"], found["inputCost"], found["modelId"]) == ({}, None, None)


def test_a_deleted_model_prices_nothing_more(client: httpx.Client) -> None:
    model = _model(client, totalPrice=0.001)
    assert _ingest(client, _generation(model))["totalCost"] == pytest.approx(1.2)
    [found] = [each for each in _all_models(client) if each["modelName"] == model]
    assert client.delete(f"/api/public/models/{found['id']}").status_code == 204
    assert client.get(f"/api/public/models/{found['id']}").status_code == 404
    assert _ingest(client, _generation(model))["totalCost"] == 0


def _all_models(client: httpx.Client) -> list[Json]:
    data: list[Json] = client.get("/api/public/models", params={"limit": 100}).json()["data"]
    return data


@pytest.mark.parametrize(
    "wrong",
    [
        {"matchPattern": "("},
        {"inputPrice": 1.0, "totalPrice": 1.0},
        {"inputPrice": -1.0},
        {"pricingTiers": []},
    ],
)
def test_a_model_that_makes_no_sense_is_refused(client: httpx.Client, wrong: dict[str, Json]) -> None:
    body = {"modelName": "m", "matchPattern": "m", **wrong}
    assert client.post("/api/public/models", json=body).status_code == 400


def test_an_item_embeds_scores_of_its_span_and_its_trace_and_no_others(client: httpx.Client) -> None:
    trace_id, experiment = _trace_id(), uuid.uuid4().hex[:16]
    attributes = experiment_attributes(experiment, "run", "item", "00000000000000aa")
    send(client, [SpanSketch(trace_id, "00000000000000aa", START, START + 1, attributes=attributes)])
    scores = [
        {"name": "trace", "value": 1, "traceId": trace_id},
        {"name": "on its span", "value": 1, "traceId": trace_id, "observationId": "00000000000000aa"},
        {"name": "on another", "value": 1, "traceId": trace_id, "observationId": "00000000000000bb"},
    ]
    client.post("/api/public/scores", json=scores).raise_for_status()
    [item] = _items(client, experiment)
    assert {score["name"] for score in item["scores"]} == {"trace", "on its span"}
    assert "comment" not in item["scores"][0]


def test_embedded_scores_are_cut_at_the_limit(client: httpx.Client) -> None:
    trace_id, experiment = _trace_id(), uuid.uuid4().hex[:16]
    attributes = experiment_attributes(experiment, "run", "item", "00000000000000aa")
    send(client, [SpanSketch(trace_id, "00000000000000aa", START, START + 1, attributes=attributes)])
    scores = [{"name": f"s{number}", "value": 1, "traceId": trace_id} for number in range(60)]
    client.post("/api/public/scores", json=scores).raise_for_status()
    assert [len(_items(client, experiment, **limit)[0]["scores"]) for limit in ({}, {"scoreLimit": "7"})] == [50, 7]


def _items(client: httpx.Client, experiment: str, **parameters: str) -> list[Json]:
    wanted = {
        "fromStartTime": "2020-01-01T00:00:00Z",
        "experimentId": experiment,
        "fields": "core,scores",
        **parameters,
    }
    data: list[Json] = client.get("/api/public/experiment-items", params=wanted).json()["data"]
    return data
