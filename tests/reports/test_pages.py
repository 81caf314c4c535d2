"""Pages of charts, without a browser: what they are made of, and what no text of a stranger becomes in them."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lfexp_mcp.answers.analysis import Analysis
from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.comparison import Comparison, ScoreComparison
from lfexp_mcp.model import Interval
from lfexp_mcp.reports.answers import report_of
from lfexp_mcp.reports.charts import SHARES, axes_of_differences, axis_over
from lfexp_mcp.reports.layout import (
    UNKNOWN,
    Cell,
    MarkedLine,
    Report,
    Table,
    change,
    interval,
    number,
    probability,
    signed,
    spoken,
)
from lfexp_mcp.reports.page import page, view
from lfexp_mcp.services.requests import AnalyzeRequest, CompareRequest
from lfexp_mcp.tools.pages import PageRequest, page_address, page_request
from tests.reports.models import HOSTILE, answers


class _Elements(HTMLParser):
    """What a document holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(answers(Comparison, Analysis))
def test_a_page_of_hostile_texts_holds_no_script_handler_style_or_foreign_address(answer: Answer) -> None:
    found = _Elements(page(report_of(answer)))
    assert not {"script", "iframe", "object", "embed", "img", "link", "base", "form", "input"} & set(found.tags)
    assert found.tags.count("style") == 1
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name not in ("style", "src", "srcset", "srcdoc")
        assert name != "href" or re.match(r"https?://", value or "")


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "nul\0nul", "é" * 3000])
def test_a_page_is_valid_utf8_whatever_its_texts_are(text: str) -> None:
    html = page(Report((text, Table((text,), [(Cell(text[:10], text, text),)], text)), title=text, source=text))
    html.encode()
    assert "\0" not in html


def test_the_policy_stands_before_any_text_and_allows_the_one_style_alone() -> None:
    html = page(Report(("x",), title="t"))
    policy = html.index("Content-Security-Policy")
    assert policy < html.index("<title>")
    assert policy < html.index("<style>")
    assert "default-src 'none'" in unescape(html)
    assert "script-src" not in html
    assert "unsafe" not in html + view()


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (signed(-0.00001), "-1e-05"),
        (signed(-0.0), "0.0000"),
        (signed(0.00004), "+4e-05"),
        (signed(0.05), "+0.0500"),
        (signed(float("nan")), ""),
        (signed(123456.78), "+123456.7800"),
        (signed(-2e9), "-2e+09"),
        (signed(None), ""),
        (number(-0.0), "0"),
        (number(float("inf")), ""),
        (number(0.123456), "0.1235"),
        (interval(Interval(0.0001, 0.12), of_difference=True), "[+0.0001, +0.120]"),
        (interval(Interval(-0.0, 0.12)), "[0.000, 0.120]"),
        (interval(Interval(float("-inf"), 0.12)), ""),
        (probability(3e-8), "<0.0001"),
        (probability(0.0), "<0.0001"),
        (probability(0.04996), "<0.05"),
        (probability(0.0500001), "0.05"),
        (probability(0.0304), "0.03"),
        (change(None, 0.5), "unknown -> 0.5"),
        (change(None, float("nan")), ""),
    ],
)
def test_a_figure_never_says_more_or_other_than_its_value(shown: str, text: str) -> None:
    assert shown == text


def test_what_is_unknown_is_said_on_a_page() -> None:
    html = page(Report((Table(("run", "cost"), [("a", number(None)), ("b", number(0.5))]),)))
    assert ">unknown</span>" in html
    assert UNKNOWN == ""


@pytest.mark.parametrize(
    ("odd", "shown"),
    [(None, "unknown"), (float("nan"), "unknown"), (float("inf"), "unknown"), (-0.0, "0.0000"), (1e308, "+1e+308")],
)
def test_an_odd_number_breaks_no_page_and_is_not_drawn(odd: float | None, shown: str) -> None:
    ends = Interval(odd, odd) if odd is not None else None
    known: dict[str, Any] = {"score": "s", "run": "r", "verdict": "inconclusive", "reason": "", "pairs": 0}
    score = ScoreComparison(**known, margin=odd or 0.0, delta=odd, interval=ends, mean=odd, p_adjusted=0.5)
    answer = Comparison(backend="b", dataset="d", baseline="r", runs=[], scores=[score], pass_mark=0.5, min_delta=0.05)
    main = page(report_of(answer)).partition("<main>")[2]
    assert re.search(f'data-column="delta">(<span class="unknown">)?{re.escape(shown)}<', main)
    assert not re.search(r"\b(nan|inf|infinity|none|null|undefined)\b", main, re.IGNORECASE)
    assert ('class="value"' in main) is (odd == 0)


def test_names_that_differ_by_what_is_not_seen_are_told_apart() -> None:
    names = ("a", "a ", "a  b", "a b", "a\u202eb", "a\u200bb")
    html = page(Report((Table(("run", "output"), [(name, name) for name in names]),)))
    shown = re.findall(r'data-column="run">(.*?)</th>', html)
    assert list(map(unescape, shown)) == ["a", '"a "', '"a  b"', "a b", '"a\\u202eb"', '"a\\u200bb"']


