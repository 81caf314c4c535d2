"""Every span that the run of a busy script sends, beside what was recorded.

`LFEXP_TEST_RECORD=1` records anew, which is right only where Langfuse is to show something else than before.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import JsonValue

import lfexp_mcp
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection
from tests.faults.proxy import SPANS, FaultProxy
from tests.providers.server import ProviderServer
from tests.worker import busy_task
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PACKAGE = Path(lfexp_mcp.__file__).parent
RECORDED = Path(__file__).with_name("stored_spans.jsonl")
SCRIPT = Path(busy_task.__file__).read_text(encoding="utf-8")
INPUTS: Mapping[str, JsonValue] = {"with_media": busy_task.PIXEL, "plain": {"question": ["ü", None, 1.5, True]}}
METADATA: Mapping[str, JsonValue] = {
    "number": 1,
    "none": None,
    "nested": {"list": [1, "ü"]},
    "dataset_id": "its own",
    "hidden": 1,
}
RUN_METADATA: Mapping[str, JsonValue] = {"variant": "a", "number": 2, "hidden": None, "dataset_item_id": "no item"}
VARYING = re.compile(r'[^\s"\\]*/(?=busy\.py)|(?<=line )\d+|(?<=File \\")[^"]*(?=/langfuse/|/opentelemetry/)')
"""Paths and lines of code in tracebacks."""
OWN_TO_A_RUN = (
    "langfuse.experiment.id",
    "langfuse.experiment.metadata",
    "langfuse.experiment.dataset.id",
    "langfuse.observation.metadata.dataset_id",
)


async def run_busy_script(ws_settings: Settings, folder: Path, **arguments: Any) -> str:  # noqa: ANN401
    """Run each way of the script on an item of its own, and return the dataset's name."""
    async with open_workspace(ws_settings) as ws:
        scene = Scene(ws, folder)
        await ws.gateway.datasets.upsert(scene.dataset)
        for way in busy_task.WAYS:
            await ws.gateway.dataset_items.upsert(
                scene.dataset,
                id=f"{scene.dataset}-{way}",
                input=INPUTS.get(way, f"input of {way}"),
                expected_output=None if way == "nothing" else f"input of {way}",
                metadata={**METADATA, "way": way},
            )
        script = scene.script(SCRIPT, "busy.py")
        answer = await scene.run(
            script, evaluator_script=script, description="What it is for.", metadata=RUN_METADATA, **arguments
        )
        assert (answer.status, answer.undelivered) == ("completed", 0)
        return scene.dataset


class Normalizer:
    """Writes spans as JSON, without what differs from run to run: ids, times, the dataset's name, lines of code.

    Args:
        spans: All spans, each with the name of its scope.
        dataset: The dataset's name.
    """

    def __init__(self, spans: Sequence[tuple[Span, str]], dataset: str) -> None:
        self._spans = spans
        self._names = {span.span_id: span.name for span, _ in spans}
        self._dataset = dataset

    def lines(self) -> list[str]:
        """Return a line per span, in an order of their own."""
        return sorted(self._line(span, scope) for span, scope in self._spans)

    def _line(self, span: Span, scope: str) -> str:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        attributes = self._attributes(span.attributes)
        item = str(attributes.get("experiment.item.id", "")).removeprefix(f"{self._dataset}-")
        # What all spans of an item have is not written with each.
        if item and all(attributes.get(name) == value for name, value in self._shared(item).items()):
            attributes = {name: attributes[name] for name in attributes.keys() - self._shared(item).keys()}
        written: dict[str, object] = {
            "item": item,
            "name": span.name,
            "parent": self._names.get(span.parent_span_id, "not sent") if span.parent_span_id else None,
            "scope": scope if scope != "langfuse-sdk" else None,
            "kind": span.kind if span.kind != Span.SPAN_KIND_INTERNAL else None,
            "flags": span.flags,
            "state": span.trace_state,
            "status": [span.status.code, span.status.message] if span.status.code else None,
            "dropped": span.dropped_attributes_count + span.dropped_events_count + span.dropped_links_count,
            "events": [[event.name, self._attributes(event.attributes)] for event in span.events],
            "links": [[link.trace_id.hex(), self._attributes(link.attributes)] for link in span.links],
            "attributes": {name: attributes[name] for name in sorted(attributes)},
        }
        text = json.dumps({name: value for name, value in written.items() if value}, ensure_ascii=False)
        return VARYING.sub("…", text).replace(self._dataset, "DATASET")

    def _attributes(self, pairs: Sequence[KeyValue]) -> dict[str, JsonValue]:
        values = {pair.key: next(iter(MessageToDict(pair.value).values()), None) for pair in pairs}
        assert len(values) == len(pairs), "a name comes once"
        return {name.removeprefix("langfuse."): self._value(name, value) for name, value in values.items()}

    def _value(self, name: str, value: JsonValue) -> JsonValue:
        if name == "exception.stacktrace":
            # Without the frames of the package, and without the marks below code, which differ between Pythons.
            frames = re.split(r"\n(?=  File )", re.sub(r"\n *[\^~]+(?=\n)", "", str(value)))
            return "\n".join(frame for frame in frames if str(PACKAGE) not in frame.partition("\n")[0])
        if name.endswith("root_observation_id"):
            return self._names[bytes.fromhex(str(value))]
        return "…" if name in OWN_TO_A_RUN else value

    def _shared(self, item: str) -> dict[str, JsonValue]:
        metadata = {**METADATA, "way": item}
        return {
            "environment": "sdk-experiment",
            "experiment.id": "…",
            "experiment.name": "run",
            "experiment.dataset.id": "…",
            "experiment.metadata": "…",
            "experiment.item.id": f"{self._dataset}-{item}",
            "experiment.item.metadata": json.dumps(metadata, ensure_ascii=False),
        }


async def stored_spans(
    settings: Settings,
    store: StoreConnection,
    folder: Path,
    **arguments: Any,  # noqa: ANN401
) -> list[str]:
    """Run the busy script, and return what it sends as lines."""
    with FaultProxy(store.base_url) as proxy:
        settings = settings.model_copy(update={"langfuse_url": proxy.url})
        dataset = await run_busy_script(settings, folder, **arguments)
        sent = [ExportTraceServiceRequest.FromString(each.body) for each in proxy.requests if SPANS in each.path]
    spans = [
        (span, scope.scope.name)
        for request in sent
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return Normalizer(spans, dataset).lines()


async def test_the_spans_of_a_busy_run_are_what_they_were(
    settings: Settings, store: StoreConnection, openai_for_workers: ProviderServer, tmp_path: Path
) -> None:
    found = await stored_spans(settings, store, tmp_path)
    if os.environ.get("LFEXP_TEST_RECORD"):
        RECORDED.write_text("\n".join(found) + "\n", encoding="utf-8")
    assert found == RECORDED.read_text(encoding="utf-8").splitlines()
