"""What evaluators see of a task's trace, and what a result took, through whole runs."""

import json

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError
from lfexp_mcp.model import BuiltInMaker, RunRecord, Trace
from lfexp_mcp.scripts import ScriptEvaluator, ScriptItem
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.experiments.score_run import score_run
from lfexp_mcp.services.requests import CompareRequest, ScoreRunRequest
from lfexp_mcp.services.runs.read_run import read_run
from lfexp_mcp.settings import Settings
from tests.providers.server import ProviderServer
from tests.worker.scene import Scene, with_models

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TASK = """
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context
    from langfuse import get_client, observe

    @observe(as_type="tool")
    def search(query, limit=3):
        return [query] * limit

    def task(*, item, **kwargs):
        client = get_client()
        with client.start_as_current_observation(name="agent", as_type="agent"):
            with client.start_as_current_observation(name="think", as_type="generation", model="gpt-4o") as call:
                call.update(input="hm", output={{"tool": "search"}}, usage_details={{"input": 1000, "output": 9}}{more})
            search(item.input)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(copy_context().run, search, "again", limit=1).result()
            with client.start_as_current_observation(name="pay", as_type="tool") as tool:
                tool.update(level="ERROR", status_message="no funds")
        return item.metadata["number"]
"""
LOOKING = """
    import json

    def seen(*, trace, **kwargs):
        rows = [(o.type, o.name, o.input, o.output, o.model, o.level, o.status_message) for o in trace.observations]
        rows = json.loads(json.dumps(rows))
        names = {{o.id: o.name for o in trace.observations}}
        parents = [names.get(o.parent_id) for o in trace.observations]
        usage = [o.usage for o in trace.observations if o.usage]
        (search, *_) = (o for o in trace.observations if o.name == "search" and len(o.output) == 3)
        search.output.clear()
        return {{"value": len(rows), "metadata": {{"scale": "0-10", "rows": rows, "parents": parents, "usage": usage}}}}

    def cleared(*, trace, **kwargs):
        return {{"value": any(len(o.output) == 3 for o in trace.observations if o.name == "search"), "name": "kept"}}

    def plain(*, output, **kwargs):
        return 1

    EVALUATORS = [seen, cleared, plain{more}]
"""
ROWS = [
    ["AGENT", "agent", None, None, None, "DEFAULT", None],
    ["GENERATION", "think", "hm", {"tool": "search"}, "gpt-4o", "DEFAULT", None],
    ["TOOL", "search", {"args": ["input 1"], "kwargs": {}}, ["input 1"] * 3, None, "DEFAULT", None],
    ["TOOL", "search", {"args": ["again"], "kwargs": {"limit": 1}}, ["again"], None, "DEFAULT", None],
    ["TOOL", "pay", None, None, None, "ERROR", "no funds"],
]


def _metadata(record: RunRecord, item_id: str, score_name: str) -> dict[str, JsonValue]:
    scores = (score for item in record.items if item.item_id == item_id for score in item.scores)
    return next(score.metadata for score in scores if score.name == score_name)


async def test_an_evaluator_sees_the_observations_of_its_items_task_and_a_later_one_sees_the_same(scene: Scene) -> None:
    await scene.fill(2, expected_output=["search", "search", "pay"])
    task, checks = scene.script(TASK.format(more="")), scene.script(LOOKING.format(more=""), "checks.py")
    evaluators = ["tool_calls", 'tool_calls:subset,overrides={"search": "ignore"},score_name=no_others']
    answer = await scene.run(task, evaluator_script=checks, evaluators=evaluators)
    assert {score.name: score.mean for score in answer.scores if score.name in {"tool_calls", "no_others"}} == {
        "tool_calls": 1,
        "no_others": 1,
    }
    first = await scene.record()
    metadata = _metadata(first, scene.item_id(1), "seen")
    assert metadata["rows"] == ROWS
    assert metadata["parents"] == [None, *["agent"] * 4]
    assert metadata["usage"] == [{"input": 1000, "output": 9, "total": 1009}]
    assert {score.value for item in first.items for score in item.scores if score.name == "kept"} == {True}
    # A resume reads them from Langfuse, which keeps whole milliseconds: the order within one is not known.
    later = LOOKING.replace("def seen", "def again").replace("[seen,", "[again,").format(more="")
    await scene.run(None, evaluator_script=scene.script(later, "later.py"), resume=True)
    record = await scene.record()
    metadata = _metadata(record, scene.item_id(1), "again")
    rows = metadata["rows"]
    assert isinstance(rows, list)
    assert sorted(rows, key=json.dumps) == sorted(ROWS, key=json.dumps)
    assert metadata["parents"] == [None, *["agent"] * 4]