def test_the_same_report_is_the_same_page_but_for_its_time(ranked: Comparison) -> None:
    once, twice = (re.sub(r"[\d-]+ \d\d:\d\d UTC", "", page(report_of(ranked))) for _ in range(2))
    assert once == twice


def test_what_decides_or_limits_a_result_is_read_before_its_figures() -> None:
    marks = [MarkedLine("Note", "n"), MarkedLine("Warning", "w"), MarkedLine("Gate", "g")]
    html = page(Report(("first", Table(("a",), [("b",)], "t"), *marks), title="t"))
    places = [
        html.index(text) for text in ("first</p>", "Gate</strong>", "Warning</strong>", "Note</strong>", "<table")
    ]
    assert places == sorted(places)


def test_a_drawing_is_told_in_words_without_signs_and_brackets() -> None:
    assert spoken("Delta", -0.25, Interval(-0.3, 0.02), of_difference=True) == (
        "Delta minus 0.2500, from minus 0.300 to plus 0.020."
    )
    assert spoken("Mean", None) == "Mean unknown, interval unknown."


@given(st.lists(st.floats() | st.none(), max_size=6))
@example([5e-324])
@example([0.0, 0.0])
@example([1.0, *[0.0] * 5])
def test_an_axis_holds_all_that_is_drawn_on_a_few_ticks(values: list[float | None]) -> None:
    axis = axis_over(values)
    assert 2 <= len(axis.ticks) <= 8
    assert list(axis.ticks) == sorted(set(axis.ticks))
    places = [axis.percent(value) for value in values if value is not None and abs(value) < 1e100]
    assert all(0 <= place <= 100 for place in places)
    low, high = axis.ticks[0], axis.ticks[-1]
    margin = 1e-6 * (high - low)
    assert all(low - margin <= v <= high + margin for v in values if v is not None and abs(v) < 1e100)


def test_scores_on_0_to_1_share_an_axis_and_others_have_their_own() -> None:
    axes = axes_of_differences([("a", [0.1]), ("tokens", [250.0]), ("b", [-0.4, None]), ("a", [float("nan")])])
    assert axes["a"] is axes["b"]
    assert axes["a"].ticks[0] <= -0.4
    assert axes["tokens"].ticks == (0.0, 50.0, 100.0, 150.0, 200.0, 250.0)
    assert axis_over([0.2, 1.0], within=SHARES) is SHARES
    assert axis_over([0.2, 1.2], within=SHARES) is not SHARES


def test_runs_are_ranked_by_their_deltas_score_by_score_and_unknown_ones_come_last(ranked: Comparison) -> None:
    (shown,) = [block for block in report_of(ranked).blocks if isinstance(block, Table) and block.heading == "Scores"]
    assert [(row[1], row[0]) for row in shown.rows] == [
        ("tone", "high"),
        ("tone", "low"),
        ("tone", "none"),
        ("right", "low"),
        ("right", "high"),
    ]


@pytest.fixture
def ranked() -> Comparison:
    deltas = {
        ("none", "tone"): None,
        ("low", "tone"): -0.2,
        ("high", "tone"): 0.3,
        ("high", "right"): 0.0,
        ("low", "right"): 0.1,
    }
    scores = [
        ScoreComparison(score=score, run=run, verdict="inconclusive", reason="", pairs=1, margin=0.05, delta=delta)
        for (run, score), delta in deltas.items()
    ]
    runs = [{"run": run, "status": "completed", "items": 1, "succeeded": 1} for run in ("base", "none", "low", "high")]
    return Comparison.model_validate(
        {
            "backend": "b",
            "dataset": "d",
            "baseline": "base",
            "runs": runs,
            "scores": [score.model_dump() for score in scores],
            "pass_mark": 0.5,
            "min_delta": 0.05,
        }
    )


REQUESTS = [
    CompareRequest(dataset="faq", runs=["v1", "v2"]),
    CompareRequest(
        dataset="a/b,c%", runs=["v,1", "v/2?#", "ü 3"], baseline="ü 3", min_delta=0.02, fail_if=["a<0.5", "b"]
    ),
    AnalyzeRequest(dataset="faq", run_name="v2"),
    AnalyzeRequest(dataset="a b", run_name="a/b", score_name="x&y=z", score_threshold="80%", show_failures=True),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_an_address_names_the_very_page(request_: PageRequest) -> None:
    address = page_address(request_)
    assert address is not None
    read = page_request(address)
    assert read is not None
    assert read.model_copy(update={"limit": request_.limit, "detail": request_.detail}) == request_


@pytest.mark.parametrize(
    "address", ["", "langfuse://datasets/a", "langfuse://datasets/a/runs/b", "https://evil.example/comparison/a,b"]
)
def test_what_is_no_page_has_no_request(address: str) -> None:
    assert page_request(address) is None


def test_names_too_long_for_an_address_have_none() -> None:
    assert page_address(AnalyzeRequest(dataset="d" * 600, run_name="r")) is None
