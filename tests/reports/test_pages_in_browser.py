"""Pages of charts in a real browser: their figures, their safety, how they are laid out, and the view of MCP Apps."""

import json
import re
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import CallToolResult, TextResourceContents
from pydantic import JsonValue

from lfexp_mcp.answers.analysis import Analysis
from lfexp_mcp.answers.comparison import Comparison, ScoreComparison
from lfexp_mcp.model import Interval
from lfexp_mcp.reports.answers import report_of
from lfexp_mcp.reports.page import page
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.tools.pages import PAGE_META, VIEW
from lfexp_mcp.tools.server import build_server
from tests.browser import Browser, Tab, browser, needs_chromium
from tests.reports.models import HOSTILE_TEXTS
from tests.services.recording import Recorded, make_dataset, record_run
from tests.waiting import wait_until

__all__ = ["browser"]
pytestmark = [needs_chromium, pytest.mark.slow, pytest.mark.anyio]

HERE = Path(__file__).parent
PROBES = (HERE / "page_probes.js").read_text(encoding="utf-8")
HOST = (HERE / "apps_host.html").read_text(encoding="utf-8")
URLS = ["https://langfuse.example/run", *(row["text"] for row in HOSTILE_TEXTS if row["kind"] == "url")]
TEXTS = [row["text"] for row in HOSTILE_TEXTS]
WIDTHS = (320, 400, 800, 1280)
LONG = "n" * 300
SIZE_LIMIT = 200_000
"""Bytes of a page of an ordinary answer."""


def _results(run: str, shift: float, items: int = 24) -> list[Recorded]:
    """Results of which a third scores otherwise than in another run, by `shift`."""
    return [
        Recorded(
            f"item-{number:02}",
            output=f"{run} {number}",
            input={"question": number},
            metadata={"level": "hard" if number % 4 == 0 else "easy"},
            scores={
                "tone": round(min(max((number % 8) / 8 + (shift if number % 3 else 0.0), 0.0), 1.0), 4),
                "tokens": 100.0 + 7 * number + 400 * shift,
            },
            comments={"tone": f"because of {number}"},
            tokens=None if run == "base" else (10, 5),
        )
        for number in range(items)
    ]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """A client that shows MCP Apps."""
    apps = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})
    async with Client(build_server(settings), extensions=[apps]) as opened:
        yield opened


async def _recorded(workspace: Workspace, name: str) -> str:
    dataset = await make_dataset(workspace, name)
    for run, shift in (("base", 0.0), ("up", 0.25), ("down", -0.125)):
        await record_run(workspace, dataset, run, _results(run, shift))
    return name


async def _called(client: Client, tool: str, **arguments: JsonValue) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result


def _open(browser: Browser, folder: Path, html: str, scheme: str = "light") -> Tab:
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    return browser.open(path.as_uri(), scheme=scheme)


def _probe(tab: Tab, name: str, *, in_frame: bool = False) -> Any:  # noqa: ANN401
    """Ask one of the probes."""
    return tab.run(f"(() => {{ {PROBES} return {name}(); }})()", in_frame=in_frame)


def _tables(tab: Tab, *, in_frame: bool = False) -> dict[str, list[dict[str, Any]]]:
    return {table["caption"]: table["rows"] for table in _probe(tab, "tables", in_frame=in_frame)}


def _number(text: str) -> float | None:
    return None if text == "unknown" else float(text)


def _check_scores(rows: list[dict[str, Any]], scores: list[ScoreComparison]) -> None:
    by_name = {(score.run, score.score): score for score in scores}
    assert {(row["run"], row["score"]) for row in rows} == by_name.keys()
    for row in rows:
        score = by_name[row["run"], row["score"]]
        chart = row["delta with its interval"]
        assert (row["verdict"], row["pairs"]) == (score.verdict, str(score.pairs))
        assert row["won/lost/tied"] == f"{score.wins}/{score.losses}/{score.ties}"
        assert _number(row["delta"]) == pytest.approx(score.delta, abs=5e-5)
        assert chart["value"] == pytest.approx(score.delta, rel=1e-3, abs=2e-3 * (1 + abs(score.delta or 0)))
        if score.interval is None:
            assert (row["interval"], chart["low"], chart["high"]) == ("unknown", None, None)
            assert "interval unknown" in chart["label"]
        else:
            ends = [float(end) for end in row["interval"].strip("[]").split(",")]
            assert ends == pytest.approx(list(score.interval), abs=5e-4)
            assert [chart["low"], chart["high"]] == pytest.approx(ends, abs=2e-3)
        assert chart["reference"] == pytest.approx(0, abs=2e-3 * (1 + abs(score.delta or 0)))
        before, after = (float(mean) for mean in row["paired mean"].split(" -> "))
        assert (before, after) == pytest.approx((score.baseline_mean, score.mean), rel=5e-4)
        assert chart["label"].startswith("Delta plus" if (score.delta or 0) > 0 else "Delta minus")


