"""Each command of the shell, against a real store."""

import json
import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydantic import BaseModel, ConfigDict, JsonValue

from lfexp_mcp.answers.analysis import Analysis
from lfexp_mcp.answers.annotations import AnnotationComments
from lfexp_mcp.answers.catalog import DatasetAnswer, JudgeAnswer
from lfexp_mcp.answers.clients import Diagnosis
from lfexp_mcp.answers.comparison import Comparison, ConfirmAnswer
from lfexp_mcp.answers.run import RunAnswer, RunDetail, RunList
from lfexp_mcp.cli.app import run_command
from lfexp_mcp.reports.untrusted import is_safe
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.store.process import stop_store
from lfexp_mcp.tools.pages import page_address
from tests.cli.conftest import TASK, Compared, Ran, Shell


def test_a_dataset_grows_by_single_items_and_by_files(shell: Shell, tmp_path: Path) -> None:
    name = f"grows {tmp_path.name}"
    made = DatasetAnswer.model_validate(
        shell("dataset", "create", "--name", name, "--description", "testing", "--json").json
    )
    assert (made.stored, made.total_items) == (0, 0)
    one = shell(
        "dataset", "add-items", "--dataset", name, "--input", "What is ML?", "--expected-output", "Learning", "--json"
    )
    assert DatasetAnswer.model_validate(one.json).total_items == 1
    table = tmp_path / "items.csv"
    table.write_text("question,answer\nq1,a1\nq2,a2\n", encoding="utf-8")
    fields = json.dumps({"input": "question", "expected_output": "answer"})
    more = shell("dataset", "add-items", "--dataset", name, "--items-file", str(table), "--fields", fields)
    assert more.code == 0
    assert "has 3 items; 2 stored" in more.out


@pytest.mark.slow
def test_a_run_that_does_not_complete_exits_with_1(shell: Shell, script: Callable[..., str], tmp_path: Path) -> None:
    name = f"hopeless {tmp_path.name}"
    shell("dataset", "create", "--name", name)
    for number in range(4):
        shell("dataset", "add-items", "--dataset", name, "--input", str(number))
    task = script("hopeless.py", "def task(*, item, **kwargs):\n    raise ValueError('no')\n")
    arguments = ("--dataset", name, "--run-name", "r", "--task-script", task, "--max-concurrency", "1")
    ran = shell("run", *arguments, "--fail-on-error", "2", "--json")
    assert ran.code == 1
    assert RunAnswer.model_validate(ran.json).status == "failed"


@pytest.mark.slow
def test_a_part_of_a_dataset_is_chosen_in_the_words_of_the_shell(
    shell: Shell, script: Callable[..., str], tmp_path: Path
) -> None:
    name = f"part {tmp_path.name}"
    rows = [{"id": f"{tmp_path.name}-{n}", "input": str(n), "language": "de" if n < 3 else "en"} for n in range(5)]
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shell("dataset", "create", "--name", name)
    shell("dataset", "add-items", "--dataset", name, "--items-file", str(file))
    task = script("same.py", "def task(*, item, **kwargs):\n    return item.input\n")
    choices = {
        "2": "2 of 5 items: a sample",
        "language=de": "3 of 5 items: language=de",
        f"{rows[0]['id']},{rows[4]['id']}": "2 of 5 items: listed by id",
        '{"where": "language in [de, en]", "sample": 3}': "3 of 5 items: a sample of language in [de, en]",
        "all": None,
    }
    for number, (items, part) in enumerate(choices.items()):
        run = ("run", "--dataset", name, "--run-name", f"r{number}", "--task-script", task, "--items", items, "--json")
        assert RunAnswer.model_validate(shell(*run).json).part == part
    shown = shell("get-run", "--dataset", name, "--run-name", "r0")
    assert "Part of the dataset: 2 of 5 items: a sample." in shown.out
    assert "--items all --resume" in shown.out
    assert (
        shell("run", "--dataset", name, "--run-name", "no", "--task-script", task, "--items", "language=fr").code == 2
    )


