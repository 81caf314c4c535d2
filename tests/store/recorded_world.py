"""A store filled so that the requests recorded on a real server find in it what they found there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from lfexp_mcp.store.times import parse_ms
from tests.store.spans import SpanSketch, send

RECORDED = Path(__file__).parent / "recorded"
API = "/api/public"

Json = Any
"""Recorded answers are read as they come; their types are what the tests compare."""


def recorded(name: str) -> Json:
    """Read a recorded answer."""
    return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))


@dataclass
class RecordedWorld:
    """The client of the filled store, and its ids for the ids recorded."""

    client: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)

    def translate(self, text: str) -> str:
        """Replace the ids that the real server made by those of the store."""
        for theirs, ours in self.ids.items():
            text = text.replace(theirs, ours)
        return text

    def fill(self) -> None:
        """Make everything that was recorded."""
        self._make_datasets()
        self._make_prompts()
        self._make_score_configs()
        send(self.client, self._spans())
        self._make_scores()
        self._make_comments_and_queues()
        self._make_models()

    def _post(self, path: str, body: Json) -> Json:
        answer = self.client.post(f"{API}{path}", json=json.loads(self.translate(json.dumps(body))))
        assert answer.is_success, answer.text
        return answer.json()

    def _make_datasets(self) -> None:
        for dataset in reversed(recorded("datasets")["data"]):
            wanted = {name: dataset[name] for name in ("name", "description", "metadata", "inputSchema")}
            self.ids[dataset["id"]] = self._post("/v2/datasets", wanted)["id"]
        for item in reversed(recorded("dataset-items")["data"]):
            wanted = {name: item[name] for name in ("id", "datasetName", "input", "expectedOutput", "metadata")}
            self._post("/dataset-items", wanted)

    def _make_prompts(self) -> None:
        prompt = recorded("prompts_get")
        names = ("name", "prompt", "type", "config", "tags", "commitMessage")
        wanted = {name: prompt[name] for name in names}
        made = [self._post("/v2/prompts", {**wanted, "labels": ["production"]}) for _ in range(prompt["version"])]
        self.ids[prompt["id"]] = made[-1]["id"]

    def _make_score_configs(self) -> None:
        for config in reversed(recorded("score-configs")["data"]):
            names = ("name", "dataType", "description", "minValue", "maxValue", "categories")
            self.ids[config["id"]] = self._post("/score-configs", {name: config[name] for name in names})["id"]

    def _spans(self) -> Iterator[SpanSketch]:
        items = {
            (item["traceId"], item["id"]): item
            for name in (
                "experiment-items_page1_limit2",
                "experiment-items",
                "experiment-items_same_run_name_twice_with_failures",
                "experiment-items_local_data",
            )
            for item in recorded(name)["data"]
        }
        for experiment in recorded("experiments_all_fields")["data"]:
            known = [item for item in items.values() if item["experimentId"] == experiment["id"]]
            yield from self._unrecorded_spans(experiment, experiment["itemCount"] - len(known))
        seen = recorded("observations_trace_all_fields")["data"]
        parents = {(span["traceId"], span["id"]): span["parentObservationId"] for span in seen}
        for key, item in items.items():
            yield self._item_span(item, parents.get(key, "00000000000000aa"))
        for span in seen:
            if (span["traceId"], span["id"]) not in items:
                yield self._observation_span(span, "a5409348d64eab2c", "run-1-shim1")
        for span in recorded("observations")["data"]:
            yield self._observation_span(span, "566390f1b04b066e", "big-run-1795387728")

    def _unrecorded_spans(self, experiment: Json, items: int) -> Iterator[SpanSketch]:
        """Make the spans that were there but not recorded: one as long as the experiment, and its other items."""
        start, end = parse_ms(experiment["startTime"]), parse_ms(experiment["endTime"])
        for number in range(items + 1):
            span_id = f"{number + 1:016x}"
            attributes = {
                **self._experiment(experiment["id"], experiment["name"], experiment["datasetId"]),
                "langfuse.experiment.metadata": json.dumps(experiment["metadata"]),
                "langfuse.experiment.item.id": f"unrecorded-{number}",
                "langfuse.experiment.item.root_observation_id": span_id if number else "",
            }
            yield SpanSketch(f"{experiment['id']}{span_id}", span_id, start, end, "unrecorded", None, attributes)

    def _experiment(self, experiment_id: str, name: str, dataset_id: str | None) -> dict[str, str]:
        attributes = {"langfuse.experiment.id": experiment_id, "langfuse.experiment.name": name}
        if dataset_id is not None:
            attributes["langfuse.experiment.dataset.id"] = self.ids[dataset_id]
        return attributes

    def _item_span(self, item: Json, parent_id: str) -> SpanSketch:
        foreign, own = _split_metadata(item.get("metadata", {}))
        attributes = {
            **self._experiment(item["experimentId"], item["experimentName"], item["experimentDatasetId"]),
            "langfuse.experiment.item.id": item["experimentItemId"],
            "langfuse.experiment.item.root_observation_id": item["id"],
            "langfuse.experiment.item.expected_output": item.get("expectedOutput", ""),
            "langfuse.experiment.item.metadata": json.dumps(item.get("experimentItemMetadata", {})),
            "langfuse.experiment.metadata": json.dumps(item.get("experimentMetadata", {})),
            "langfuse.experiment.description": item.get("experimentDescription", ""),
            "langfuse.environment": item["environment"],
            "langfuse.observation.level": item["level"],
            "langfuse.observation.input": item.get("input", ""),
            "langfuse.observation.output": item.get("output", ""),
            **{f"langfuse.observation.metadata.{name}": self.translate(value) for name, value in own.items()},
        }
        return SpanSketch(
            item["traceId"],
            item["id"],
            parse_ms(item["startTime"]),
            parse_ms(item["endTime"]),
            "experiment-item-task",
            parent_id,
            attributes,
            foreign,
        )

    def _observation_span(self, span: Json, experiment_id: str, experiment_name: str) -> SpanSketch:
        foreign, own = _split_metadata(span.get("metadata", {}))
        datasets = {each["id"]: each["datasetId"] for each in recorded("experiments")["data"]}
        attributes = {
            **self._experiment(experiment_id, experiment_name, datasets[experiment_id]),
            "langfuse.experiment.metadata": json.dumps({"model": "gpt-x", "n": 1} if own else {}),
            "langfuse.environment": span["environment"],
            "langfuse.observation.type": span["type"].lower(),
            "langfuse.observation.level": span["level"],
        }
        for name in ("input", "output"):
            if span.get(name) is not None:
                attributes[f"langfuse.observation.{name}"] = span[name]
        for name, value in own.items():
            attributes[f"langfuse.observation.metadata.{name}"] = self.translate(json.dumps(value))
        return SpanSketch(
            span["traceId"],
            span["id"],
            parse_ms(span["startTime"]),
            parse_ms(span["endTime"]),
            span["name"],
            span["parentObservationId"],
            attributes,
            foreign,
        )

    def _make_scores(self) -> None:
        embedding = [
            "experiments_all_fields",
            "experiment-items",
            "experiment-items_local_data",
            "experiment-items_same_run_name_twice_with_failures",
        ]
        scores = {
            score["id"]: score for name in embedding for each in recorded(name)["data"] for score in each["scores"]
        }
        for name in ("scores_v3", "scores_v3_by_experiment", "scores_v3_annotation", "scores_v3_by_trace"):
            scores |= {score["id"]: score for score in recorded(name)["data"]}
        self._post("/scores", [_score_body(score) for score in scores.values()])

    def _make_comments_and_queues(self) -> None:
        for comment in recorded("comments")["data"]:
            names = ("projectId", "objectType", "objectId", "content")
            self.ids[comment["id"]] = self._post("/comments", {name: comment[name] for name in names})["id"]
        queue = recorded("annotation-queues_get")
        wanted = {name: queue[name] for name in ("name", "description", "scoreConfigIds")}
        self.ids[queue["id"]] = self._post("/annotation-queues", wanted)["id"]
        for item in reversed(recorded("annotation-queues_items")["data"]):
            wanted = {name: item[name] for name in ("objectId", "objectType")}
            path = f"/annotation-queues/{self.ids[queue['id']]}/items"
            self.ids[item["id"]] = self._post(path, wanted)["id"]

    def _make_models(self) -> None:
        names = ("modelName", "matchPattern", "tokenizerId", "tokenizerConfig", "unit", "inputPrice", "outputPrice")
        for model in recorded("models")["data"]:
            self.ids[model["id"]] = self._post("/models", {name: model[name] for name in names})["id"]


def _split_metadata(metadata: dict[str, Json]) -> tuple[dict[str, str], dict[str, Json]]:
    prefixes = ("scope.", "resourceAttributes.")
    foreign = {name: value for name, value in metadata.items() if name.startswith(prefixes)}
    return foreign, {name: value for name, value in metadata.items() if name not in foreign}


def _score_body(score: Json) -> dict[str, Json]:
    subject = score["subject"]
    value = score["value"]
    body = {name: score.get(name) for name in ("id", "name", "source", "dataType", "timestamp", "comment", "configId")}
    body |= {"value": int(value) if isinstance(value, bool) else value, "metadata": score.get("metadata")}
    match subject["kind"]:
        case "observation":
            return {**body, "traceId": subject["traceId"], "observationId": subject["id"]}
        case "trace":
            return {**body, "traceId": subject["id"]}
        case _:
            return {**body, "datasetRunId": subject["id"]}
