"""Code of the user that breaks what it is run with: it may fail its own item, and nothing else."""

import asyncio
from functools import partial
from threading import Event

import anyio
import pytest
from pydantic import JsonValue

from lfexp_mcp.answers.run import RunAnswer
from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import ItemResult
from lfexp_mcp.worker.user_code import Returned, UserCode, UserLoop
from tests.waiting import PATIENCE_S, until
from tests.worker.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def results(scene: Scene) -> list[ItemResult]:
    """The results by the items' numbers."""
    by_id = {item.item_id: item for item in (await scene.record()).items}
    return [by_id[scene.item_id(number)] for number in range(len(by_id))]


async def outputs(scene: Scene) -> list[JsonValue]:
    """The outputs by the items' numbers."""
    return [result.output for result in await results(scene)]


def unscored(answer: RunAnswer) -> dict[str, int]:
    """How many items each score is missing of."""
    return {score.name: score.unscored for score in answer.scores if score.unscored}


async def test_text_that_is_no_text_costs_no_result(scene: Scene) -> None:
    task = scene.script("""
        class Named(Exception):
            pass

        Named.__qualname__ = "\\udcff"

        def task(*, item, **kwargs):
            match item.metadata["number"]:
                case 0:
                    raise ValueError("\\udcff")
                case 1:
                    raise SyntaxError("s", ("f.py", 1, 2, "te\\udcffxt"))
                case 2:
                    return {"\\ud800k": "\\udcff"}
                case 3:
                    raise ValueError("x" * 1_000_000)
                case 4:
                    raise Named
                case number:
                    return number
    """)
    await scene.fill(20)
    evaluators = scene.script(
        """
        def value(*, output, **kwargs):
            return {"name": "\\udcff", "value": "\\udcff", "comment": "\\udcff", "metadata": {"\\udcff": "\\udcff"}}

        def error(**kwargs):
            raise ValueError("\\udcff")

        def of_run(*, item_results, **kwargs):
            raise ValueError("\\udcff")

        EVALUATORS, RUN_EVALUATORS = [value, error], [of_run]
        """,
        "evaluators.py",
    )
    answer = await scene.run(task, evaluator_script=evaluators)
    assert (answer.status, answer.succeeded, answer.failed, answer.pending) == ("completed", 16, 4, 0)
    found = await results(scene)
    assert found[0].error == "ValueError: \ufffd (task.py, line 10)"
    assert found[1].error is not None
    assert "te\ufffdxt" in found[1].error
    assert found[2].output == {"\ufffdk": "\ufffd"}
    assert found[3].error is not None
    assert len(found[3].error) < 10_000
    assert "characters cut" in found[3].error
    assert [(score.name, score.comment) for score in found[9].scores] == [("\ufffd", "\ufffd")]
    assert unscored(answer) == {"error": 16}
    assert any("'of_run' failed: ValueError: \ufffd" in warning for warning in answer.warnings)


async def test_a_span_whose_texts_are_no_text_costs_no_other_span(scene: Scene) -> None:
    task = scene.script("""
        from langfuse import get_client, observe

        @observe
        def help():
            raise ValueError("\\udcff")

        def task(*, item, **kwargs):
            with get_client().start_as_current_observation(name="\\udcff"):
                help()
    """)
    evaluators = scene.script(
        """
        def good(**kwargs):
            return 1

        good.__name__ = "\\udcff"
        EVALUATORS = [good]
        """,
        "evaluators.py",
    )
    await scene.fill(5)
    answer = await scene.run(task, evaluator_script=evaluators)
    assert (answer.status, answer.failed) == ("completed", 5)
    assert len(await scene.ws.gateway.experiments.results(str(answer.experiment_id))) == 5


async def test_a_span_with_impossible_times_name_and_kind_costs_no_other_span(scene: Scene) -> None:
    await scene.fill(6)
    task = scene.script("""
        from opentelemetry import trace

        def task(*, item, **kwargs):
            span = trace.get_current_span()
            match item.metadata["number"]:
                case 0:
                    span.update_name(5)
                case 1:
                    span.add_event(6, {"kept": True}, timestamp=-1)
                case 2:
                    span.set_status(trace.StatusCode.ERROR, 7)
                case 3:
                    span.end(end_time="never")
                case 4:
                    trace.get_tracer("langfuse-sdk").start_span("an odd kind", kind="odd").end()
            return 1
    """)
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded, answer.undelivered) == ("completed", 6, 0)
    assert len(await scene.ws.gateway.experiments.results(str(answer.experiment_id))) == 6


async def test_a_script_that_fails_on_import_with_what_is_no_text_is_refused(scene: Scene) -> None:
    await scene.fill(1)
    with pytest.raises(ScriptError, match="ValueError: \ufffd"):
        await scene.run(scene.script("raise ValueError('\\udcff')\n"))


