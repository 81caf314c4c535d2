"""The workflows of `examples/github`: their shell steps run in bash, on the store and on models of loopback."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml  # type: ignore[import-untyped]

from tests.cli.conftest import Shell
from tests.providers.server import ProviderServer, Reply

FOLDER = Path(__file__).parents[2] / "examples" / "github"
pytestmark = [
    pytest.mark.skipif(
        any(shutil.which(each) is None for each in ("bash", "jq", "iconv")) or sys.platform == "win32",
        reason="the steps take bash, jq and iconv, as GitHub's Linux runners have them",
    ),
    pytest.mark.slow,
]
SHA = "0123456789abcdef0123456789abcdef01234567"


def workflow(name: str) -> dict[Any, Any]:
    """A workflow, parsed; YAML 1.1 takes `on` for true."""
    parsed = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    assert isinstance(parsed, dict)
    return parsed


def steps(name: str) -> dict[str, str]:
    """The shell steps of a workflow's only job, by name."""
    (job,) = workflow(name)["jobs"].values()
    assert job["defaults"]["run"]["shell"] == "bash"
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def bash(step: str, folder: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a step as GitHub does."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["experiment.yml", "comment.yml"])
def test_a_workflow_may_do_little_and_takes_nothing_of_strangers_into_a_script(name: str) -> None:
    parsed = workflow(name)
    (job,) = parsed["jobs"].values()
    assert parsed["permissions"] in ({}, {"contents": "read"})
    assert "pull_request_target" not in str(parsed)
    assert "secrets." not in str(parsed)
    writes = {scope for scope, right in (job.get("permissions") or {}).items() if right == "write"}
    assert writes == ({"pull-requests"} if name == "comment.yml" else set())
    for step in job["steps"]:
        assert "${{" not in step.get("run", "")
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step.get("uses", f"actions/own@{SHA}"))
    checkouts = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert bool(checkouts) is (name == "experiment.yml")


TASK = """
from openai import OpenAI

def task(*, item, **kwargs):
    messages = [{"role": "user", "content": item.input}]
    answer = OpenAI().chat.completions.create(model="gpt-test", messages=messages)
    return answer.choices[0].message.content.upper()
"""
EVALUATORS = """
def right(*, output, expected_output, **kwargs):
    return output == expected_output
"""


