import asyncio
import inspect
import pickle
import sys
from pathlib import Path

import pytest

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.scripts import ScriptItem, load_task
from tests.scripts.conftest import WriteScript

ITEM = ScriptItem("item-1", "2+2?", "4", {"level": "easy"}, dataset_id="d1", dataset_name="sums")


def test_the_specifications_task_runs_as_printed(write_script: WriteScript) -> None:
    path = write_script(
        '''
        def task(*, item, **kwargs):
            """
            Execute task on a dataset item.
            """
            return f"{item.input} {item.expected_output} {item.metadata['level']}"
        '''
    )
    task = load_task(path)
    assert not task.is_async
    assert task.call(ITEM) == "2+2? 4 easy"


def test_an_async_task_gives_a_coroutine(write_script: WriteScript) -> None:
    task = load_task(write_script("async def task(*, item, **kwargs):\n    return item['input']"))
    assert task.is_async
    pending = task.call(ITEM)
    assert inspect.iscoroutine(pending)
    assert asyncio.run(pending) == "2+2?"


@pytest.mark.parametrize(
    "source",
    [
        "def task(item): return item.input",
        "def task(item, verbose=False): return item.input",
        "def task(**kwargs): return kwargs['item'].input",
        "task = lambda *, item, **kwargs: item.input",
        "class Task:\n    def __call__(self, item): return item.input\ntask = Task()",
        "import functools\ndef call(model, *, item): return item.input\ntask = functools.partial(call, 'm')",
    ],
)
def test_whatever_can_be_called_with_an_item_is_a_task(write_script: WriteScript, source: str) -> None:
    assert load_task(write_script(source)).call(ITEM) == "2+2?"


@pytest.mark.parametrize(
    "source",
    [
        "class Task:\n    async def __call__(self, *, item): return item.input\ntask = Task()",
        "import functools\nasync def call(model, *, item): return 1\ntask = functools.partial(call, 'm')",
    ],
)
def test_async_is_seen_through_objects_and_partials(write_script: WriteScript, source: str) -> None:
    assert load_task(write_script(source)).is_async


def test_an_item_reads_as_object_and_as_mapping() -> None:
    assert ITEM["expected_output"] == ITEM.expected_output == "4"
    assert ITEM.get("nothing") is None
    assert dict(ITEM)["dataset_name"] == "sums"
    with pytest.raises(KeyError):
        ITEM["nothing"]


def test_an_item_can_be_pickled() -> None:
    assert dict(pickle.loads(pickle.dumps(ITEM))) == dict(ITEM)


def test_a_scripts_dataclasses_can_be_pickled(write_script: WriteScript) -> None:
    path = write_script(
        """
        from __future__ import annotations
        import dataclasses

        @dataclasses.dataclass
        class Answer:
            text: str

        def task(*, item, **kwargs):
            return Answer(item.input)
        """,
        "answering.py",
    )
    answer = load_task(path).call(ITEM)
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_the_code_that_runs_is_the_code_on_disk(write_script: WriteScript) -> None:
    load_task(write_script("def task(*, item): return 'one'", "v1/same.py"))
    task = load_task(write_script("def task(*, item): return 'two'", "v2/same.py"))
    assert task.call(ITEM) == "two"


def test_a_script_named_like_a_module_leaves_that_module_alone(write_script: WriteScript) -> None:
    module = sys.modules["json"]
    assert load_task(write_script("def task(*, item): return 'mine'", "json.py")).call(ITEM) == "mine"
    assert sys.modules["json"] is module


def error_of(path: Path) -> str:
    with pytest.raises(ScriptError) as caught:
        load_task(path)
    return str(caught.value)


def test_a_missing_script_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    text = error_of(tmp_path / "gone.py")
    assert str(tmp_path.resolve() / "gone.py") in text
    assert "absolute path" in text


def test_a_script_has_to_end_in_py(tmp_path: Path) -> None:
    assert "end in .py" in error_of(tmp_path / "task.txt")


def test_a_folder_is_no_script(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    assert "folder.py" in error_of(tmp_path / "folder.py")


def test_a_script_without_a_task_is_told_what_one_looks_like(write_script: WriteScript) -> None:
    text = error_of(write_script("def run(item): ..."))
    assert "`task`" in text
    assert "def task(*, item, **kwargs):" in text


@pytest.mark.parametrize(
    ("source", "wants"),
    [
        ("def task(text): ...", "needs text"),
        ("def task(*, item, model): ...", "needs model"),
        ("def task(): ...", "takes no argument named `item`"),
        ("def task(item, /): ...", "needs item by position"),
        ("task = 'hello'", "is a str"),
        ("def task(*, item):\n    yield 1", "is a generator"),
        ("async def task(*, item):\n    yield 1", "is a generator"),
    ],
)
def test_a_task_that_cannot_take_an_item_is_refused(write_script: WriteScript, source: str, wants: str) -> None:
    text = error_of(write_script(source))
    assert wants in text
    assert "def task(*, item, **kwargs):" in text


def test_a_failing_import_shows_the_end_of_its_own_traceback(write_script: WriteScript) -> None:
    path = write_script(
        """
        def prepare():
            raise RuntimeError("no model file")

        prepare()
        """
    )
    text = error_of(path)
    assert text.endswith("RuntimeError: no model file")
    assert 'raise RuntimeError("no model file")' in text
    assert "importlib" not in text
    assert "lfexp_mcp" not in text.replace(str(path), "")


def test_a_missing_import_is_named(write_script: WriteScript) -> None:
    assert "No module named 'no_such_package'" in error_of(write_script("import no_such_package"))


def test_a_syntax_error_is_shown_where_it_is(write_script: WriteScript) -> None:
    text = error_of(write_script("def task(*, item:\n    return 1"))
    assert "line 1" in text
    assert "SyntaxError" in text


def test_a_script_that_exits_on_import_is_an_error(write_script: WriteScript) -> None:
    assert "SystemExit: 3" in error_of(write_script("import sys\nsys.exit(3)"))


def test_a_long_failure_keeps_its_first_line(write_script: WriteScript) -> None:
    text = error_of(write_script("raise ValueError('first line\\n' + 'x\\n' * 100 + 'y' * 9000)"))
    assert "ValueError: first line" in text
    assert len(text) < 4000


def test_a_failed_import_leaves_nothing_behind(write_script: WriteScript) -> None:
    error_of(write_script("raise ValueError", "broken_script.py"))
    assert "broken_script" not in sys.modules
