"""How dear reading is: requests, time and answer size of list, get, compare and analyze on runs of 1,000 items."""

import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from lfexp_mcp.answers.base import Answer
from lfexp_mcp.reports.answers import report_text
from lfexp_mcp.services.analysis import analyze_run
from lfexp_mcp.services.annotations import fetch_annotation_comments
from lfexp_mcp.services.answer_size import MAX_TOKENS, estimate_tokens
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import AnalyzeRequest, CommentsRequest, CompareRequest
from lfexp_mcp.services.runs.get_run import get_run
from lfexp_mcp.services.runs.list_runs import list_runs
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.services.recording import Recorded, make_dataset, record_run

ITEMS = 1_000
DATASET = "reading"
REQUESTS_PER_100 = 2
A_FEW = 10


class RequestCounter(logging.Handler):
    """Counts the requests that httpx logs."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.getMessage().startswith("HTTP Request")


def count_requests() -> RequestCounter:
    """Begin to count every request that httpx makes in this process."""
    counter = RequestCounter()
    logger = logging.getLogger("httpx")
    logger.setLevel(logging.INFO)
    logger.handlers = [counter]
    logger.propagate = False
    return counter


def _results(run: str, quality: float) -> list[Recorded]:
    rng = random.Random(run)
    return [
        Recorded(
            f"item-{index:04}",
            input={"question": f"How many apples are left in basket {index}? " * 4},
            output=f"There are {rng.randrange(100)} apples left, since {run} counted them one by one. " * 5,
            expected_output=str(index),
            metadata={"topic": f"topic {index % 7}", "level": index % 3},
            scores={"correct": rng.random() < quality, "helpful": round(rng.betavariate(4, 2), 1)},
            comments={"correct": "The number matches.", "helpful": "It explains how it counted. " * 3},
            seconds=rng.lognormvariate(0, 0.5),
            tokens=(300, 80),
        )
        for index in range(ITEMS)
    ]


async def reading(bench: Bench) -> AsyncIterator[Row]:
    """Requests, wall time and answer size of each tool of the reading side."""
    counter = count_requests()
    ws = bench.ws
    dataset = await make_dataset(ws, DATASET)
    await record_run(ws, dataset, "old", _results("old", 0.6))
    await record_run(ws, dataset, "new", _results("new", 0.7))
    compare = CompareRequest(dataset=DATASET, runs=["old", "new"])
    analyze = AnalyzeRequest(dataset=DATASET, run_name="new", show_failures=True)
    comments = CommentsRequest(dataset=DATASET, run_name="new")
    calls: list[tuple[str, int, Callable[[], Awaitable[Answer]]]] = [
        ("list_runs", 0, lambda: list_runs(ws, DATASET)),
        ("get_run", 1, lambda: get_run(ws, DATASET, "new")),
        ("get_run, one item", 1, lambda: get_run(ws, DATASET, "new", item_id="item-0500")),
        ("compare_runs", 2, lambda: compare_runs(ws, compare)),
        ("analyze_run", 1, lambda: analyze_run(ws, analyze)),
        ("fetch_annotation_comments", 1, lambda: fetch_annotation_comments(ws, comments)),
    ]
    for name, runs, call in calls:
        before, begun = counter.count, time.perf_counter()
        answer = await call()
        seconds, requests = time.perf_counter() - begun, counter.count - before
        most = runs * REQUESTS_PER_100 * ITEMS // 100 + A_FEW
        yield Row(f"{name}, {ITEMS} items", f"{seconds:.2f} s")
        yield Row("  requests", str(requests), "", "", f"<= {most}", requests <= most)
        size, text = estimate_tokens(answer), len(report_text(answer)) // 4
        yield Row(
            "  tokens, structured and text", f"{size} + {text}", "", "", f"<= {MAX_TOKENS}", size + text <= MAX_TOKENS
        )