async def test_every_figure_of_a_comparison_is_that_of_the_answer_and_stands_in_a_table(
    browser: Browser, client: Client, workspace: Workspace, tmp_path: Path
) -> None:
    dataset = await _recorded(workspace, "page-figures")
    result = await _called(client, "compare_runs", dataset=dataset, runs=["base", "up", "down"])
    answer = Comparison.model_validate(result.structured_content)
    assert result.meta is not None
    assert len(result.meta[PAGE_META].encode()) < SIZE_LIMIT
    tab = _open(browser, tmp_path, result.meta[PAGE_META])
    tables = _tables(tab)
    _check_scores(tables["Scores"], answer.scores)
    assert [row["run"] for row in tables["Scores"] if row["score"] == "tone"] == ["up", "down"]
    assert {row["run"]: row["task USD"] for row in tables["Runs"]}["base (baseline)"] == "unknown"
    for changes in answer.changes:
        begins = f"{changes.kind.capitalize()}, {changes.score} in {changes.run}:"
        (rows,) = [rows for title, rows in tables.items() if title.startswith(begins)]
        assert [row["item"] for row in rows] == [item.item_id for item in changes.items]
        for row, item in zip(rows, changes.items, strict=True):
            assert row["value"] == f"{item.baseline_value:.4g} -> {item.value:.4g}"
            drawn = row["change"]
            values = [item.baseline_value, item.value]
            assert [drawn["before"], drawn["value"]] == pytest.approx(values, rel=2e-3, abs=2e-3)
            assert row["input"] == json.dumps(item.input)
    heard = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tab.accessible()]
    assert {name for role, name in heard if role == "table"} == set(tables)
    assert [name for role, name in heard if role == "image"] == [
        cell["label"] for rows in tables.values() for row in rows for cell in row.values() if isinstance(cell, dict)
    ]
    assert sum(role == "rowheader" for role, _ in heard) == sum(map(len, tables.values()))
    assert heard[0] == ("RootWebArea", "up, down against base")


async def test_every_figure_of_an_analysis_is_that_of_the_answer(
    browser: Browser, client: Client, workspace: Workspace, tmp_path: Path
) -> None:
    dataset = await _recorded(workspace, "page-analysis")
    result = await _called(client, "analyze_run", dataset=dataset, run_name="up", show_failures=True)
    answer = Analysis.model_validate(result.structured_content)
    assert result.meta is not None
    tables = _tables(_open(browser, tmp_path, result.meta[PAGE_META]))
    for row, score in zip(tables["Scores"], answer.scores, strict=True):
        assert (row["score"], row["mean"], row["scored"]) == (score.name, score.display, str(score.count))
        assert [float(row[name]) for name in ("p5", "median", "p95")] == pytest.approx(
            [score.quantiles[name] for name in ("p5", "p50", "p95")], rel=5e-4
        )
        drawn = row["spread"]
        span = 1 if score.failing is not None else score.quantiles["max"] - score.quantiles["min"]
        assert drawn["value"] == pytest.approx(score.mean, abs=2e-3 * span)
        assert [height * max(score.histogram) / 66 for height in drawn["counts"]] == pytest.approx(
            score.histogram, abs=0.01 * max(score.histogram)
        )
        assert drawn["reference"] == (pytest.approx(answer.threshold, abs=2e-3) if score.failing is not None else None)
        assert str(score.histogram).strip("[]") in drawn["label"]
    assert sum(score.failing is None for score in answer.scores) == 1, "one has no scale"
    (title,) = [title for title in tables if title.startswith("Failing items")]
    assert [row["item"] for row in tables[title]] == [item.item_id for item in answer.failures.items]
    (title,) = [title for title in tables if title.startswith("Slices")]
    for row, part in zip(tables[title], answer.slices, strict=True):
        assert row["slice"] == f"{part.key}={part.value}"
        assert row["difference to the rest"]["value"] == pytest.approx(part.delta, rel=1e-2, abs=2e-3)