@pytest.mark.slow
def test_runs_are_listed_and_shown(shell: Shell, compared: Compared) -> None:
    listed = RunList.model_validate(shell("list-runs", "--dataset", compared.dataset, "--json").json)
    assert [run.name for run in listed.runs] == ["upper", "echo"]
    shown = shell("get-run", "--dataset", compared.dataset, "--run-name", "echo", "--limit", "3", "--json")
    assert len(RunDetail.model_validate(shown.json).items) == 3
    table = shell("get-run", "--dataset", compared.dataset, "--run-name", "echo").out
    assert "12 of 12 items succeeded" in table
    assert "right" in table
    asked = ("get-run", "--dataset", compared.dataset, "--run-name", "echo")
    failed = RunDetail.model_validate(shell(*asked, "--which", "failed", "--sort", "slowest", "--json").json)
    assert failed.matching == len(failed.items) < 12
    below = RunDetail.model_validate(shell(*asked, "--below", "70%", "--score-name", "right", "--json").json)
    assert {item.item_id for item in below.items} == {item.item_id for item in failed.items}
    assert shell(*asked, "--which", "broken").code == 2
    item = shell(*asked, "--item-id", failed.items[0].item_id).out
    assert f"Item {failed.items[0].item_id}: succeeded" in item


def test_a_comparison_says_its_verdict_and_exits_with_0_without_a_gate(shell: Shell, compared: Compared) -> None:
    ran = shell("compare", "--dataset", compared.dataset, "--runs", *compared.runs)
    assert ran.code == 0
    assert "right" in ran.out
    assert "9/3/0" in ran.out


@pytest.mark.parametrize(("gate", "code"), [("right<0.5", 0), ("right<0.8", 1), ("right.delta<0", 0)])
def test_a_gate_decides_the_exit_code(shell: Shell, compared: Compared, gate: str, code: int) -> None:
    ran = shell("compare", "--dataset", compared.dataset, "--runs", *compared.runs, "--fail-if", gate, "--json")
    assert ran.code == code
    comparison = Comparison.model_validate(ran.json)
    assert comparison.gate is not None
    assert comparison.gate.passed is (code == 0)


def test_junit_tells_ci_what_failed_and_every_value_checked(shell: Shell, compared: Compared) -> None:
    ran = _compare(shell, compared, "--output", "junit", "--fail-if", "right<0.8", "right<0.5")
    assert ran.code == 1
    suites = ET.fromstring(ran.out)
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "0")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["right<0.8"]
    (passed,) = [case for case in suite if case.get("name") == "right<0.5"]
    assert "canonical 0-1" in (passed.findtext("system-out") or "")


def test_markdown_is_a_table_without_commands(shell: Shell, compared: Compared) -> None:
    ran = _compare(shell, compared, "--output", "markdown")
    assert ran.out.startswith("<!-- lfexp-mcp:")
    assert "| run | score | verdict |" in ran.out
    assert "Next" not in ran.out


@pytest.mark.slow
def test_a_page_of_a_comparison_is_printed_and_the_gate_decides(shell: Shell, compared: Compared) -> None:
    ran = _compare(shell, compared, "--output", "html", "--fail-if", "right<0.8")
    assert ran.code == 1
    assert ran.out.startswith("<!doctype html>")
    assert "<strong>Gate</strong> FAILED (1 checks)" in ran.out
    assert ">9/3/0</td>" in ran.out


def test_a_report_is_written_for_its_user_alone_and_replaces_nothing_unasked(
    shell: Shell, compared: Compared, tmp_path: Path
) -> None:
    file, other = tmp_path / "report.html", tmp_path / "other"
    of = ("report", "--dataset", compared.dataset, "--runs")
    ran = shell(*of, *compared.runs, "--output", str(file))
    assert (ran.code, ran.out) == (0, "")
    assert str(file) in ran.err
    first = file.read_text(encoding="utf-8")
    assert "upper against echo" in first
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600
    refused = shell(*of, "upper", "--output", str(file))
    assert (refused.code, file.read_text(encoding="utf-8")) == (2, first)
    assert "--overwrite" in refused.err
    other.write_text("mine", encoding="utf-8")
    file.unlink()
    file.symlink_to(other)
    assert shell(*of, "upper", "--output", str(file)).code == 2
    assert shell(*of, "upper", "--output", str(file), "--overwrite").code == 0
    assert '<h1 dir="auto">upper</h1>' in file.read_text(encoding="utf-8")
    assert other.read_text(encoding="utf-8") == "mine", "a link is replaced, not followed"
    assert sorted(tmp_path.iterdir()) == [other, file], "no draft is left"


@pytest.mark.parametrize("output", ["", " ", "folder", "nowhere/report.html", "report.html ", "x" * 300])
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    shell: Shell, compared: Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    ran = shell("report", "--dataset", compared.dataset, "--runs", "upper", "--output", output)
    assert (ran.code, ran.out) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.slow
