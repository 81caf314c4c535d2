"""How dear reading is: requests, time and answer size of list, get, compare and analyze on runs of 1,000 items.

Run it with `python -m tests.benchmarks.reading`.
"""

import asyncio
import logging
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import BaseModel, SecretStr

from lfexp_mcp.reports import report_text
from lfexp_mcp.services.analysis import AnalyzeRequest, analyze_run
from lfexp_mcp.services.annotations import CommentsRequest, fetch_annotation_comments
from lfexp_mcp.services.budget import tokens
from lfexp_mcp.services.comparison import CompareRequest, compare_runs
from lfexp_mcp.services.runs import get_run, list_runs
from lfexp_mcp.services.workspace import Workspace, open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import ensure_store, stop_store
from tests.reading.recording import Recorded, make_dataset, record_run

ITEMS = 1_000
DATASET = "benchmark"


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


async def _measure(
    counter: RequestCounter, name: str, call: Callable[[], Awaitable[BaseModel]]
) -> tuple[str, int, float, int, int]:
    before, begun = counter.count, time.perf_counter()
    answer = await call()
    seconds = time.perf_counter() - begun
    return name, counter.count - before, seconds, tokens(answer), _text_tokens(answer)


def _text_tokens(answer: BaseModel) -> int:
    from lfexp_mcp.answers.base import Answer

    assert isinstance(answer, Answer)
    return len(report_text(answer)) // 4


async def _prepare(ws: Workspace) -> None:
    dataset = await make_dataset(ws, DATASET)
    await record_run(ws, dataset, "old", _results("old", 0.6))
    await record_run(ws, dataset, "new", _results("new", 0.7))


async def measure(settings: Settings) -> list[tuple[str, int, float, int, int]]:
    """Measure every tool of the reading side; name, requests, seconds, tokens of the answer and of its text."""
    counter = count_requests()
    async with open_workspace(settings) as ws:
        await _prepare(ws)
        await ws.gateway.project_id()
        compare = CompareRequest(dataset=DATASET, runs=["old", "new"])
        analyze = AnalyzeRequest(dataset=DATASET, run_name="new", show_failures=True)
        calls: list[tuple[str, Callable[[], Awaitable[BaseModel]]]] = [
            ("list_runs", lambda: list_runs(ws, DATASET)),
            ("get_run", lambda: get_run(ws, DATASET, "new")),
            ("get_run, one item", lambda: get_run(ws, DATASET, "new", item_id="item-0500")),
            ("compare_runs", lambda: compare_runs(ws, compare)),
            ("analyze_run", lambda: analyze_run(ws, analyze)),
            (
                "fetch_annotation_comments",
                lambda: fetch_annotation_comments(ws, CommentsRequest(dataset=DATASET, run_name="new")),
            ),
        ]
        return [await _measure(counter, name, call) for name, call in calls]


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        store = ensure_store(Path(folder) / "store")
        try:
            settings = Settings(
                langfuse_public_key=store.public_key,
                langfuse_secret_key=SecretStr(store.secret_key),
                langfuse_url=store.base_url,
                home=Path(folder) / "home",
            )
            figures = asyncio.run(measure(settings))
        finally:
            stop_store(Path(folder) / "store")
    print(f"Reading runs of {ITEMS} items from the embedded store:")  # noqa: T201
    print(f"{'call':<28}{'requests':>10}{'seconds':>10}{'tokens':>10}{'text':>8}")  # noqa: T201
    for name, requests, seconds, size, text in figures:
        print(f"{name:<28}{requests:>10}{seconds:>10.2f}{size:>10}{text:>8}")  # noqa: T201


if __name__ == "__main__":
    main()