async def test_a_task_whose_objects_raise_fails_its_item(scene: Scene) -> None:
    task = scene.script("""
        import sys
        from dataclasses import dataclass, field
        from pydantic import BaseModel, field_serializer

        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no")
            __repr__ = __str__

        @dataclass
        class Unset:
            x: int = field(init=False)

        class Model(BaseModel):
            x: int = 1

            @field_serializer("x")
            def no(self, value):
                raise RuntimeError("no")

        class Exits:
            def __str__(self):
                sys.exit(3)

        class Proxy:
            @property
            def __class__(self):
                raise RuntimeError("unbound")

        def task(*, item, **kwargs):
            match item.metadata["number"]:
                case 6:
                    return Exits()
                case 7:
                    return Proxy()
                case 0:
                    raise Mute
                case 1:
                    sys.exit(Mute())
                case 2:
                    return Unset()
                case 3:
                    return Model()
                case 4:
                    return {10**5000: 1}
                case 5:
                    return {Mute()}
    """)
    await scene.fill(8)
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded, answer.failed) == ("completed", 2, 6)
    found = await results(scene)
    errors = [result.error or "" for result in found]
    assert "Mute" in errors[0]
    assert "sys.exit(<Mute whose text fails with RuntimeError>)" in errors[1]
    assert errors[2].startswith(
        "What the code returned cannot be read: AttributeError: 'Unset' object has no attribute"
    )
    assert "RuntimeError: no" in errors[3]
    assert "Exceeds the limit" in errors[4]
    assert found[5].output == ["<Mute whose text fails with RuntimeError>"]
    assert found[6].output == "<Exits whose text fails with SystemExit>"
    assert "RuntimeError: unbound" in errors[7]


async def test_an_evaluator_whose_objects_raise_leaves_the_item_unscored(scene: Scene) -> None:
    evaluators = scene.script(
        """
        class Mute:
            def __repr__(self):
                raise RuntimeError("no")

        class Valued:
            name = "valued"

            @property
            def value(self):
                raise RuntimeError("no value")

        def mute(**kwargs):
            return Mute()

        def valued(**kwargs):
            return Valued()

        def large(**kwargs):
            return 10**400

        async def late(**kwargs):
            return Valued()

        def good(**kwargs):
            return 1

        EVALUATORS, RUN_EVALUATORS = [mute, valued, large, late, good], [valued]
        """,
        "evaluators.py",
    )
    await scene.fill(2)
    task = scene.script("def task(*, item, **kwargs):\n    return 1\n")
    answer = await scene.run(task, evaluator_script=evaluators)
    assert (answer.status, answer.succeeded) == ("completed", 2)
    assert unscored(answer) == {"mute": 2, "valued": 2, "large": 2, "late": 2}
    errors = {missing.name: missing.error for missing in (await results(scene))[0].unscored}
    assert "finite" in errors["large"]
    assert "<Mute whose text fails" in errors["mute"]
    assert "RuntimeError: no value" in errors["valued"]


async def test_outputs_in_circles_are_cut_where_they_close(scene: Scene) -> None:
    task = scene.script("""
        from dataclasses import dataclass, field

        @dataclass
        class Node:
            name: str
            parent: "Node | None" = None
            kids: list = field(default_factory=list)

        def task(*, item, **kwargs):
            root = Node("r")
            root.kids = [Node(str(number), root) for number in range(3)]
            circle = []
            circle += [circle, circle]
            return root if item.metadata["number"] else circle
    """)
    await scene.fill(2)
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded) == ("completed", 2)
    circle, tree = await outputs(scene)
    assert circle == ["<list left out: it contains itself>"] * 2
    kids = [{"name": str(number), "parent": "<Node left out: it contains itself>", "kids": []} for number in range(3)]
    assert tree == {"name": "r", "parent": None, "kids": kids}
    assert any("cycles" in warning for warning in answer.warnings)


async def test_async_code_that_ends_its_event_loop_or_its_neighbours_fails_alone(scene: Scene) -> None:
    task = scene.script("""
        import asyncio, sys

        async def leave():
            sys.exit(3)

        async def interrupt():
            raise KeyboardInterrupt

        async def task(*, item, **kwargs):
            match item.metadata["number"]:
                case 0:
                    await asyncio.create_task(leave())
                case 1:
                    asyncio.create_task(interrupt())
                    await asyncio.sleep(0.01)
                case 2:
                    asyncio.get_running_loop().stop()
                    await asyncio.sleep(0.01)
                case 3:
                    asyncio.current_task().cancel()
                    await asyncio.sleep(0)
                case 4:
                    asyncio.current_task().cancel()
            return "here"
    """)
    await scene.fill(8)
    answer = await scene.run(task)
    assert (answer.status, answer.succeeded, answer.failed, answer.pending) == ("completed", 5, 3, 0)
    found = await results(scene)
    assert "sys.exit(3)" in (found[0].error or "")
    assert found[1].output == found[2].output == "here"
    assert "the code cancelled its own task" in (found[3].error or "")
    assert "the code was cancelled by itself" in (found[4].error or "")


