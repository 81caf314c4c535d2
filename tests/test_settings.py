"""What is read from the environment, and what is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lfexp_mcp.errors import CredentialsError, UsageError
from lfexp_mcp.settings import Settings, load_settings


def test_a_users_own_variables_of_like_names_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PYTHON", "KEEP_RUNS", "JUDGE_MODEL", "JUDGE_CONCURRENCY", "LANGFUSE_URL"):
        monkeypatch.setenv(name, "77")
    settings = load_settings()
    assert settings.home != Path("77")
    assert settings.home.name == "lfexp-mcp"
    assert (settings.python, settings.keep_runs, settings.judge_model) == (None, 200, None)
    assert settings.langfuse_url == "https://cloud.langfuse.com"


def test_our_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LFEXP_HOME", str(tmp_path))
    monkeypatch.setenv("LFEXP_KEEP_RUNS", "3")
    monkeypatch.setenv("LANGFUSE_HOST", "http://example.test")
    settings = load_settings()
    assert (settings.home, settings.keep_runs, settings.langfuse_url) == (tmp_path, 3, "http://example.test")


def test_a_relative_path_means_the_same_wherever_a_task_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFEXP_HOME", "state")
    monkeypatch.setenv("LFEXP_PYTHON", str(Path("venv", "python")))
    settings = load_settings()
    assert (settings.home, settings.python) == (tmp_path.resolve() / "state", Path.cwd() / "venv" / "python")


def test_a_tilde_is_the_users_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFEXP_HOME", str(Path("~", "state")))
    assert load_settings().home == Path.home().resolve() / "state"
    monkeypatch.setenv("LFEXP_HOME", "~nobody-of-this-name")
    with pytest.raises(UsageError, match="LFEXP_HOME"):
        load_settings()


def test_an_interpreter_may_be_a_command_or_a_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LFEXP_PYTHON", "python3")
    assert load_settings().python == Path("python3")
    link = tmp_path / "python"
    try:
        link.symlink_to(sys.executable)
    except OSError:
        pytest.skip("This user may make no links here.")
    monkeypatch.setenv("LFEXP_PYTHON", str(link))
    assert load_settings().python == link


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "")
    monkeypatch.setenv("LFEXP_PYTHON", "")
    assert load_settings().embedded
    assert load_settings().python is None


@pytest.mark.parametrize(("name", "value"), [("LFEXP_KEEP_RUNS", "0"), ("LFEXP_JUDGE_PROVIDER", "oracle")])
def test_an_impossible_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        load_settings()


def test_one_key_of_two_is_refused_with_the_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-alone")
    with pytest.raises(CredentialsError, match="LANGFUSE_PUBLIC_KEY") as refused:
        _ = load_settings().embedded
    assert "alone" not in str(refused.value)


@pytest.mark.slow
def test_secrets_hide_in_a_settings_own_text() -> None:
    program = "from lfexp_mcp.settings import Settings; print(repr(Settings()))"
    environment = {
        **os.environ,
        "LANGFUSE_SECRET_KEY": "sk-hidden-1",
        "OPENAI_API_KEY": "sk-hidden-2",
        "ANTHROPIC_API_KEY": "sk-hidden-3",
    }
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "hidden" not in ran.stdout
    assert Settings.__name__ in ran.stdout
