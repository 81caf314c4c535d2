"""500 hostile texts through every form of an answer: none executes, and none can be taken for a line of ours."""

import json
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lfexp_mcp.answers.analysis import Analysis
from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.clients import SetupAnswer
from lfexp_mcp.answers.comparison import Comparison
from lfexp_mcp.answers.run import RunDetail
from lfexp_mcp.cli.output import print_answer, print_note
from lfexp_mcp.reports.answers import report_of, report_text
from lfexp_mcp.reports.comparison_formats import junit
from lfexp_mcp.reports.layout import MarkedLine, Report, TextBlock, markdown, plain
from lfexp_mcp.reports.untrusted import escaped_json, is_safe, paragraph, quote_mark, replace_surrogates
from tests.reports.models import HOSTILE_TEXTS, answers_of
from tests.reports.test_untrusted import MARKED, MODELS

TEXTS = [str(replace_surrogates(row["text"])) for row in HOSTILE_TEXTS]
"""As they come out of Langfuse, the journal and the model of an answer, which hold no half surrogate pairs."""
ANSWERS = list(answers_of([text[:300] for text in TEXTS], *MODELS))
VARIED = [answer for answer in ANSWERS if isinstance(answer, Analysis | Comparison | RunDetail)]
"""Those with all kinds of blocks, which have all texts as well, for what takes its time."""
COMPARISONS = [answer for answer in ANSWERS if isinstance(answer, Comparison)]
RUNNER_COMMAND = re.compile(r"^\s*::|##[A-Za-z]*\[", re.MULTILINE)
"""What the runners of GitHub, Azure and TeamCity carry out."""
MARKDOWN_CHARS = 4_000
"""Of a report that are parsed here; the parser takes its time as well."""
GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def ours(answer: Answer) -> int:
    """How many lines of an answer begin with a mark."""
    marked = sum(isinstance(block, MarkedLine) for block in report_of(answer).blocks)
    return marked + len(getattr(answer, "next", []))


def hold(text: str, marked: int | None = None) -> None:
    """Check what is printed as lines."""
    assert all(is_safe(line) for line in text.split("\n"))
    assert (text + ".").splitlines() == (text + ".").split("\n")
    assert not RUNNER_COMMAND.search(text)
    if marked is not None:
        lines = [line for line in text.split("\n") if not line.startswith((" ", "|")) and MARKED.match(line)]
        assert len(lines) == marked


def test_there_are_500_texts_of_every_kind() -> None:
    assert len({row["text"] for row in HOSTILE_TEXTS}) >= 500
    assert len({row["kind"] for row in HOSTILE_TEXTS}) >= 14


@pytest.mark.slow
def test_the_text_of_a_tool_and_its_structured_content() -> None:
    for answer in ANSWERS:
        hold(plain(report_of(answer)), ours(answer))
        # With fewer characters, a line of ours may be left out, but none is added.
        hold(report_text(answer))
        written = answer.model_dump_json()
        assert json.loads(written) == answer.model_dump(mode="json")


@pytest.mark.slow
@pytest.mark.parametrize("terminal", ["", "1"])
def test_what_the_shell_prints(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("TERM", "dumb" if terminal else "")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for answer in VARIED if terminal else ANSWERS:
        print_answer(answer, as_json=False)
        hold(re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out), ours(answer))


@pytest.mark.slow
def test_the_shells_json() -> None:
    for answer in ANSWERS:
        text = escaped_json(answer.model_dump_json(indent=2))
        hold(text)
        assert json.loads(text) == answer.model_dump(mode="json")


def _tokens(tokens: list[Token] | None) -> Iterator[Token]:
    for token in tokens or ():
        yield token
        yield from _tokens(token.children)


ALLOWED = {"paragraph", "strong", "blockquote", "table", "thead", "tbody", "tr", "th", "td"}


def hold_markdown(text: str) -> None:
    """Check a comment of a pull request: what strangers wrote is text in it, whatever reads it."""
    hold(text)
    for token in _tokens(GFM.parse(text)):
        if token.type in ("html_inline", "html_block"):
            assert re.fullmatch(r"<!--[ \w:-]*-->\n?", token.content), token.content
        elif token.type not in ("inline", "text", "softbreak", "text_special"):
            assert token.type.removesuffix("_open").removesuffix("_close") in ALLOWED, (token.type, token.content)
    bare = re.sub(r"\\([!-/:-@\[-`{-~])", "\\1\x01", text)
    assert not re.search(r"(?i)(?<!\w)[@#]\w|\bGH-\d|https?://|www\.(?!\x01)|\$\w", bare)


def test_markdown() -> None:
    for answer in VARIED:
        text = markdown(report_of(answer))
        hold_markdown(text)
        assert not re.search(r"^/", text, re.MULTILINE)


@pytest.mark.slow
def test_a_text_alone_in_each_place_of_a_report() -> None:
    for text in TEXTS:
        report = Report((TextBlock(f"Output of {text}", text), MarkedLine("Warning", text), text))
        hold(plain(report), 1)
        hold_markdown(markdown(report)[:MARKDOWN_CHARS])
        hold(f"Error: {paragraph(text)}", 1)
        shown = quote_mark(text)
        assert quote_mark(shown) == shown


def test_junit() -> None:
    for comparison in COMPARISONS:
        root = ET.fromstring(junit(comparison))
        texts = [value for each in root.iter() for value in (*each.attrib.values(), (each.text or "").strip())]
        assert all(is_safe(text) and "[[ATTACHMENT" not in text for text in texts)
        for suite in root:
            assert {each.tag for each in suite} == {"properties", "testcase"}
            assert {each.tag for case in suite.findall("testcase") for each in case} <= {
                "failure",
                "error",
                "system-out",
            }
            assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))


def test_a_line_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    for text in TEXTS:
        print_note(f"Error: {text}")
    hold(capsys.readouterr().err, len(TEXTS))


def test_no_line_begins_with_what_a_stranger_wrote() -> None:
    for answer in answers_of(["strangers"], *MODELS):
        for line in report_text(answer).split("\n"):
            # Alone on a line are the sentences that a service writes.
            assert not line.startswith("strangers:") or isinstance(answer, SetupAnswer), line
