"""The shell's flags: several values after one, and every documented command as the request that it states."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer
from pydantic import JsonValue

from lfexp_mcp.cli.flags import command, repeat_list_flags
from lfexp_mcp.errors import UsageError
from lfexp_mcp.services.experiments.recordings import RecordedRunRequest
from lfexp_mcp.services.requests import (
    AnalyzeRequest,
    CancelRunRequest,
    CommentsRequest,
    ConfirmRequest,
    GetRunRequest,
    JudgeCheckRequest,
    LabelsRequest,
    ListRunsRequest,
    PairsRequest,
    Request,
    ScoreRunRequest,
)

ROOT = Path(__file__).parents[2]
REQUESTS: Mapping[str, type[Request]] = {
    "run": RecordedRunRequest,
    "score-run": ScoreRunRequest,
    "judge-pairs": PairsRequest,
    "confirm": ConfirmRequest,
    "list-runs": ListRunsRequest,
    "get-run": GetRunRequest,
    "analyze": AnalyzeRequest,
    "comments": CommentsRequest,
    "request-labels": LabelsRequest,
    "check-judge": JudgeCheckRequest,
    "cancel": CancelRunRequest,
}
DOCUMENTED = [
    line
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for line in re.findall(r"^lfexp-mcp (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if line.split()[0] in REQUESTS
]


def asked(line: str) -> Request:
    """The request that a command line states."""
    name, *arguments = shlex.split(line, comments=True)
    found: list[Request] = []

    def keep(request: Request) -> None:
        found.append(request)

    keep.__annotations__["request"] = REQUESTS[name]
    app = typer.Typer()
    app.command()(command(keep))
    app(repeat_list_flags(arguments), standalone_mode=False)
    [request] = found
    return request


@pytest.mark.parametrize("line", DOCUMENTED)
def test_a_documented_command_states_a_request(line: str) -> None:
    assert asked(line).model_fields_set


RUN = "run --dataset d --run-name r --task-script t.py"


@pytest.mark.parametrize(
    ("flags", "field", "stated"),
    [
        ("""--params '{"k": [1, {"a": null}]}'""", "params", {"k": [1, {"a": None}]}),
        ("""--metadata '{"owner": "me"}'""", "metadata", {"owner": "me"}),
        ("""--engine ray --engine-options '{"num_cpus": 0.5}'""", "engine_options", {"num_cpus": 0.5}),
        ("""--evaluators a 'b:c={"d": 1}'""", "evaluators", ["a", 'b:c={"d": 1}']),
        ("--judges judge-a judge-b", "judges", ["judge-a", "judge-b"]),
    ],
)
def test_a_flag_states_what_its_field_takes(flags: str, field: str, stated: JsonValue) -> None:
    request = asked(f"{RUN} {flags}")
    assert request.model_dump(mode="json", exclude_unset=True)[field] == stated


def test_variants_are_given_as_json() -> None:
    request = asked(f"""{RUN} --variants '[{{"name": "a", "params": {{"k": 1}}}}, {{"name": "b"}}]'""")
    assert isinstance(request, RecordedRunRequest)
    assert [(each.name, each.params) for each in request.variants or ()] == [("a", {"k": 1}), ("b", None)]


@pytest.mark.parametrize("text", ["", "{", "[]", "x", "3", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}'])
@pytest.mark.parametrize("flag", ["params", "metadata", "variants"])
def test_what_is_no_json_of_its_kind_is_refused_by_its_flag(flag: str, text: str) -> None:
    with pytest.raises(UsageError, match=flag):
        asked(f"{RUN} --{flag} {shlex.quote(text)}")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["compare", "--runs", "a", "b", "c"], ["compare", "--runs", "a", "--runs", "b", "--runs", "c"]),
        (["--judges", "x", "--run-name", "r"], ["--judges", "x", "--run-name", "r"]),
        (["--runs", "a", "--runs", "b"], ["--runs", "a", "--runs", "b"]),
        (["--runs=a", "b"], ["--runs=a", "--runs", "b"]),
        (
            ["--runs", "a", "b", "--json", "--fail-if", "x<1", "worse"],
            ["--runs", "a", "--runs", "b", "--json", "--fail-if", "x<1", "--fail-if", "worse"],
        ),
        (
            ["--dataset", "two words", "--runs", "one run", "another"],
            ["--dataset", "two words", "--runs", "one run", "--runs", "another"],
        ),
        (["--dataset", "d", "stray"], ["--dataset", "d", "stray"]),
        ([], []),
    ],
)
def test_a_flag_with_several_values_is_repeated_before_each(given: list[str], meant: list[str]) -> None:
    assert repeat_list_flags(given) == meant
