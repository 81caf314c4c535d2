"""Runs whose truth is known, to hold verdicts and intervals to what they promise."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from lfexp_mcp.model import Content, ItemResult, RunRecord, Score
from lfexp_mcp.services.runs.scored_run import ScoredRun, interpret_run

Sampler = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]


def skewed(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """What a judge gives: mostly 0.9 and 1, now and then far less."""
    return np.where(rng.random(n) < 0.9, rng.choice([0.9, 1.0], n), rng.choice([0.0, 0.1, 0.3, 0.5], n))


def u_shaped(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """Mostly near one of the ends."""
    return np.round(rng.beta(0.15, 0.15, n), 1)


def rare_drops(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    """Differences of which 7.5% are large losses, and the others about none."""
    return np.where(rng.random(n) < 0.075, -0.8, rng.choice([-0.1, 0.0, 0.0, 0.0, 0.1], n))


def rare_drops_among_gains(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return np.where(rng.random(n) < 0.075, -0.8, rng.choice([0.0, 0.1, 0.1, 0.2], n))


def rare_failures(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return np.where(rng.random(n) < 0.15, -1.0, rng.choice([-0.1, 0.0, 0.1], n))


def ordinary_gains(rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
    return np.asarray(np.round(rng.normal(0.1, 0.15, n), 1), dtype=np.float64)


RARE: tuple[Sampler, ...] = (rare_drops, rare_drops_among_gains, rare_failures, ordinary_gains)
"""Differences on a scale of width 1."""


EXACT: Mapping[str, list[float]] = {
    "passes": [1.0] * 5 + [-1.0] * 2 + [0.0] * 13,
    "ordinary": [-0.3, -0.2, -0.1, -0.1, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4] * 2,
    "few gains": [0.5] * 5 + [0.0] * 12 + [-0.1] * 3,
    "few losses": [-0.6] * 4 + [0.0] * 12 + [0.1] * 4,
}
"""Differences that are drawn from as they are, so that a run of them is exactly like the truth."""


def truth_of(sampler: Sampler) -> float:
    """The mean that a sampler draws from."""
    return float(sampler(np.random.default_rng(1), 2_000_000).mean())


def noisy_run(rng: np.random.Generator, sampler: Sampler, n: int, keys: int = 6, labels: int = 5) -> ScoredRun:
    """A run with a score that has nothing to do with its items' metadata."""
    values = sampler(rng, n)
    metadata = [{f"key-{key}": f"label-{rng.integers(labels)}" for key in range(keys)} for _ in range(n)]
    return run_of([{"quality": float(value)} for value in values], metadata)


def run_of(
    scores: list[dict[str, float]], metadata: list[dict[str, str]] | None = None, name: str = "run"
) -> ScoredRun:
    """A run as it is read, without a server."""
    items = tuple(
        ItemResult(
            f"item-{n:04}",
            "succeeded",
            content=Content(metadata=_json(metadata[n]) if metadata else {}),
            scores=tuple(Score(f"{n}-{score}", score, value, "NUMERIC") for score, value in given.items()),
        )
        for n, given in enumerate(scores)
    )
    return interpret_run(RunRecord("d", "id", name, (name,), "completed", items, len(items)), {})


def _json(metadata: Mapping[str, str]) -> dict[str, JsonValue]:
    return dict(metadata)
