"""The commands that show datasets and judges, and that create a prompt."""

import pytest

from tests.cli.conftest import Shell


@pytest.mark.slow
def test_datasets_judges_and_prompts_are_shown_as_the_tools_do(shell: Shell) -> None:
    assert shell("dataset", "create", "--name", "shown in the shell", "--metadata", '{"owner": "me"}').code == 0
    shell("dataset", "add-items", "--dataset", "shown in the shell", "--input", "a", "--metadata", '{"l": "de"}')
    shell("judge", "create", "--name", "judge-shell", "--prompt", "Rate {{output}} from 0 to 10.")
    created = shell("prompt", "create", "--name", "shell prompt", "--prompt", "Answer {{input}}.", "--json")
    assert created.json["placeholders"] == ["input"]

    listed = shell("dataset", "list", "--limit", "100", "--json").json["datasets"]
    assert isinstance(listed, list)
    assert {"name": "shown in the shell", "items": 1} in listed
    shown = shell("dataset", "show", "--dataset", "shown in the shell")
    assert shown.code == 0
    assert " has 1 items" in shown.out
    assert "de (1)" in shown.out
    assert shell("dataset", "show", "--dataset", "shown in the shell", "--json").json["metadata"] == {"owner": "me"}
    whole = shell("judge", "list", "--judge", "judge-shell")
    assert "Rate {{output}} from 0 to 10." in whole.out
    assert "judge-shell" in shell("judge", "list", "--limit", "100").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset", "show", "--dataset", "nowhere"),
        ("judge", "list", "--judge", "judge-nowhere"),
        ("prompt", "create", "--name", "x"),
    ],
)
def test_what_is_not_there_is_an_error_with_the_command_that_helps(shell: Shell, arguments: tuple[str, ...]) -> None:
    ran = shell(*arguments)
    assert ran.code == 2
    assert ran.err.startswith("Error:")
