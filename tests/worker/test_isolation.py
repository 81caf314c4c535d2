"""What the user's code does to its process changes neither ids, nor where results go, nor which code is measured."""

import os
import sys

import pytest

from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_scripts_that_seed_random_make_runs_with_ids_of_their_own(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script("import random\nrandom.seed(42)\n\ndef task(*, item, **kwargs):\n    return random.random()\n")
    traces = set()
    for name in ("first", "second"):
        scene.run_name = name
        assert (await scene.run(task, max_concurrency=1)).status == "completed"
        record = await scene.record()
        items = await scene.ws.gateway.experiments.results(record.experiment_ids[0])
        assert len(items) == 3
        traces |= {item.trace_id for item in items}
    assert len(traces) == 6


async def test_a_script_that_changes_the_environment_does_not_redirect_the_run(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("""
        import os

        os.environ.clear()
        os.environ.update(LANGFUSE_PUBLIC_KEY="pk", LANGFUSE_SECRET_KEY="sk", LANGFUSE_HOST="http://127.0.0.1:9")

        def task(*, item, **kwargs):
            return 1
    """)
    answer = await scene.run(task, evaluator_script=scene.script("def one(**k):\n    return 1.0\n", "one.py"))
    assert (answer.status, answer.undelivered) == ("completed", 0)
    items = await scene.ws.gateway.experiments.results(str(answer.experiment_id))
    assert [len(item.scores) for item in items] == [1, 1]


async def test_user_code_that_shuts_tracing_down_loses_no_span(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script("""
        from opentelemetry import trace

        def task(*, item, **kwargs):
            trace.get_tracer_provider().shutdown()
            return 1
    """)
    answer = await scene.run(task, max_concurrency=1)
    assert answer.status == "completed"
    assert len(await scene.ws.gateway.experiments.results(str(answer.experiment_id))) == 3


async def test_a_module_edited_within_a_second_is_measured_as_it_is_now(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    await scene.fill(1)
    task = scene.script("import number_one\n\ndef task(*, item, **kwargs):\n    return number_one.VALUE\n")
    outputs = []
    for value in (1, 2):
        module = scene.script(f"VALUE = {value}\n", "number_one.py")
        # Python tells a compiled copy's age by whole seconds and its size alone.
        os.utime(module, (1_700_000_000, 1_700_000_000))
        scene.run_name = f"run {value}"
        await scene.run(task)
        outputs.append((await scene.record()).items[0].output)
    assert outputs == [1, 2]


async def test_a_script_may_run_an_event_loop_while_it_is_loaded(scene: Scene) -> None:
    await scene.fill(1)
    task = scene.script("""
        import asyncio

        async def load():
            return 7

        MODEL = asyncio.run(load())

        def task(*, item, **kwargs):
            return MODEL
    """)
    await scene.run(task)
    assert (await scene.record()).items[0].output == 7


async def test_modules_of_one_name_in_both_scripts_folders_are_said(scene: Scene) -> None:
    await scene.fill(1)
    scene.script("WORD = 'task'\n", "words.py")
    task = scene.script("import words\n\ndef task(*, item, **kwargs):\n    return words.WORD\n")
    (scene.folder / "judging").mkdir()
    scene.script("WORD = 'evaluator'\n", "judging/words.py")
    evaluators = scene.script("import words\n\ndef e(**k):\n    return 1.0\n\nEVALUATORS = [e]\n", "judging/ev.py")
    answer = await scene.run(task, evaluator_script=evaluators)
    assert any("'words'" in warning for warning in answer.warnings)


async def test_repetitions_do_not_take_the_name_of_another_run(scene: Scene) -> None:
    from lfexp_mcp.errors import RunExistsError

    await scene.fill(1)
    task = scene.script("def task(*, item, **kwargs):\n    return 1\n")
    scene.run_name = "run#2"
    await scene.run(task)
    scene.run_name = "run"
    with pytest.raises(RunExistsError, match="'run#2'"):
        await scene.run(task, repeats=2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
async def test_spans_of_forked_children_have_ids_of_their_own(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script("""
        import os
        from langfuse import get_client, observe

        @observe(name="child")
        def work(number):
            return number

        def task(*, item, **kwargs):
            children = []
            for number in range(3):
                child = os.fork()
                if not child:
                    work(number)
                    get_client().flush()
                    os._exit(0)
                children.append(child)
            for child in children:
                os.waitpid(child, 0)
            return 1
    """)
    assert (await scene.run(task, max_concurrency=1)).status == "completed"
    spans = []
    for item in (await scene.record()).items:
        spans += [
            span.id for span in await scene.ws.gateway.observations.find(trace_id=item.trace_id) if span.name == "child"
        ]
    assert len(spans) == len(set(spans)) == 6
