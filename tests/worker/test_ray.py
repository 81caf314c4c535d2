"""Runs on a Ray cluster of three nodes on this machine, which are processes that share its two cores."""

import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfexp_mcp.answers.clients import Check
from lfexp_mcp.errors import LfexpError, UsageError
from lfexp_mcp.model import EngineUse, Holdout
from lfexp_mcp.services import sweeps
from lfexp_mcp.services.confirmation import confirm_run
from lfexp_mcp.services.doctor import diagnose
from lfexp_mcp.services.requests import ConfirmRequest
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import StoreConnection
from tests.providers.server import ProviderServer
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene
from tests.worker.test_stored_spans import RECORDED, stored_spans

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lfexp-mcp[ray]'")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    # Ray gives a node 30 s to start, whatever else the machine does.
    pytest.mark.skipif(not os.environ.get("LFEXP_TEST_RAY"), reason="LFEXP_TEST_RAY=1 starts a Ray cluster"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of three nodes of 8 CPUs, as far as Ray knows; the second has a kind of its own."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False})
        cluster.add_node(num_cpus=8, resources={"kind0": 1}, wait=False)
        cluster.add_node(num_cpus=8)
        yield str(cluster.address)
        cluster.shutdown()


TASK = """
    from langfuse import get_client, observe
    from letters import upper

    @observe
    def inner(text):
        return upper(text)

    def task(*, item, params, **kwargs):
        print("seen", item.input)
        get_client().update_current_span(metadata={"by": "the task"})
        return (inner(item.input), params["end"])
"""
EVALUATORS = """
    from langfuse import get_client

    def kept(*, output, trace, **kwargs):
        assert [each.name for each in trace.observations] == ["inner"]
        return float(isinstance(output, tuple))

    async def exact(*, output, expected_output, **kwargs):
        with get_client().start_as_current_observation(name="look", as_type="tool"):
            return {"name": "exact", "value": float(output[0] == expected_output)}

    EVALUATORS = [kept, exact]

    def lists(*, item_results, **kwargs):
        return sum(isinstance(result.output, list) for result in item_results)

    RUN_EVALUATORS = [lists]
"""


async def test_a_run_on_a_cluster_stores_what_a_local_one_does(scene: Scene, address: str) -> None:
    await scene.fill(6)
    scene.script("def upper(text):\n    return text.upper()\n", "letters.py")
    (scene.folder / "apart").mkdir()
    answer = await scene.run(
        scene.script(TASK),
        evaluator_script=scene.script(EVALUATORS, "apart/evaluators.py"),
        evaluators=["exact_match"],
        params={"end": "!"},
        engine="ray",
        engine_options={"address": address},
        max_concurrency=2,
    )
    assert (answer.status, answer.succeeded, answer.undelivered, answer.warnings[1:]) == ("completed", 6, 0, [])
    assert {score.name: (score.mean, score.count) for score in answer.scores} == {
        "kept": (1.0, 6),
        "exact": (1.0, 6),
        "exact_match": (0.0, 6),
    }
    assert answer.run_scores == {"lists": 6.0}
    record = await scene.record()
    assert record.provenance is not None
    assert isinstance(record.provenance.engine, EngineUse)
    assert record.provenance.engine.name == "ray"
    assert "letters" in (record.provenance.modules or {})
    log = (await scene.run_folder()).log_path.read_text().splitlines()
    assert sorted(line.partition("] ")[2] for line in log) == [f"seen input {number}" for number in range(6)]
    assert all(line.startswith("[") for line in log)

    result = record.items[0]
    spans = await scene.ws.gateway.observations.find(trace_id=result.trace_id)
    names = {span.id: span.name for span in spans}
    assert {span.name: names.get(span.parent_id or "") for span in spans} == {
        "experiment-item-run": None,
        "experiment-item-task": "experiment-item-run",
        "inner": "experiment-item-task",
        "experiment-item-evaluation": "experiment-item-run",
        "kept": "experiment-item-evaluation",
        "exact": "experiment-item-evaluation",
        "look": "exact",
        "exact_match": "experiment-item-evaluation",
    }
    assert {span.environment for span in spans} == {"sdk-experiment"}
    own = next(span for span in spans if span.id == result.observation_id)
    assert own.metadata["by"] == "the task"


async def test_what_kills_its_process_fails_alone_and_what_a_task_does_fails_only_its_item(
    scene: Scene, address: str
) -> None:
    await scene.fill(8)
    counts = scene.folder / "counts"
    task = scene.script(f"""
        import asyncio, os, signal, sys
        COUNTS = {str(counts)!r}

        async def task(*, item, **kwargs):
            with open(COUNTS, "a") as file:
                file.write(item.input + "\\n")
            number = item.metadata["number"]
            if number == 1:
                os._exit(7)
            if number == 2:
                sys.exit(3)
            if number == 3:
                await asyncio.sleep(1000)
            if number == 4:
                raise ConnectionError("its own")
            if number == 5:
                os.kill(os.getpid(), signal.SIGSTOP)
            return item.input
    """)
    answer = await scene.run(
        task, engine="ray", engine_options={"address": address}, max_concurrency=2, item_timeout=2.0
    )
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 3, 5)
    errors = {item.item_id: item.error or "" for item in (await scene.record()).items}
    assert "died 3 times" in errors[scene.item_id(1)]
    assert "SystemExit" in errors[scene.item_id(2)]
    assert "TimeoutError: no result within 2 s" in errors[scene.item_id(3)]
    assert "ConnectionError: its own (task.py, line 16)" in errors[scene.item_id(4)]
    assert "does not answer" in errors[scene.item_id(5)]
    ran = Counter(counts.read_text().splitlines())
    assert ran["input 1"] == 3
    assert all(1 <= ran[f"input {number}"] <= 3 for number in range(8))