async def test_latency_and_cost_are_in_their_units_and_the_cost_of_unknown_models_is_unknown(scene: Scene) -> None:
    await scene.fill(8)
    evaluators = ["latency", "latency:max_seconds=60,score_name=in_time", "cost", "cost:0.001,score_name=cheap"]
    priced = scene.script(TASK.format(more=""))
    answer = await scene.run(priced, evaluators=evaluators)
    found = {score.name: score for score in answer.scores}
    # gpt-4o: 2.5 and 10 USD per million tokens.
    assert found["cost"].mean == pytest.approx(0.00259)
    assert (found["cost"].display, found["cost"].scale, found["cost"].unscored) == (
        "0.00259 USD, lower is better",
        None,
        0,
    )
    assert found["cheap"].mean == 0
    assert found["in_time"].mean == 1
    assert found["latency"].display.endswith(" s, lower is better")
    assert answer.warnings == []
    cached = scene.script(
        TASK.format(more=", model='gpt-4o'").replace('"input": 1000', '"input_cached_tokens": 5, "input": 1000')
    )
    unknown = await scene.run(cached, run_name="cached", evaluators=evaluators)
    found = {score.name: score for score in unknown.scores}
    assert (found["cost"].count, found["cost"].unscored, found["cheap"].unscored) == (0, 8, 8)
    own = scene.script(TASK.format(more=", cost_details={'total': 0.00518}"))
    await scene.run(own, run_name="own", evaluators=evaluators)
    comparison = await compare_runs(scene.ws, CompareRequest(dataset=scene.dataset, runs=["run", "own"]))
    (compared,) = (score for score in comparison.scores if score.score == "cost")
    assert compared.delta == pytest.approx(0.00259)
    assert compared.verdict == "worse"
    again = ScoreRunRequest(dataset=scene.dataset, run_name="own", evaluators=["cost:0.006,score_name=low"])
    scored = await score_run(scene.ws, again)
    assert [(score.mean, score.count) for score in scored.scores if score.name == "low"] == [(1.0, 8)]
    record = await read_run(scene.ws, scene.dataset, "own")
    (maker,) = {score.maker for score in record.scores if score.name == "cost"}
    assert isinstance(maker, BuiltInMaker)
    assert (maker.unit, maker.lower_is_better, maker.scale) == ("USD", True, None)


async def test_tokens_and_costs_that_are_no_numbers_are_unknown_and_no_end_of_the_run(scene: Scene) -> None:
    await scene.fill(1)
    task = """
        from opentelemetry import trace

        DETAILS = [
            '{"input": 1e308, "output": 1e308}',
            '{"input": 1' + "0" * 400 + '}',
            '{"prompt_tokens": true, "prompt_tokens_details": {"cached_tokens": 1e308}}',
        ]

        def task(*, item, **kwargs):
            tracer = trace.get_tracer("own")
            for details in [None, *DETAILS]:
                with tracer.start_as_current_span("call") as span:
                    span.set_attribute("gen_ai.operation.name", "chat")
                    span.set_attribute("gen_ai.request.model", "gpt-4o")
                    span.set_attribute("gen_ai.usage.input_tokens", float("nan"))
                    if details is not None:
                        span.set_attribute("langfuse.observation.usage_details", details)
                        span.set_attribute("langfuse.observation.cost_details", details)
            return 1
    """
    looking = """
        def seen(*, trace, **kwargs):
            read = [[call.usage, call.cost] for call in trace.observations]
            return {"value": len(read), "metadata": {"read": read}}
    """
    script = scene.script(looking, "checks.py")
    answer = await scene.run(scene.script(task), evaluator_script=script, evaluators=["cost"])
    assert answer.status == "completed"
    assert _metadata(await scene.record(), scene.item_id(0), "seen")["read"] == [[{}, None]] * 4


async def test_a_judge_sees_what_the_task_did_and_a_cut_is_kept_with_the_score(
    settings: Settings, scene: Scene, openai_for_workers: ProviderServer
) -> None:
    await scene.fill(2)
    long = TASK.replace('"no funds"', "item.input * 2000").format(more="")
    prompt = "Did it search first? {{tool_calls}} All: {{trace}} Output: {{output}}"
    async with with_models(scene, settings) as judged:
        for budget, name in ((20_000, "whole"), (600, "cut")):
            config: dict[str, JsonValue] = {"scale": "0-10", "model": "gpt-test", "provider": "openai"}
            judge = f"judge-{name}-{scene.dataset}"
            await create_judge(judged.ws, judge, prompt, config=config | {"trace_budget": budget})
        task = judged.script(long.replace("[query] * limit", "[query] * limit * (1 + 200 * (query != 'again'))"))
        answer = await judged.run(task, judges=[f"judge-{name}-{scene.dataset}" for name in ("whole", "cut")])
        assert answer.status == "completed"
        record = await judged.record()
        with pytest.raises(JudgeError, match="trace_budget"):
            await create_judge(judged.ws, "judge-none", prompt, config={"model": "gpt-test", "trace_budget": 0})
    asked = [text for call in openai_for_workers.calls for role, text in call.messages if role == "user"]
    whole = [text for text in asked if '"again"' in text and "Shown are" not in text]
    assert len(asked) == 4
    assert len(whole) == 2
    assert all('2. GENERATION "think" within 1, model "gpt-4o", tokens: input 1000, output 9' in text for text in whole)
    assert all("evaluator" not in text and "gpt-test" not in text for text in asked)
    cut = {score.name: score.metadata.get("trace_cut") for item in record.items for score in item.scores}
    assert cut[f"whole-{scene.dataset}"] is None
    shown = cut[f"cut-{scene.dataset}"]
    assert isinstance(shown, str)
    assert shown.startswith("trace: ")
    assert any("2 of 2" in warning and "`trace_cut`" in warning for warning in answer.warnings)


@pytest.mark.parametrize("takes", ["trace=None", "**kwargs"])
async def test_the_spans_of_a_task_are_kept_only_for_an_evaluator_that_names_the_trace(takes: str) -> None:
    def named(*, output: object, trace: Trace | None = None) -> float:
        return 1.0

    def unnamed(*, output: object, **kwargs: object) -> float:
        return float("trace" not in kwargs)

    evaluator = ScriptEvaluator("check", named if takes == "trace=None" else unnamed)
    assert evaluator.takes_trace is (takes == "trace=None")
    item = ScriptItem("1", None)
    assert evaluator.call(input=None, output=1, expected_output=None, metadata={}, item=item, trace=Trace("t")) == 1.0
