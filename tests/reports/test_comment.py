"""What a comparison is in CI: a comment of a pull request, JUnit, and annotations."""

import re
from xml.etree import ElementTree as ET

import pytest

from lfexp_mcp.answers.comparison import (
    ChangedItem,
    ChangeList,
    Comparison,
    Gate,
    GateCheck,
    RunMetrics,
    ScoreComparison,
)
from lfexp_mcp.reports.comment import MAX_BYTES, comparison_comment, marker
from lfexp_mcp.reports.comparison_formats import github_commands, junit
from tests.reports.test_hostile_texts import COMPARISONS, TEXTS, hold, hold_markdown


def comparison(
    *outcomes: str, status: str = "completed", items: int = 9, runs: tuple[str, ...] = ("new",), text: str = "accuracy"
) -> Comparison:
    """A comparison with a check of each outcome for each run."""
    metrics = [
        RunMetrics(run=name, status="completed", items=items, succeeded=items, url=f"https://langfuse.test/{name}")
        for name in ("old", *runs)
    ]
    metrics[-1].status = status  # type: ignore[assignment]
    checks = [
        GateCheck.model_validate({"expression": f"{text}<0.8", "run": run, "outcome": outcome, "message": "It is 0.7."})
        for run in runs
        for outcome in outcomes
    ]
    item = ChangedItem(item_id=f"item {text}", input="private input", output="private output")
    scores = [
        ScoreComparison(score=text, run=run, verdict="worse", reason="It fell.", pairs=9, margin=0.05) for run in runs
    ]
    return Comparison(
        backend="b",
        dataset="faq",
        baseline="old",
        runs=metrics,
        scores=scores,
        contrasts=[],
        comparability=[],
        changes=[ChangeList(kind="worse", run=runs[0], score=text, total=30, items=[item])],
        gate=Gate(passed=not set(outcomes) - {"passed"}, checks=checks) if outcomes else None,
        pass_mark=0.5,
        min_delta=0.05,
        next=[],
    )


def test_a_comment_begins_with_its_marker_the_gate_the_verdict_and_the_link() -> None:
    lines = comparison_comment(comparison("passed", "failed", "undecided")).split("\n\n")
    assert lines[0] == marker("faq")
    assert lines[1] == "### Gate FAILED, 2 of 3 conditions not met: accuracy worse"
    assert "[Open the run in Langfuse](<https://langfuse.test/new>)" in lines[2]
    assert [row.split(" | ")[0] for row in lines[4].split("\n")[2:]] == ["| failed", "| undecided", "| passed"]


def test_a_comment_shows_ids_and_nothing_of_what_items_say() -> None:
    text = comparison_comment(comparison("passed"))
    assert "private" not in text
    assert "item accuracy" in text
    assert text.split("\n\n")[1] == "### Gate passed, 1 condition: accuracy worse"
    assert comparison_comment(comparison()).split("\n\n")[1] == "### No gate: accuracy worse"


@pytest.mark.parametrize("dataset", ["a", "--><script>", "a--b", "📊", "x" * 500, *(TEXTS[::25])])
def test_a_marker_is_one_hidden_comment_of_one_dataset(dataset: str) -> None:
    found = marker(dataset)
    assert re.fullmatch(r"<!-- lfexp-mcp:[a-z0-9-]*-[0-9a-f]{12} -->", found)
    assert "--" not in found[4:-3]
    assert found != marker(f"{dataset} ")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["a" * 20_000, "@" * 20_000, "😀" * 20_000, "|" * 5_000, "a"])
def test_a_comment_is_never_longer_than_github_takes_and_keeps_verdict_and_gate(text: str) -> None:
    long = comparison(*["failed"] * 60, runs=tuple(f"{text}{number}" for number in range(20)), text=text)
    shown = comparison_comment(long)
    assert len(shown.encode()) <= MAX_BYTES
    assert shown.split("\n\n")[1].startswith("### Gate FAILED, 1200 of 1200 conditions not met: ")
    assert "1150 more" in shown or text != "a"
    hold_markdown(re.sub(r"\[Open the \w+ in Langfuse\]\(<[^>]*>\)", "", shown).replace("###", ""))


def test_500_hostile_texts_are_text_in_a_comment_and_in_annotations() -> None:
    for each in COMPARISONS:
        hold_markdown(comparison_comment(each).replace("### ", "", 1))
        commands = github_commands(each)
        for line in commands.split("\n"):
            assert re.fullmatch(r"::(error|warning|notice) title=[^:,]*::.*", line), line
        hold(commands.replace("::", ""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%0A::error::x", "title=Gate%3A %250A%3A%3Aerror%3A%3Ax<0.8::"),
        ("a,line=99", "title=Gate%3A a%2Cline=99<0.8::"),
        ("\r\n::stop-commands::t", "title=Gate%3A %3A%3Astop-commands%3A%3At<0.8::"),
    ],
)
def test_an_annotation_ends_where_it_does(text: str, shown: str) -> None:
    (line,) = github_commands(comparison("failed", text=text)).split("\n")
    assert line.startswith(f"::error {shown}")


def test_annotations_put_the_gate_first_and_count_what_github_would_leave_out() -> None:
    lines = github_commands(comparison(*["undecided"] * 9, *["failed"] * 5)).split("\n")
    assert len(lines) == 10
    assert lines[-1] == "::error title=Gate::5 conditions more not met."
    assert github_commands(comparison("passed")) == "::notice title=Gate::passed, 1 condition."


@pytest.mark.parametrize(
    ("given", "failures", "errors", "tests"),
    [
        (comparison("passed"), 0, 0, 3),
        (comparison("passed", "failed", "failed"), 2, 0, 5),
        (comparison("undecided"), 0, 1, 3),
        (comparison("passed", status="failed"), 0, 1, 3),
        (comparison(items=0), 0, 1, 2),
        (comparison("failed", runs=("new", "newer")), 2, 0, 6),
    ],
    ids=["passed", "failed", "undecided", "incomplete", "no items", "two runs"],
)
def test_junit_agrees_with_the_gate_and_counts_what_it_holds(
    given: Comparison, failures: int, errors: int, tests: int
) -> None:
    root = ET.fromstring(junit(given))
    counts = {"tests": tests, "failures": failures, "errors": errors, "skipped": 0}
    assert {name: int(root.attrib[name]) for name in counts} == counts
    assert len(root.findall(".//testcase")) == tests
    assert len({(case.get("classname"), case.get("name")) for case in root.iter("testcase")}) == tests
    assert all("time" not in element.attrib for element in root.iter())


def test_junit_names_do_not_change_with_the_run_and_cannot_attach_files() -> None:
    def names(run: str) -> list[tuple[str | None, str | None]]:
        root = ET.fromstring(junit(comparison("failed", runs=(run,), text="[[ATTACHMENT|/etc/passwd]]")))
        assert "[[ATTACHMENT" not in ET.tostring(root, encoding="unicode")
        return [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]

    assert names("pr-1") == names("pr-2")