def _hostile_answer(texts: list[str]) -> Comparison:
    """A comparison in which every text that a stranger chooses is one of these."""
    given = iter([*texts, *texts])
    score = {"verdict": "worse", "pairs": 9, "margin": 0.05, "delta": -0.1, "interval": Interval(-0.2, 0.0), "wins": 1}
    runs = [
        {"run": text, "status": "completed", "items": 9, "succeeded": 9, "url": url}
        for text, url in zip(texts[:60], cycle(URLS), strict=False)
    ]
    items = [
        dict.fromkeys(("item_id", "input", "baseline_output", "output", "reason"), text)
        | {"baseline_value": 1.0, "value": 0.0}
        for text in texts[120:]
    ]
    return Comparison.model_validate(
        {
            "backend": next(given),
            "dataset": next(given),
            "baseline": texts[0],
            "runs": runs,
            "scores": [score | {"run": text, "score": text, "reason": text} for text in texts[60:120]],
            "comparability": [{"kind": "part", "unfair": True, "run": "r", "message": next(given)}],
            "changes": [{"kind": "worse", "run": next(given), "score": next(given), "total": 380, "items": items}],
            "gate": {
                "passed": False,
                "checks": [
                    {"expression": next(given), "run": next(given), "outcome": "failed", "message": next(given)}
                ],
            },
            "warnings": texts[:40],
            "next": [{"tool": "get_run", "arguments": {"run_name": next(given)}, "why": next(given)}],
            "pass_mark": 0.5,
            "min_delta": 0.05,
        }
    )


@pytest.mark.parametrize("with_policy", [True, False])
def test_no_hostile_text_runs_loads_or_shows_anything_of_its_own(
    browser: Browser, tmp_path: Path, with_policy: bool
) -> None:
    answer = _hostile_answer(TEXTS)
    html = page(report_of(answer))
    if not with_policy:
        # Escaping must do alone, too.
        html = re.sub(r"<meta http-equiv=.*?>", "", html)
    tab = _open(browser, tmp_path, html)
    assert tab.run("[typeof window.PWNED, typeof top.PWNED]") == ["undefined", "undefined"]
    assert tab.requests() == [(tmp_path / "page.html").as_uri()]
    assert _probe(tab, "foreign") == []
    assert tab.run("document.querySelectorAll('tbody tr').length") == 60 + 60 + len(TEXTS) - 120 + 1
    assert tab.run("document.querySelectorAll('.marked').length") == 40 + 1 + 1, "none is taken for a line of ours"
    noticed = {"Page.javascriptDialogOpening", "Log.entryAdded", "Runtime.consoleAPICalled"}
    assert not [event for event in browser.events if event["method"] in noticed]
    tab.send("Page.close")