async def test_the_spans_of_a_busy_run_are_those_of_a_local_one(
    settings: Settings,
    store: StoreConnection,
    openai_for_workers: ProviderServer,
    address: str,
    tmp_path: Path,
) -> None:
    options = {"address": address}
    found = await stored_spans(settings, store, tmp_path, engine="ray", engine_options=options)
    assert found == RECORDED.read_text(encoding="utf-8").splitlines()


FAILING_AT_FIRST = """
    import pathlib

    FOLDER = pathlib.Path({folder!r})

    def task(*, item, **kwargs):
        number = item.metadata["number"]
        with (FOLDER / f"calls {{number}}").open("a") as file:
            print("call", file=file)
        if number == 0 and len((FOLDER / "calls 0").read_text().splitlines()) < 2:
            raise ConnectionError("at first")
        if number in (1, 2) and not (FOLDER / "mended").exists():
            raise ValueError("broken")
        return item.input
"""


async def test_retries_repetitions_a_stop_on_errors_and_a_resume_mean_what_they_do_locally(
    scene: Scene, address: str
) -> None:
    await scene.fill(4)
    found: list[list[object]] = []
    engines: tuple[dict[str, Any], ...] = ({}, {"engine": "ray", "engine_options": {"address": address}})
    for arguments in engines:
        scene.run_name = f"run {len(found)}"
        folder = scene.folder / scene.run_name
        folder.mkdir(parents=True)
        task = scene.script(FAILING_AT_FIRST.format(folder=str(folder)), "failing.py")
        seen: list[object] = []
        for resumed in (False, True):
            answer = await scene.run(
                task, repeats=2, task_retries=1, fail_on_error=3, max_concurrency=1, resume=resumed, **arguments
            )
            ended = (await scene.run_folder()).read_state().ended
            seen += [answer.status, answer.succeeded, answer.failed, answer.pending]
            seen += sorted((key, each.status, each.error, each.attempts) for key, each in ended.items())
            seen += [len(path.read_text().splitlines()) for path in sorted(folder.iterdir())]
            (folder / "mended").touch()
        found.append(seen)
    assert found[1] == found[0]
    assert "completed" in found[0]
    assert "failed" in found[0]


CASES = [
    "raise KeyboardInterrupt",
    "raise GeneratorExit('own')",
    "raise __import__('asyncio').CancelledError",
    "raise ExceptionGroup('all', [ValueError('one')])",
    "raise TimeoutError('its own')",
    "raise __import__('ray').exceptions.GetTimeoutError('its own')",
    "raise __import__('ray').exceptions.ActorDiedError()",
    "raise Awkward(lambda: 1, 2)",
    "raise Speechless",
    "sys.exit(0)",
    "raise ValueError('\\ud800 \\x00')",
    "return threading.Lock()",
    "return (each for each in 'ab')",
    "return float('nan'), {1: -0.0, 'big': 2**60}",
    "return numpy.float64(0.5)",
    "return (Path(__file__).parent / 'data.txt').read_text()",
    "return params.pop('list') + [get_client().get_current_trace_id() is not None]",
    "return item.metadata.pop('number'), item.input, item.expected_output",
]
"""What the task does with the item of this number."""
CASES_TASK = """
import sys, threading
from pathlib import Path
import numpy
from langfuse import get_client

class Awkward(Exception):
    def __init__(self, kept, other):
        super().__init__("awkward")
        self.kept = kept

class Speechless(Exception):
    def __str__(self):
        raise RuntimeError

def task(*, item, params, **kwargs):
    return globals()[f"task_{item.metadata['number']}"](item, params)
"""
CASES_EVALUATORS = """
from decimal import Decimal
import numpy

def score(*, output, **kwargs):
    return numpy.float64(0.5)

def verdict(*, output, **kwargs):
    return {"name": "verdict", "value": numpy.bool_(True), "comment": type(output).__name__}

def amount(*, output, **kwargs):
    return Decimal("0.25")

def fails(*, output, **kwargs):
    raise KeyboardInterrupt

EVALUATORS = [score, verdict, amount, fails]
"""


