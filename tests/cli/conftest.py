"""The shell, run in this process against a real store."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import JsonValue

from lfexp_mcp.cli.app import run_command
from lfexp_mcp.store.process import StoreConnection

TASK = """
def task(*, item, **kwargs):
    if item.input == "bad":
        raise ValueError("cannot do that")
    return {answer}
"""
EVALUATORS = """
from langfuse import Evaluation


def right(*, output, expected_output, **kwargs):
    return Evaluation(name="right", value=float(output == expected_output), comment=f"said {output}")
"""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, JsonValue]:
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Shell = Callable[..., Ran]


@pytest.fixture
def shell_environment(home: Path, store: StoreConnection) -> dict[str, str]:
    """The variables by which a shell reaches the store."""
    return _environment(home, store)


@pytest.fixture
def shell(
    shell_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Run a command as `lfexp-mcp ARGUMENTS` does, and return its exit code and what it printed."""
    for name, value in shell_environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Ran:
        code = run_command(arguments)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Write a script and return its path."""

    def write(name: str, source: str) -> str:
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return str(path)

    return write


@dataclass(frozen=True)
class Compared:
    """A dataset with two runs: `echo` gives back its input, `upper` gives it in capitals."""

    dataset: str
    runs: tuple[str, str] = ("echo", "upper")


@pytest.fixture(scope="session")
def compared(store: StoreConnection, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Make the dataset and both runs, once for all tests that only read them."""
    folder = tmp_path_factory.mktemp("compared")

    def run(*arguments: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in _environment(folder / "home", store).items():
                patch.setenv(name, value)
            assert run_command(arguments) == 0

    items = [
        {"input": f"Item {number}", "expected_output": f"ITEM {number}" if number < 9 else f"Item {number}"}
        for number in range(12)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (folder / "evaluators.py").write_text(EVALUATORS, encoding="utf-8")
    dataset = "compared by the shell"
    run("dataset", "create", "--name", dataset, "--items-file", str(folder / "items.jsonl"))
    for name, answer in (("echo", "item.input"), ("upper", "item.input.upper()")):
        (folder / f"{name}.py").write_text(TASK.format(answer=answer), encoding="utf-8")
        scripts = ("--task-script", str(folder / f"{name}.py"), "--evaluator-script", str(folder / "evaluators.py"))
        run("run", "--dataset", dataset, "--run-name", name, *scripts)
    return Compared(dataset)


def _environment(home: Path, store: StoreConnection) -> dict[str, str]:
    return {
        "LFEXP_HOME": str(home),
        "LANGFUSE_HOST": store.base_url,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
    }