def test_a_report_is_asked_for_by_names_or_by_the_address_of_an_answer(shell: Shell, compared: Compared) -> None:
    address = page_address(CompareRequest(dataset=compared.dataset, runs=["echo", "upper"], score_name="right"))
    assert address is not None
    by_address = shell("report", address, "--output", "-")
    assert by_address.code == 0
    by_names = shell("report", "--dataset", compared.dataset, "--runs", *compared.runs, "--output", "-")
    rows = [re.findall("<tr.*?</tr>", ran.out, flags=re.DOTALL) for ran in (by_address, by_names)]
    assert rows[0] == rows[1] != []
    for wrong in (("langfuse://datasets/x",), (address, "--dataset", "x"), ("--runs", "a"), ("--dataset", "x")):
        assert shell("report", *wrong, "--output", "-").code == 2


def test_all_forms_are_written_by_one_comparison_and_the_gate_decides_the_exit_code(
    shell: Shell, compared: Compared, tmp_path: Path
) -> None:
    files = {form: tmp_path / f"a.{form}" for form in ("json", "markdown", "junit", "github", "text", "result-json")}
    ran = _compare(
        shell, compared, "--fail-if", "right<0.8", "--write", *(f"{form}={file}" for form, file in files.items())
    )
    written = {form: file.read_text(encoding="utf-8") for form, file in files.items()}
    assert ran.code == 1
    assert "Gate: FAILED" in ran.out
    assert Comparison.model_validate_json(written["json"]).gate is not None
    assert "Gate FAILED, 1 of 1 condition not met" in written["markdown"]
    assert ET.fromstring(written["junit"]).get("failures") == "1"
    assert written["github"].startswith("::error title=Gate%3A right<0.8::")
    assert "Gate: FAILED" in written["text"]
    assert json.loads(written["result-json"])["schema_version"] == "v1"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--fail-if", ""), 2, "is not a condition"),
        (("--fail-if", "right<8"), 2, "4/5"),
        (("--fail-if", "rihgt<0.8"), 2, "no run has a score"),
        (("--fail-if", "right<0.1", "right<"), 2, "is not a condition"),
        (("--baseline", "never-run", "--fail-if", "worse"), 2, "never-run"),
        (("--write", "junit"), 2, "--write"),
        (("--write", "junit=/nowhere/at/all.xml"), 2, "/nowhere/at/all.xml"),
        (("--fail-if", "right<0.1", "right<0.8", "right.delta<0"), 1, ""),
        (("--fail-if", "right<0.75"), 0, ""),
        (("--fail-if", "right>0.75"), 0, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_a_gate_cannot_be_is_wrong_usage_and_not_a_gate_that_failed(
    shell: Shell, compared: Compared, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ran = _compare(shell, compared, *arguments)
    assert (ran.code, said in ran.err) == (code, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset", "add-items", "--dataset", "d", "--input", "i", "--fields", '{"input": "q"}'),
        ("dataset", "add-items", "--dataset", "d", "--items-file", "i.jsonl", "--metadata", '{"a": 1}'),
        ("dataset", "add-items", "--dataset", "d", "--items-file", "i.jsonl", "--expected-output", "o"),
        ("dataset", "add-items", "--dataset", "d"),
        ("dataset", "create", "--name", "d", "--fields", '{"input": "q"}'),
        ("dataset", "create", "--name", "d", "--description", "\udcff"),
        ("judge", "create", "--name", "judge-j", "--prompt", "\udcff"),
        ("prompt", "create", "--name", "p", "--prompt", "x", "--config", '{"a": NaN}'),
        ("run", "--dataset", "d", "--run-name", "r", "--task-script", "t.py", "--params", '{"a": NaN}'),
        ("compare", "--dataset", "d", "--runs", "a", "b", "--json", "--output", "junit"),
        ("compare", "--dataset", "d", "--runs", "a", "b", "--write", "junit=x", "html=x"),
        ("comments", "--since", "2026-01-02", "--until", "2026-01-01"),
        ("comments", "--since", "5"),
        ("report",),
        ("report", "--runs", "a"),
        ("report", "--dataset", "d"),
        ("serve", "--port", "80"),
        ("serve", "--host", "0.0.0.0"),
        ("serve", "--no-auth"),
        ("serve", "--http", "--host", ""),
        ("store", "--folder", ""),
        ("store", "--folder", __file__),
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_sense_are_wrong_usage_and_no_bug(shell: Shell, arguments: tuple[str, ...]) -> None:
    ran = shell(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: ")
    assert "bug" not in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe of POSIX breaks at once")
def test_a_reader_that_has_gone_makes_no_gate_pass(
    shell: Shell, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("compare", "--dataset", compared.dataset, "--runs", *compared.runs).code == 0
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), os.fdopen(writer, "w", encoding="utf-8") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        gate = ["--fail-if", "right<0.8"]
        assert run_command(["compare", "--dataset", compared.dataset, "--runs", *compared.runs, *gate]) == 141


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Evaluation(_Strict):
    name: str
    value: float | str | bool | None
    comment: str = ""
    metadata: dict[str, JsonValue] = {}
    data_type: str = ""
    config_id: str = ""


class _Item(_Strict):
    item: dict[str, JsonValue]
    input: JsonValue = None
    expected_output: JsonValue = None
    output: JsonValue = None
    evaluations: list[_Evaluation]
    trace_id: str = ""


class _Experiment(_Strict):
    experiment_id: str
    run_name: str
    item_results: list[_Item]
    run_evaluations: list[_Evaluation]


class _Error(_Strict):
    name: str
    message: str
    is_regression: bool
    details: str = ""


class _Result(_Strict):
    script_path: str
    script_name: str
    runtime: str
    duration_ms: float
    status: str
    langfuse_experiment_url: str | None
    error: _Error | None
    experiment_result: _Experiment | None


class _ResultJson(_Strict):
    """The schema `result-json.v1` of langfuse/experiment-action."""

    schema_version: str
    action_metadata: dict[str, str]
    results: list[_Result]


def test_result_json_has_the_form_of_langfuses_action(shell: Shell, compared: Compared) -> None:
    ran = _compare(shell, compared, "--output", "result-json", "--fail-if", "right<0.8")
    assert ran.code == 1
    result = _ResultJson.model_validate(ran.json)
    assert result.schema_version == "v1"
    (entry,) = result.results
    assert (entry.script_name, entry.status, entry.runtime) == ("upper", "regression", "python")
    assert entry.experiment_result is not None
    assert len(entry.experiment_result.item_results) == 12
    assert {score.name for item in entry.experiment_result.item_results for score in item.evaluations} == {"right"}


@pytest.mark.slow
def test_result_json_holds_no_raw_characters_that_steer_a_terminal(
    shell: Shell, script: Callable[..., str], tmp_path: Path
) -> None:
    name, text = f"raw {tmp_path.name}", "a\u202eb\u2028c\x9bd"
    shell("dataset", "create", "--name", name)
    shell("dataset", "add-items", "--dataset", name, "--input", "any")
    task = script("task.py", f"def task(*, item, **kwargs):\n    return {text!a}\n")
    for run in ("one", "two"):
        assert shell("run", "--dataset", name, "--run-name", run, "--task-script", task).code == 0
    ran = shell("compare", "--dataset", name, "--runs", "one", "two", "--output", "result-json")
    assert all(map(is_safe, ran.out.splitlines()))
    (entry,) = _ResultJson.model_validate(ran.json).results
    assert entry.experiment_result is not None
    assert entry.experiment_result.item_results[0].output == text


def test_an_analysis_shows_failures_lowest_first(shell: Shell, compared: Compared) -> None:
    arguments = ("analyze", "--dataset", compared.dataset, "--run-name", "echo", "--score-name", "right")
    shown = shell(*arguments, "--show-failures", "--score-threshold", "0.7")
    assert shown.code == 0
    assert "9 below 0.7" in shown.out
    assert "said Item 0" in shown.out
    analysis = Analysis.model_validate(shell(*arguments, "--json").json)
    assert analysis.failures.total == 9


@pytest.mark.slow
def test_comments_are_asked_for_by_run(shell: Shell, compared: Compared) -> None:
    arguments = ("comments", "--dataset", compared.dataset, "--run-name", "echo", "--since", "2020-01-01", "--json")
    comments = AnnotationComments.model_validate(shell(*arguments, "--themes", '{"tone": ["rude"]}').json)
    assert comments.total == 0


def test_a_judge_is_made_from_a_file(shell: Shell, tmp_path: Path) -> None:
    prompt = tmp_path / "judge.txt"
    prompt.write_text("Is {{output}} a good answer to {{input}}?", encoding="utf-8")
    flags = ("--prompt-file", str(prompt), "--config", '{"scale": "1-5"}', "--labels", "production", "draft", "--json")
    made = JudgeAnswer.model_validate(shell("judge", "create", "--name", "judge-from-file", *flags).json)
    assert (made.scale, made.scale_source, made.placeholders) == ("1-5", "prompt config", ["output", "input"])
    assert {"production", "draft"} <= set(made.labels)


@pytest.mark.slow
def test_cancelling_a_run_that_has_ended_leaves_it_as_it_is(
    shell: Shell, script: Callable[..., str], tmp_path: Path
) -> None:
    name = f"ended {tmp_path.name}"
    shell("dataset", "create", "--name", name)
    shell("dataset", "add-items", "--dataset", name, "--input", "x")
    shell("run", "--dataset", name, "--run-name", "r", "--task-script", script("t.py", TASK.format(answer="1")))
    ran = shell("cancel", "--dataset", name, "--run-name", "r", "--json")
    assert RunAnswer.model_validate(ran.json).status == "completed"


def test_a_run_of_another_machine_cannot_be_cancelled_here(shell: Shell, compared: Compared) -> None:
    ran = shell("cancel", "--dataset", compared.dataset, "--run-name", "echo")
    assert ran.code == 2
    assert "on this machine named 'echo'" in ran.err


def test_the_doctor_finds_what_works_and_what_is_missing(shell: Shell) -> None:
    ran = shell("doctor", "--json")
    assert ran.code == 0
    diagnosis = Diagnosis.model_validate(ran.json)
    assert diagnosis.healthy
    found = {check.name: check for check in diagnosis.checks}
    assert found["keys accepted"].status == "ok"
    assert found["judges on OpenAI"].status == "warning"
    assert found["interpreter of scripts"].status == "ok"
    assert all(check.advice for check in diagnosis.checks if check.status != "ok")


def test_the_doctor_says_what_is_broken_and_exits_with_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-wrong")
    ran = shell("doctor")
    assert ran.code == 2
    assert "broken" in ran.out
    assert "sk-lf-wrong" not in ran.out + ran.err
    monkeypatch.delenv("LANGFUSE_SECRET_KEY")
    ran = shell("doctor", "--json")
    assert ran.code == 2
    keys = next(check for check in Diagnosis.model_validate(ran.json).checks if check.name == "Langfuse keys")
    assert keys.advice is not None
    assert "LANGFUSE_SECRET_KEY" in keys.advice


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list-runs", "--dataset", "no such dataset"), "'no such dataset'"),
        (("list-runs",), "--dataset"),
        (("list-runs", "--datset", "x"), "--datset"),
        (("no-such-command",), "no-such-command"),
        (("run", "--run-name", "r", "--dataset", "no such dataset", "--task-script", __file__), "'no such dataset'"),
        (("run", "--run-name", "r", "--dataset", "d"), "task_script"),
        (
            ("run", "--run-name", "r", "--dataset", "d", "--task-script", "t.py", "--max-concurrency", "0"),
            "max_concurrency",
        ),
        (("run", "--run-name", "r", "--task-script", "t.py", "--metadata", "{"), "--metadata"),
        (("compare", "--dataset", "d", "--runs", "one"), "runs"),
        (("dataset", "add-items", "--dataset", "d"), "--items-file"),
        (("dataset", "create", "--name", "d", "--fields", "[]"), "--fields"),
    ],
)
def test_wrong_use_is_an_error_on_stderr_and_exit_code_2(shell: Shell, arguments: tuple[str, ...], says: str) -> None:
    ran = shell(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    error, *steps = ran.err.splitlines()
    assert error.startswith("Error: ")
    assert says in error
    assert all(step.startswith("Next: lfexp-mcp ") for step in steps)


@pytest.mark.slow
def test_an_error_proposes_commands_where_tools_propose_calls(
    shell: Shell, script: Callable[..., str], tmp_path: Path
) -> None:
    name = f"empty-{tmp_path.name}"
    shell("dataset", "create", "--name", name)
    run = ("run", "--run-name", "r", "--task-script", script("run_experiment.py", TASK.format(answer="1")))
    refused = shell(*run, "--dataset", name).err.splitlines()
    assert repr(name) in refused[0]
    assert refused[1].startswith(f"Next: lfexp-mcp dataset create --name {name} ")
    shell("dataset", "add-items", "--dataset", name, "--input", "x")
    shell(*run, "--dataset", name)
    (taken,) = [line for line in shell(*run, "--dataset", name).err.splitlines() if line.startswith("Next: ")]
    assert taken.startswith("Next: lfexp-mcp run --run-name r --task-script ")
    assert " --resume " in taken
    unknown = shell("get-run", "--dataset", name, "--run-name", "s").err
    assert f"Next: lfexp-mcp list-runs --dataset {name} " in unknown


def test_a_port_that_is_taken_is_said_before_anything_is_served(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = shell("serve", "--http", "--port", port)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: ")
    assert port in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.slow
def test_the_demo_can_print_its_comparison_as_the_model(shell: Shell, home: Path) -> None:
    try:
        ran = shell("demo", "--json")
    finally:
        stop_store(home / "store")
    assert (ran.code, ran.err) == (0, "")
    assert Comparison.model_validate(ran.json).backend.startswith("embedded store at ")
    assert ran.json["runs"]


def test_a_group_without_a_command_shows_its_help(shell: Shell) -> None:
    ran = shell("dataset")
    assert ran.code == 2
    assert "add-items" in ran.out


def test_next_steps_are_commands_that_the_shell_takes(shell: Shell, compared: Compared) -> None:
    ran = _compare(shell, compared)
    (line,) = [line for line in ran.out.splitlines() if "get-run" in line]
    assert line.startswith("Next: lfexp-mcp get-run --dataset ")


@pytest.mark.slow
def test_a_failed_item_is_shown_with_its_error(shell: Shell, script: Callable[..., str], tmp_path: Path) -> None:
    name = f"failing {tmp_path.name}"
    shell("dataset", "create", "--name", name)
    for text in ("good", "bad"):
        shell("dataset", "add-items", "--dataset", name, "--input", text)
    ran = shell("run", "--dataset", name, "--run-name", "r", "--task-script", script("t.py", TASK.format(answer="1")))
    assert ran.code == 0
    assert "1 failed" in ran.out
    assert "cannot do that" in ran.out


def _compare(shell: Shell, compared: Compared, *flags: str) -> Ran:
    return shell("compare", "--dataset", compared.dataset, "--runs", *compared.runs, *flags)


def test_what_a_run_failed_becomes_a_dataset_and_production_traces_too(shell: Shell, compared: Compared) -> None:
    collected = shell(
        "dataset", "create", "--name", "failed by the shell", "--dataset", compared.dataset, "--from-run", "echo",
        "--only", '{"score": "right", "below": 0.5}', "--json",
    )  # fmt: skip
    assert (collected.code, collected.json["stored"]) == (0, 9)
    again = shell(
        "dataset", "create", "--name", "failed by the shell", "--dataset", compared.dataset, "--from-run", "echo",
        "--only", "failing",
    )  # fmt: skip
    assert (again.code, "9 of 9" in again.out) == (0, True)
    refused = shell("dataset", "create", "--name", "never made", "--traces", '{"user": "nobody"}')
    assert (refused.code, "user=nobody" in refused.err) == (2, True)


@pytest.mark.slow
def test_confirm_plans_and_then_exits_with_0_for_a_run_that_is_better_on_held_out_items(
    shell: Shell, script: Callable[..., str], tmp_path: Path
) -> None:
    name = f"confirm {tmp_path.name}"
    rows = [{"id": f"{tmp_path.name}-{n}", "input": f"text {n}", "expected_output": f"TEXT {n}"} for n in range(130)]
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    shell("dataset", "create", "--name", name, "--holdout", "0.5", "--items-file", str(file))
    for run, output in (("old", "item.input"), ("new", "item.input.upper()")):
        task = script("task.py", f"def task(*, item, **kwargs):\n    return {output}\n")
        arguments = ("--dataset", name, "--run-name", run, "--task-script", task)
        assert shell("run", *arguments, "--evaluators", "exact_match").code == 0
    asked = ("confirm", "--dataset", name, "--run-name", "new", "--baseline", "old")
    planned = shell(*asked)
    assert planned.code == 0
    assert "confirm --dataset" in planned.out
    assert "--min-delta" in planned.out
    assert shell(*asked, "--min-delta", "0.01").code == 2
    confirmed = shell(*asked, "--min-delta", "0.9", "--json")
    assert confirmed.code == 0
    answer = ConfirmAnswer.model_validate(confirmed.json)
    assert (answer.verdict, answer.look, answer.score_name) == ("better", 1, "exact_match")
    assert "look 1: better" in shell(*asked, "--min-delta", "0.9").out