async def test_odd_ends_and_values_are_recorded_as_those_of_a_local_run(scene: Scene, address: str) -> None:
    await scene.fill(len(CASES))
    scene.script("data", "data.txt")
    functions = [f"def task_{number}(item, params):\n    {code}\n" for number, code in enumerate(CASES)]
    task = scene.script("\n".join([CASES_TASK, *functions]))
    evaluators = scene.script(CASES_EVALUATORS, "evaluators.py")
    found: list[list[tuple[Any, ...]]] = []
    engines: tuple[dict[str, Any], ...] = ({}, {"engine": "ray", "engine_options": {"address": address}})
    for arguments in engines:
        scene.run_name = f"run {len(found)}"
        await scene.run(
            task, evaluator_script=evaluators, params={"list": [1]}, max_concurrency=1, item_timeout=60.0, **arguments
        )
        found.append(
            [
                (
                    item.item_id,
                    item.output,
                    item.error,
                    sorted((score.name, score.value, score.comment) for score in item.scores),
                    sorted((failure.name, failure.error) for failure in item.unscored),
                )
                for item in (await scene.record()).items
            ]
        )
    local, on_cluster = found
    # Where an object lies in memory is part of its text.
    assert re.sub("0x[0-9a-f]+", "", repr(on_cluster)) == re.sub("0x[0-9a-f]+", "", repr(local))
    assert sum(item[2] is not None for item in local) == 11


@pytest.mark.parametrize(
    ("options", "named"),
    [({"num_gpus": 1}, r"1 GPU.*CPU 8"), ({"num_cpus": 9}, r"9 CPU.*CPU 8"), ({"resources": {"TPU": 1.5}}, "TPU")],
)
async def test_resources_that_no_node_has_or_ray_does_not_know_so_are_refused_by_name(
    scene: Scene, address: str, options: dict[str, Any], named: str
) -> None:
    await scene.fill(1)
    task = scene.script("def task(*, item, **kwargs):\n    return 1\n")
    with pytest.raises(UsageError, match=named):
        await scene.run(task, engine="ray", engine_options={"address": address, **options})


async def test_a_script_that_nodes_cannot_load_ends_the_run_with_the_node_and_the_cause(
    scene: Scene, address: str
) -> None:
    await scene.fill(2)
    scene.script("x = 1\n", "left_out.py")
    (scene.folder / ".gitignore").write_text("left_out.py\n")
    task = scene.script("import left_out\n\ndef task(*, item, **kwargs):\n    return 1\n")
    options = {"address": address, "resources": {"kind0": 1}}
    answer = await scene.run(task, engine="ray", engine_options=options, max_concurrency=1)
    assert (answer.status, answer.failed) == ("failed", 0)
    ended = (await scene.run_folder()).read_state().run_ended
    assert ended is not None
    assert ended.reason is not None
    assert "No module named 'left_out'" in ended.reason


async def test_items_have_the_resources_that_they_take_and_a_cancelled_run_ends_after_its_grace_whatever_they_do(
    scene: Scene, address: str
) -> None:
    await scene.fill(4)
    started = scene.folder / "started"
    task = scene.script(f"""
        import itertools, pathlib, time

        earlier = itertools.count()

        def task(*, item, **kwargs):
            print("here")
            if next(earlier):
                pathlib.Path({str(started)!r}).touch()
                time.sleep(1000)
            return 1
    """)
    scene.ws = replace(scene.ws, settings=scene.ws.settings.model_copy(update={"cancel_grace": 0.5}))
    options = {"address": address, "resources": {"kind0": 1}, "num_cpus": 1}
    folder = await scene.begin(task, engine="ray", engine_options=options, max_concurrency=3)
    await until(started.exists)
    folder.request_cancel()
    await until(lambda: folder.read_state().run_ended is not None)
    state = folder.read_state()
    assert state.run_ended is not None
    assert state.run_ended.status == "cancelled"
    assert len(state.ended) == 1
    assert any("places for 1 items" in warning for warning in state.warnings)
    assert folder.log_path.read_text().rstrip().endswith("here")