async def test_nothing_scrolls_sideways_at_any_width_and_long_names_are_whole(browser: Browser, tmp_path: Path) -> None:
    answer = _hostile_answer([f"{LONG}{number}" for number in range(130)])
    tab = _open(browser, tmp_path, page(report_of(answer)))
    for width in WIDTHS:
        tab.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert _probe(tab, "beyond") == [], width
    assert f"{LONG}1" in tab.run("document.body.textContent")
    tab.send("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
    roles = [node["role"]["value"] for node in tab.accessible()]
    assert {"table", "row", "columnheader", "rowheader", "cell"} <= set(roles), "a narrow page keeps its tables"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_texts_and_marks_stand_out_from_their_ground(browser: Browser, tmp_path: Path, scheme: str) -> None:
    tab = _open(browser, tmp_path, page(report_of(_hostile_answer([f"text {n}" for n in range(130)]))), scheme=scheme)
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, re.findall(r"\d+", ground)[:3])) > 200) is (scheme == "light")
    assert _probe(tab, "faint") == []
    tab.send("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert tab.run("getComputedStyle(document.documentElement).colorScheme") == "light", "paper is white"


def _host(browser: Browser, folder: Path, html: str, results: list[Any], **given: object) -> Tab:
    """Open a host that shows a view, and wait for what it says of its size after the last result."""
    defaults: dict[str, object] = {"capabilities": {}, "context": {"theme": "light"}, "resources": {}}
    content = json.dumps({"html": html, "results": results, **defaults, **given}).replace("<", "\\u003c")
    return _open(browser, folder, HOST.replace("GIVEN", content))


async def _view(client: Client) -> str:
    (content,) = (await client.read_resource(VIEW)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == APP_MIME_TYPE
    return content.text


def _until(tab: Tab, condition: str) -> None:
    """Wait until a condition holds in the frame: it is asked each time that something changes there."""
    tab.run(
        f"""new Promise((done) => {{
          const check = () => ({condition}) && (done(), true);
          check() || new MutationObserver((_, seen) => check() && seen.disconnect()).observe(document, {{
            childList: true, subtree: true, attributes: true
          }});
        }})""",
        in_frame=True,
    )


@pytest.mark.parametrize("way", ["meta", "resource", "text"])
async def test_the_view_of_mcp_apps_shows_the_answer_of_a_call_whatever_the_host_hands_on(
    browser: Browser, client: Client, workspace: Workspace, tmp_path: Path, way: str
) -> None:
    dataset = await _recorded(workspace, f"page-view-{way}")
    (tool,) = [tool for tool in (await client.list_tools()).tools if tool.name == "compare_runs"]
    assert tool.meta == {"ui": {"resourceUri": VIEW}}
    result = await _called(client, "compare_runs", dataset=dataset, runs=["base", "up"])
    answer = Comparison.model_validate(result.structured_content)
    handed: dict[str, Any] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    resources: dict[str, str] = {}
    if way != "meta":
        del handed["_meta"]
    if way == "resource":
        assert answer.page is not None
        (content,) = (await client.read_resource(answer.page)).contents
        assert isinstance(content, TextResourceContents)
        resources[answer.page] = content.text
    tab = _host(
        browser,
        tmp_path,
        await _view(client),
        [handed],
        resources=resources,
        capabilities={"serverResources": {}} if way == "resource" else {},
        context={"theme": "dark"},
    )
    if way == "text":
        _until(tab, "document.querySelector('pre')")
        (block,) = handed["content"]
        assert tab.run("document.querySelector('pre').textContent", in_frame=True) == block["text"]
    else:
        _until(tab, "document.querySelector('table')")
        _check_scores(_tables(tab, in_frame=True)["Scores"], answer.scores)
    assert tab.run("document.documentElement.dataset.theme", in_frame=True) == "dark"
    said = tab.run("received.map((message) => message.method)")
    assert said[:2] == ["ui/initialize", "ui/notifications/initialized"]
    height = tab.run("document.documentElement.scrollHeight", in_frame=True)
    wait_until(lambda: tab.run("sizes().at(-1)?.height") or 0, lambda size: abs(size - height) <= 40)
    assert tab.requests() == [(tmp_path / "page.html").as_uri()]


async def test_the_view_follows_its_host_and_nobody_else(browser: Browser, client: Client, tmp_path: Path) -> None:
    first = {"content": [{"type": "text", "text": "first <b>bold</b>"}]}
    second = {"content": [{"type": "text", "text": "second"}], "isError": True}
    tab = _host(browser, tmp_path, await _view(client), [first, second])
    _until(tab, "document.querySelector('pre')?.textContent === 'second'")
    tab.run("send({ method: 'ui/notifications/host-context-changed', params: { theme: 'dark' } })")
    _until(tab, "document.documentElement.dataset.theme === 'dark'")
    forged = {"jsonrpc": "2.0", "method": "ui/notifications/tool-result", "params": first}
    # A message of the frame to itself is none of its host's.
    tab.run(f"window.postMessage({json.dumps(forged)}, '*')", in_frame=True)
    tab.run("send({ id: 7, method: 'ui/resource-teardown', params: {} })")
    tab.run("send({ id: 8, method: 'ping' })")
    tab.run("send({ id: 9, method: 'tools/call', params: {} })")
    read = "answers().map((message) => [message.id, message.error?.code ?? null])"
    answers = wait_until(lambda: tab.run(read), lambda answers: len(answers) == 3)
    assert answers == [[7, None], [8, None], [9, -32601]]
    assert tab.run("document.querySelector('pre').textContent", in_frame=True) == "second"
    assert tab.run("document.querySelectorAll('b').length", in_frame=True) == 0
    hostile = {"content": [], "_meta": {PAGE_META: page(report_of(_hostile_answer(TEXTS)))}}
    tab.run(f"give({json.dumps(hostile)})")
    _until(tab, "document.querySelector('table')")
    tab.run("document.querySelector('a[href]').click()", in_frame=True)
    opened = wait_until(lambda: tab.run("received.filter((message) => message.method === 'ui/open-link')"))
    assert [message["params"] for message in opened] == [{"url": URLS[0]}]
    assert tab.run("typeof window.PWNED") == tab.run("typeof window.PWNED", in_frame=True) == "undefined"
    assert tab.requests() == [(tmp_path / "page.html").as_uri()]
