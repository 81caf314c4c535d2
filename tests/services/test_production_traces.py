"""Production traces found by a filter: a table of filters over one project, with what each is to find."""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langfuse import Langfuse, propagate_attributes
from langfuse.experiment import LocalExperimentItem

from lfexp_mcp.errors import UsageError
from lfexp_mcp.services.production_traces import find_traces
from lfexp_mcp.services.requests import RunRequest, TraceFilter, build
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.store.process import StoreConnection
from tests.faults.proxy import FaultProxy
from tests.services.humans import Humans

CASES = [
    json.loads(line)
    for line in Path(__file__).with_name("trace_filters.jsonl").read_text(encoding="utf-8").splitlines()
]
LONG = "a sentence that goes on and on, " * 20


@dataclass
class World:
    """A project with traces t1 to t12, the newest last."""

    sdk: Langfuse
    traces: dict[str, str]
    roots: dict[str, str]
    times: dict[str, datetime]

    def trace(self, key: str, name: str = "answer", *, error: str | None = None, **attributes: Any) -> None:  # noqa: ANN401
        now = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == now:
            pass
        with (
            propagate_attributes(**attributes),
            self.sdk.start_as_current_observation(name=name, input=None if key == "t5" else key) as root,
        ):
            with self.sdk.start_as_current_observation(name="inner", input=f"{key} inner") as inner:
                inner.update(level="ERROR" if error == "inner" else "WARNING" if key == "t8" else "DEFAULT")
            root.update(output=f"answer to {key}", level="ERROR" if error == "root" else "DEFAULT")
            self.traces[key], self.roots[key] = root.trace_id, root.id
        self.times[key] = datetime.now(UTC)


def _world(store: StoreConnection) -> World:
    sdk = Langfuse(public_key=store.public_key, secret_key=store.secret_key, base_url=store.base_url)
    world = World(sdk, {}, {}, {})
    world.trace("t1", trace_name="chat", tags=["a", "b"], user_id="u1")
    world.trace("t2", trace_name="chat", tags=["b"], user_id="0")
    world.trace("t3", trace_name="Chat", tags=["x,y"], session_id="s1&userId=u1/?#=%")
    sdk.run_experiment(
        name="e", run_name="r", data=[LocalExperimentItem(input="t4")], task=lambda *, item, **_: str(item)
    )
    world.trace("t5", trace_name="chat")
    world.trace("t6", error="root", environment="staging")
    world.trace("t7", error="inner")
    world.trace("t8")
    world.trace("t9", metadata={"plan": "pro", "seats": "5", "long": LONG[:190]})
    world.trace("t10", metadata={"plan": "pro", "seats": "12"})
    world.trace("t11", "chat")
    world.trace("t12", "chat", trace_name=None)
    now = datetime.now(UTC)
    for place, (key, value) in enumerate((("t8", 0.3), ("t8", 0.9), ("t9", 0.4), ("t2", 0.5))):
        when = now + timedelta(seconds=place)
        sdk.create_score(name="quality", value=value, trace_id=world.traces[key], timestamp=when)
    sdk.create_score(name="tone", value=5, trace_id=world.traces["t2"])
    sdk.flush()
    return world


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_filter_finds_the_traces_that_meet_it_and_no_others(
    quiet: Workspace, quiet_store: StoreConnection
) -> None:
    world = _world(quiet_store)
    humans = Humans(quiet.settings)
    config = humans.config("tone", 1, 5)
    humans.annotate("tone", 2, config, world.traces["t2"], world.roots["t2"])
    humans.annotate("tone", 3, config, world.traces["t1"])
    humans.comment("TRACE", world.traces["t3"], "odd")
    humans.comment("OBSERVATION", world.roots["t10"], "odd too")
    humans.close()

    async def found(ws: Workspace, given: dict[str, Any], count: int = 50) -> list[str]:
        wanted = TraceFilter.model_validate(json.loads(json.dumps(given).replace("LONG", f"'{LONG[:190]}'")))
        return [str(root.input) for root in (await find_traces(ws, wanted, count)).roots]

    for case in CASES:
        assert await found(quiet, case["filter"]) == case["finds"], case["why"]
    assert await found(quiet, {"name": "chat"}, 2) == ["t12", "t11"]
    assert await found(quiet, {"level": "ERROR"}, 1) == ["t7"]
    since, until = world.times["t1"].isoformat(), world.times["t3"].isoformat()
    assert await found(quiet, {"since": since, "until": until}) == ["t3", "t2"]
    with pytest.raises(UsageError, match="3/5"):
        await found(quiet, {"score": "quality", "below": "0.5/0.8"})

    with FaultProxy(quiet_store.base_url) as proxy:
        proxy.ignored = frozenset({"filter", "expandMetadata", "name"})
        async with open_workspace(quiet.settings.model_copy(update={"langfuse_url": proxy.url})) as older:
            for case in CASES:
                if "long" not in case["filter"].get("where", ""):
                    assert await found(older, case["filter"]) == case["finds"], case["why"]


@pytest.mark.parametrize(
    "given",
    [
        {"usr": "x"},
        {"user": ""},
        {"user": None},
        {"name": "chat", "session": ""},
        {"tags": []},
        {"environment": "sdk-experiment"},
        {"where": "plan"},
        {"level": "FATAL"},
        {"has_comment": False},
        {"below": 0.5},
        {"score": "quality"},
        {"score": "quality", "below": 5},
        {"score": "quality", "below": 0},
        {"since": 1714521600000},
        {"since": "1714521600"},
        {"since": "yesterday"},
        {"since": "2026-05-02", "until": "2026-05-01"},
        {"since": "2026-05-01", "until": "2026-05-01T02:00:00+02:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59Z"},
        {"user": "a\x00b"},
        {"user": "x" * 1_000_001},
        "not an object",
        "[]",
    ],
)
def test_a_filter_that_could_mean_all_traces_or_cannot_be_met_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="traces"):
        build(RunRequest, run_name="r", source_type="live", task_prompt="p", traces=given)


def test_a_time_without_a_zone_is_utc_and_a_filter_may_come_as_json() -> None:
    given = '{"since": "2026-05-01", "until": "2026-05-01T08:00:00+02:00", "level": "warning"}'
    request = build(RunRequest, run_name="r", source_type="live", task_prompt="p", traces=given)
    assert request.traces is not None
    assert request.traces.since == datetime(2026, 5, 1, tzinfo=UTC)
    assert request.traces.until == datetime(2026, 5, 1, 6, tzinfo=UTC)
    assert request.traces.level == "WARNING"
    with pytest.raises(UsageError, match="live"):
        build(RunRequest, run_name="r", dataset="d", task_prompt="p", traces=given)