async def test_items_of_an_async_task_share_a_process_that_has_the_cpus_of_all_and_takes_what_a_node_has_left(
    scene: Scene, address: str
) -> None:
    await scene.fill(30)
    task = scene.script("""
        import asyncio, os

        now = most = 0

        async def task(*, item, **kwargs):
            global now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.5)
            now -= 1
            return {"process": os.getpid(), "at_once": most}
    """)
    ray.init(address=address, log_to_driver=False)
    try:
        from ray.util import placement_group

        taken = [placement_group([{"CPU": 6}]), placement_group([{"CPU": 6}])]
        ray.get([each.ready() for each in taken])
        options = {"address": address, "num_cpus": 1}
        answer = await scene.run(task, engine="ray", engine_options=options, max_concurrency=24)
    finally:
        ray.shutdown()
    assert (answer.status, answer.succeeded) == ("completed", 30)
    at_once: Counter[int] = Counter()
    for item in (await scene.record()).items:
        match item.output:
            case {"process": int(process), "at_once": int(most)}:
                at_once[process] = max(at_once[process], most)
    assert sorted(at_once.values()) == [2, 2, 8]


VARIED = """
    async def task(*, item, params, **kwargs):
        return item.input.upper() if item.metadata["number"] >= params["wrong"] else ""
"""
EXACT = """
    def exact(*, output, expected_output, **kwargs):
        return float(output == expected_output)
"""


async def test_variants_run_side_by_side_on_a_cluster(scene: Scene, address: str) -> None:
    await scene.fill(12)
    request = scene.request(
        scene.script(VARIED),
        evaluator_script=scene.script(EXACT, "evaluators.py"),
        variants=[{"name": str(wrong), "params": {"wrong": wrong}} for wrong in (9, 0)],
        engine="ray",
        engine_options={"address": address, "num_cpus": 4},
        max_concurrency=4,
    )
    answer = await sweeps.run(scene.ws, request, wait_seconds=PATIENCE_S)
    assert (answer.status, answer.succeeded) == ("completed", 24)
    assert [(row.run, row.rank, row.verdict) for row in answer.ranking] == [
        ("run-0", 1, "better"),
        ("run-9", 2, "first run"),
    ]


async def test_a_run_of_a_cluster_is_confirmed_on_the_cluster_by_the_code_that_was_measured(
    scene: Scene, address: str
) -> None:
    await scene.ws.gateway.datasets.upsert(scene.dataset, holdout=Holdout(share=0.75, salt="cluster"))
    await scene.fill(60)
    evaluators = scene.script(EXACT, "evaluators.py")
    options = {"address": address}
    for wrong in (60, 0):
        answer = await scene.run(
            scene.script(VARIED),
            run_name=str(wrong),
            params={"wrong": wrong},
            evaluator_script=evaluators,
            engine="ray",
            engine_options=options,
        )
        assert answer.status == "completed"
    scene.script("raise RuntimeError('edited')")
    confirmed = await confirm_run(
        scene.ws,
        ConfirmRequest(dataset=scene.dataset, run_name="0", baseline="60", min_delta=0.6),
        wait_seconds=PATIENCE_S,
    )
    assert (confirmed.status, confirmed.verdict, confirmed.delta) == ("completed", "better", 1.0)


async def test_doctor_names_the_nodes_of_a_cluster(scene: Scene, address: str) -> None:
    checked = await check_cluster(scene, address)
    assert (checked.status, checked.found.count("(8 CPU, 0 GPU)")) == ("ok", 3), checked.found


async def test_where_no_cluster_is_a_run_and_doctor_say_so_at_once(scene: Scene) -> None:
    await scene.fill(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"127.0.0.1:{server.getsockname()[1]}"
    checked = await check_cluster(scene, nowhere)
    assert checked.status == "broken"
    assert f"{nowhere}: ConnectionRefusedError" in checked.found
    task = scene.script("def task(*, item, **kwargs):\n    return 1\n")
    with pytest.raises(LfexpError, match=f"Ray cluster {nowhere} cannot be used: ConnectionRefusedError"):
        await scene.run(task, engine="ray", engine_options={"address": nowhere})


async def check_cluster(scene: Scene, address: str) -> Check:
    """What doctor finds of a cluster."""
    diagnosis = await diagnose(scene.ws.settings.model_copy(update={"ray_address": address}))
    [checked] = [check for check in diagnosis.checks if check.name == "Ray cluster"]
    return checked
