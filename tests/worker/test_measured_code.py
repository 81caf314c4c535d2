"""The code of a run: what its provenance records of it, and what its folder keeps."""

import hashlib

import pytest

from lfexp_mcp.model import FileVersion, Provenance, TaskPromptVersion, changed_code, module_versions
from lfexp_mcp.runs.sources import changed_sources
from tests.worker.scene import Scene

USES_MODULE = "import words\n\ndef task(*, item, **kwargs):\n    return words.answer(item.input)\n"


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_run_records_the_users_modules_and_keeps_all_code_as_it_was_loaded(scene: Scene) -> None:
    await scene.fill(2)
    task = scene.script(USES_MODULE)
    words = scene.script("def answer(text):\n    return text.upper()\n", "words.py")
    measured = words.read_bytes()
    await scene.run(task, params=None)
    provenance = (await scene.record()).provenance
    assert provenance is not None
    assert set(provenance.code) == {"task script", "module words", "modules"}
    assert provenance.code["module words"] == hashlib.sha256(measured).hexdigest()[:12]
    folder = await scene.run_folder()
    assert changed_sources(folder) == {}

    words.write_text("def answer(text):\n    return ''\n", encoding="utf-8")
    task.unlink()
    changed = changed_sources(folder)
    assert set(changed) == {words.resolve(), task.resolve()}
    assert changed[words.resolve()].read_bytes() == measured


SCRIPT = Provenance(task=FileVersion("task.py", "aa"), modules=module_versions({"words": "bb"}, 5))


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (Provenance(task=FileVersion("moved.py", "aa"), modules=module_versions({"words": "bb"}, 5)), []),
        (Provenance(task=FileVersion("task.py", "ab"), modules=SCRIPT.modules), ["task script"]),
        (Provenance(task=SCRIPT.task, modules=module_versions({"words": "bc"}, 5)), ["module words"]),
        (Provenance(task=SCRIPT.task, modules=module_versions({}, 5)), ["module words"]),
        (Provenance(task=SCRIPT.task, modules=module_versions({"words": "bb", "more": ""}, 5)), ["module more"]),
        (Provenance(task=SCRIPT.task, modules=SCRIPT.modules, params={"k": 1}), ["params"]),
        (Provenance(task=SCRIPT.task, modules=SCRIPT.modules, evaluator_script=FileVersion("e.py", "cc")), None),
        (Provenance(task=TaskPromptVersion("p", 1, "openai", "m"), modules=SCRIPT.modules), None),
    ],
)
def test_what_of_the_code_has_changed_is_named(now: Provenance, changed: list[str] | None) -> None:
    found = changed_code(SCRIPT.code, now.code)
    assert found == changed if changed is not None else found


def test_of_a_run_that_recorded_no_modules_none_are_compared_and_many_are_compared_as_one() -> None:
    older = Provenance(task=SCRIPT.task)
    assert changed_code(older.code, SCRIPT.code) == []
    many = {f"m{number:02}": str(number) for number in range(9)}
    before, after = (
        Provenance(task=SCRIPT.task, modules=module_versions(each, 3)) for each in (many, {**many, "m08": "x"})
    )
    assert changed_code(before.code, after.code) == ["modules"]
    assert Provenance().code == {}