def test_a_pull_request_is_replayed_against_its_base_without_a_key(
    shell: Shell,
    shell_environment: dict[str, str],
    openai_server: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for side in ("base", "change"):
        evals = tmp_path / side / "evals"
        evals.mkdir(parents=True)
        (evals / "evaluators.py").write_text(EVALUATORS, encoding="utf-8")
        (evals / "task.py").write_text(TASK, encoding="utf-8")
    base, task = tmp_path / "base" / "evals", tmp_path / "change" / "evals" / "task.py"
    items = [{"input": f"word {n}", "expected_output": f"WORD {n}"} for n in range(12)]
    (base / "items.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    dataset = f"evals {tmp_path.name}"
    # Tests share a store, so that the dataset has a name of its own.
    run = {
        name: re.sub(r"(--dataset|--name) evals", rf"\1 '{dataset}'", step)
        for name, step in steps("experiment.yml").items()
    }
    environment = {
        **os.environ,
        **shell_environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GATE": "worse",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    assert bash(run["Make the dataset"], tmp_path, environment).returncode == 0
    openai_server.respond = lambda call: Reply(call.text)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback-1234567890")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    recording = ("--task-script", str(base / "task.py"), "--record", str(base / "recording.jsonl"))
    assert shell("run", "--dataset", dataset, "--run-name", "recorded", *recording).code == 0
    asked = len(openai_server.calls)

    task.write_text(TASK.replace(".upper()", ".title()"), encoding="utf-8")
    for name in ("Replay the base", "Replay the change"):
        ran = bash(run[name], tmp_path, environment)
        assert (ran.returncode, "Replayed:" in ran.stdout) == (0, True), ran.stderr
    ran = bash(run["Compare"], tmp_path, environment)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert bash(run["Show"], tmp_path, environment).stdout.startswith("::error title=Gate%3A worse::")
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "### Gate FAILED, 1 of 1 condition not met: right worse" in summary
    assert "127.0.0.1" not in summary
    assert ET.parse(tmp_path / "report" / "junit.xml").getroot().get("failures") == "1"

    assert len(openai_server.calls) == asked
    assert shell("get-run", "--dataset", dataset, "--run-name", "change", "--json").json["replayed"] is True


GH = """#!{python}
import json, os, subprocess, sys
arguments = sys.argv[1:]
with open("gh.jsonl", "a") as log:
    log.write(json.dumps(arguments) + "\\n")
method = arguments[arguments.index("-X") + 1] if "-X" in arguments else "GET"
if method == "GET":
    name = "pulls" if any(each.endswith("/pulls") for each in arguments) else "comments"
    subprocess.run(["jq", "-r", arguments[arguments.index("--jq") + 1], name + ".json"], check=True)
"""


class Poster:
    """The step that comments, with a `gh` that has recorded answers and writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        gh = folder / "bin" / "gh"
        gh.write_text(GH.format(python=sys.executable), encoding="utf-8")
        gh.chmod(0o755)
        (folder / "report").mkdir()
        self.set("pulls", [{"number": 7, "head": {"sha": SHA}}])
        self.set("comments", [])

    def set(self, name: str, value: object) -> None:
        """Set what `gh` answers."""
        (self.folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")

    def report(self, comment: str, text: str = "") -> None:
        """Write the artifact."""
        (self.folder / "report" / "comment.md").write_text(comment, encoding="utf-8")
        (self.folder / "report" / "report.txt").write_text(text, encoding="utf-8")

    def post(self, fork: bool = False) -> tuple[list[str] | None, str]:
        """Run the step; return the request that wrote a comment, and the comment."""
        environment = {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "REPOSITORY": "us/app",
            "HEAD_REPOSITORY": "them/app" if fork else "us/app",
            "HEAD_OWNER": "them" if fork else "us",
            "HEAD_BRANCH": "fix; touch PWNED $(touch PWNED)",
            "HEAD_SHA": SHA,
            "CONCLUSION": "failure",
            "JOB_URL": "https://github.test/job",
        }
        ran = bash(steps("comment.yml")["Comment"], self.folder, environment)
        assert ran.returncode == 0, ran.stderr
        assert not (self.folder / "PWNED").exists()
        log = [json.loads(line) for line in (self.folder / "gh.jsonl").read_text(encoding="utf-8").splitlines()]
        written = [each for each in log if "-X" in each and each[each.index("-X") + 1] != "GET"]
        body = self.folder / "body.md"
        return (written[-1] if written else None), body.read_text(encoding="utf-8") if body.exists() else ""


@pytest.fixture
def poster(tmp_path: Path) -> Poster:
    return Poster(tmp_path)


def _comment(identity: int, body: str, login: str = "github-actions[bot]") -> dict[str, Any]:
    return {"id": identity, "body": body, "user": {"login": login}}


MARKER = "<!-- lfexp-mcp:experiment -->"


def test_the_first_result_is_a_new_comment_and_names_its_commit(poster: Poster) -> None:
    poster.set(
        "comments", [_comment(1, MARKER, "mallory"), _comment(2, f"Quoting {MARKER}"), _comment(3, "Other\n" + MARKER)]
    )
    poster.report("### Gate passed")
    request, body = poster.post()
    assert request == ["api", "-X", "POST", "repos/us/app/issues/7/comments", "-F", "body=@body.md", "--silent"]
    assert body == f"{MARKER}\n\nCommit {SHA}, [job](https://github.test/job).\n\n### Gate passed"


def test_a_later_result_replaces_the_newest_of_our_comments(poster: Poster) -> None:
    poster.set(
        "comments", [_comment(4, f"{MARKER}\r\nold"), _comment(9, f"{MARKER}\n\nnewer"), _comment(10, MARKER, "m")]
    )
    poster.report("### Gate passed")
    request, _ = poster.post()
    assert request == ["api", "-X", "PATCH", "repos/us/app/issues/comments/9", "-F", "body=@body.md", "--silent"]


def test_a_job_without_a_comparison_replaces_what_was_said_before(poster: Poster) -> None:
    poster.set("comments", [_comment(4, f"{MARKER}\n\n### Gate passed")])
    request, body = poster.post()
    assert request is not None
    assert "PATCH" in request
    assert "**No result**: the job ended with `failure`" in body


def test_the_result_of_an_older_commit_is_not_told(poster: Poster) -> None:
    poster.set("pulls", [{"number": 7, "head": {"sha": "f" * 40}}])
    poster.report("### Gate passed")
    assert poster.post() == (None, "")


def test_what_the_job_of_a_fork_wrote_is_shown_in_a_fence_that_it_cannot_close(poster: Poster) -> None:
    text = "Gate: passed\n~~~\n@octocat <img src=x> ![x](https://evil.test)\n~~~~~~\n" + "é" * 40_000
    poster.report("### Gate passed @octocat", text)
    _, body = poster.post(fork=True)
    head, shown, end = body.split("~~~")
    assert (head.count("octocat"), end) == (0, "\n")
    assert shown.startswith("text\nGate: passed\n---\n@octocat")
    assert len(body.encode()) < 60_000
    link = poster.folder / "report" / "comment.md"
    link.unlink()
    link.symlink_to("/etc/passwd")
    assert "**No result**" in poster.post()[1]
