"""What corrected means and deltas promise, on runs whose truth is known, through the services that describe them."""

from collections.abc import AsyncIterator

from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.services.labels.simulated import cover_delta, cover_mean, graded, passes, tenths

LABELS = (50, 100)
RUNS = 1_000
ERROR = 2 * (0.06 * 0.94 / RUNS) ** 0.5
"""Two standard errors of a coverage of 94% in so many runs."""
RATES = (0.5, 0.7, 0.85, 0.95)
WIDTHS = {0.0: 1.03, 0.65: 0.85, 0.85: 0.7}
"""Correlation of judge and people, and the width that is allowed at each rate, relative to that of the labels alone."""
NUMBERS = {0.5: 0.3, 0.7: 0.12, 0.9: 0.06}
"""Mean of the people's tenths, and the judge's noise."""


async def correction(_bench: Bench) -> AsyncIterator[Row]:
    """Coverage of corrected means and deltas, and their width relative to that of the labels alone."""
    for correlation, allowed in WIDTHS.items():
        for labels in LABELS:
            found = [cover_mean(passes(rate, rate, correlation), labels, RUNS) for rate in RATES]
            width = max(one.width for one in found)
            least, worst = min(one.held for one in found), min(one.alone for one in found)
            holds = least >= 0.94 - ERROR and width <= allowed
            yield _row(f"pass/fail, correlation {correlation}, {labels} labels", least, worst, width, allowed, holds)
    for labels in LABELS:
        one = cover_mean(passes(0.8, 0.85, 0.65), labels, RUNS, stratified=True)
        yield _row(f"stratified draw, {labels} labels", one.held, one.alone, one.width, None, one.held >= 0.94 - ERROR)
        for rate in (0.8, 0.95):
            one = cover_mean(graded(rate, 0.15), labels, RUNS)
            holds = one.held >= 0.94 - ERROR and one.width <= 1.03
            yield _row(f"judge in tenths, rate {rate}, {labels} labels", one.held, one.alone, one.width, 1.03, holds)
        for mean, noise in NUMBERS.items():
            one = cover_mean(tenths(mean, noise), labels, RUNS // 4)
            holds = one.held >= 0.94 - 2 * ERROR and one.width <= 1.03
            yield _row(f"tenths, mean {mean}, {labels} labels", one.held, one.alone, one.width, 1.03, holds)
        held = cover_delta(passes(0.7, 0.6, 0.65), passes(0.8, 0.9, 0.5), labels, RUNS)
        yield Row(f"delta, {labels} labels each", f"{held:.3f}", "", "", ">= 0.94", held >= 0.94 - ERROR)


def _row(case: str, held: float, alone: float, width: float, allowed: float | None, holds: bool) -> Row:
    target = ">= 0.94" + (f", width <= {allowed}" if allowed else "")
    return Row(case, f"{held:.3f}, width {width:.2f}", f"labels alone {alone:.3f}", "", target, holds)