async def test_an_async_task_that_cancels_everything_leaves_no_item_pending(scene: Scene) -> None:
    task = scene.script("""
        import asyncio

        async def task(*, item, **kwargs):
            if item.metadata["number"] == 4:
                for each in asyncio.all_tasks():
                    each.cancel()
            await asyncio.sleep(0.01)
            return 1
    """)
    await scene.fill(30)
    answer = await scene.run(task, max_concurrency=5)
    assert (answer.status, answer.pending) == ("completed", 0)
    assert 1 <= (answer.failed or 0) <= 5
    errors = [result.error for result in await results(scene) if result.error]
    assert all("cancelled" in error for error in errors)


async def test_a_task_may_run_event_loops_of_its_own(scene: Scene) -> None:
    task = scene.script("""
        import anyio, asyncio

        async def work(number):
            await anyio.sleep(0)
            return number

        def task(*, item, **kwargs):
            run = anyio.run if item.metadata["number"] % 2 else lambda work, number: asyncio.run(work(number))
            return run(work, item.metadata["number"])
    """)
    await scene.fill(4)
    answer = await scene.run(task)
    assert answer.succeeded == 4, answer.errors
    assert await outputs(scene) == [0, 1, 2, 3]


async def test_what_task_and_evaluator_share_lives_in_one_event_loop(scene: Scene) -> None:
    script = scene.script("""
        import asyncio

        ONE = asyncio.Semaphore(1)

        async def task(*, item, **kwargs):
            async with ONE:
                await asyncio.sleep(0.001)

        async def shared(*, output, **kwargs):
            async with ONE:
                await asyncio.sleep(0.001)
                return 1

        EVALUATORS = [shared]
    """)
    await scene.fill(20)
    answer = await scene.run(script, evaluator_script=script)
    assert [(score.name, score.count, score.unscored) for score in answer.scores] == [("shared", 20, 0)]


async def test_the_time_of_a_call_does_not_run_while_it_waits_for_a_thread() -> None:
    code, begun, ended = UserCode(1, UserLoop()), Event(), Event()

    def hold() -> None:
        begun.set()
        ended.wait(PATIENCE_S)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(code.call, hold, str, is_async=False))
        await until(begun.is_set)
        asyncio.get_running_loop().call_later(1.2, ended.set)
        assert await code.call(int, str, is_async=False, timeout=1.0) == Returned("0")


async def test_what_a_script_does_to_its_item_nobody_else_sees(scene: Scene) -> None:
    await scene.fill(2, input={"messages": ["hello"]}, expected_output=[1], metadata={"number": 0, "tags": []})
    script = scene.script("""
        def spoil(item):
            seen = [len(item.input["messages"]), len(item.expected_output), len(item.metadata["tags"])]
            item.input["messages"].append("more")
            item.expected_output.append(2)
            item.metadata["tags"].append("spoiled")
            return seen

        def task(*, item, **kwargs):
            seen = spoil(item)
            if seen != [1, 1, 0]:
                return seen
            if not hasattr(task, "failed"):
                task.failed = True
                raise RuntimeError("again")
            return seen

        def first(*, item, input, **kwargs):
            return spoil(item) == [1, 1, 0] and len(input["messages"]) == 2

        def second(*, item, **kwargs):
            return spoil(item) == [1, 1, 0]

        EVALUATORS = [first, second]
    """)
    answer = await scene.run(script, evaluator_script=script, repeats=2, task_retries=1)
    assert answer.succeeded == 4
    assert [item.output for item in (await scene.record()).items] == [[1, 1, 0]] * 4
    assert [(score.name, score.mean) for score in answer.scores] == [("first", 1.0), ("second", 1.0)]


async def test_evaluators_that_give_one_name_twice_count_alike_after_a_resume(scene: Scene) -> None:
    await scene.fill(3)
    task = scene.script("def task(*, item, **kwargs):\n    return 1\n")
    evaluators = scene.script(
        """
        import time

        def slow(**kwargs):
            time.sleep(0.05)
            return {"name": "same", "value": 0.25}

        def quick(**kwargs):
            return [{"name": "same", "value": 0.75}, {"name": "other", "value": 1}]

        EVALUATORS = [slow, quick]
        """,
        "evaluators.py",
    )
    counts = []
    for resume in (False, True, True):
        answer = await scene.run(task, evaluator_script=evaluators, resume=resume)
        counts.append({score.name: (score.count, score.mean, score.unscored) for score in answer.scores})
    assert counts[0] == counts[1] == counts[2]
    assert counts[0]["same"] == (3, 0.25, 0)
    assert counts[0]["other"] == (3, 1.0, 0)
    assert counts[0]["quick"][2] == 3


async def test_async_tasks_are_told_that_another_one_blocks_their_event_loop(scene: Scene) -> None:
    await scene.fill(4)
    task = scene.script("""
        import asyncio, threading

        async def task(*, item, **kwargs):
            await asyncio.sleep(0.05)
            if item.metadata["number"] == 0:
                threading.Event().wait()
            await asyncio.sleep(0.05)
    """)
    answer = await scene.run(task, item_timeout=0.5)
    assert answer.failed == 4
    errors = {result.error for result in await results(scene)}
    assert len(errors) == 1
    assert "blocks the event loop" in (errors.pop() or "")
