"""The draw of results that people are to label, as it is recorded in the description of their annotation queue.

Results are put into a random order that a seed and their ids decide, and the first of them are drawn. The seed is
derived from the run and the score, so that nobody chooses it, any machine finds the same order, and a further call
draws more of the same. Langfuse cannot change a queue's description, which is why the record says how the first results
were drawn, and the queue's items how far the draw has gone since.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from lfexp_mcp.model import ItemResult, ResultKey, RunRecord, ScoreMaker
from lfexp_mcp.scores.limits import PASS_MARK
from lfexp_mcp.services.runs.scored_run import ScoredRun
from lfexp_mcp.statistics.corrected import MIN_STRATUM_LABELS

RECORD_BEGINS = '{"lfexp_draw":'
VERSION = 1


@dataclass(frozen=True, slots=True)
class Draw:
    """A draw as it is recorded."""

    experiment_id: str
    """The run's, or that of its first repetition."""
    score: str
    seed: str
    maker: ScoreMaker
    """Who scored the results when they were drawn."""
    n: int
    """Results drawn at first."""
    population: int
    """Results that could be drawn then."""
    split: float | None = None
    """Results scored below this canonical value are one stratum, the others the second; None for a single one."""
    strata: tuple[tuple[int, int], ...] = ()
    """Size of each stratum then, and results drawn of it."""
    lfexp_draw: int = VERSION

    @property
    def is_genuine(self) -> bool:
        """Whether the seed is the one that belongs to the run and the score."""
        return self.seed == seed_of(self.experiment_id, self.score)

    def text(self, introduction: str) -> str:
        """Return the queue's description: words for those who annotate, then the record on a line of its own."""
        fields = _DRAW.dump_python(self, mode="json", exclude_none=True)
        return f"{introduction}\n{json.dumps({'lfexp_draw': self.lfexp_draw, **fields}, separators=(',', ':'))}"


_DRAW: TypeAdapter[Draw] = TypeAdapter(Draw)


def read_draw(description: str | None) -> Draw | None:
    """Read the record in a queue's description; None if there is none that this version can read."""
    record = (description or "").strip().rpartition("\n")[2]
    if not record.startswith(RECORD_BEGINS):
        return None
    try:
        draw = _DRAW.validate_json(record)
    except ValidationError:
        return None
    return draw if draw.lfexp_draw == VERSION else None


def seed_of(experiment_id: str, score: str) -> str:
    """Derive the seed of the draw for a score of a run."""
    return hashlib.sha256(json.dumps(["lfexp-draw-v1", experiment_id, score]).encode()).hexdigest()[:32]


def labellable(record: RunRecord) -> list[ItemResult]:
    """Return the results of a run that people can label: the good ones that are in Langfuse."""
    return [item for item in record.items if item.status == "succeeded" and item.observation_id and item.trace_id]


def judge_values(run: ScoredRun, score: str, results: Iterable[ItemResult]) -> dict[ResultKey, float]:
    """Return the canonical values of a score, by result; those without one are absent."""
    values = ((result.key, run.value_of(result, score)) for result in results)
    return {key: value for key, value in values if value is not None}


def put_in_order(
    results: Iterable[ItemResult], values: Mapping[ResultKey, float], seed: str, split: float | None
) -> list[list[ItemResult]]:
    """Return the results of each stratum in the random order of the draw.

    Args:
        values: The judge's, by result; results without one are in the first stratum.
        split: Where the strata are divided; None for a single one.
    """
    key = bytes.fromhex(seed)

    def place(result: ItemResult) -> bytes:
        return hashlib.blake2b((result.observation_id or "").encode(), key=key, digest_size=16).digest()

    strata: list[list[ItemResult]] = [[]] if split is None else [[], []]
    for result in sorted(results, key=place):
        value = values.get(result.key)
        strata[int(split is not None and value is not None and value >= split)].append(result)
    return strata


def allocate(n: int, sizes: Sequence[int]) -> list[int]:
    """Divide a draw evenly among one or two strata, as far as their sizes allow; a larger draw takes less of none."""
    if len(sizes) == 1:
        return [min(n, sizes[0])]
    first = min(sizes[0], -(-n // 2))
    second = min(sizes[1], n - first)
    return [min(sizes[0], n - second), second]


def drawn_first(strata: Sequence[Sequence[ItemResult]], counts: Sequence[int]) -> list[ItemResult]:
    """Return the drawn results, from the strata in turn, in the order in which to label them."""
    places = [
        (place / count, number, result)
        for number, (stratum, count) in enumerate(zip(strata, counts, strict=True))
        for place, result in enumerate(stratum[:count])
    ]
    return [result for _, _, result in sorted(places, key=lambda each: each[:2])]


def split_for(results: Collection[ItemResult], values: Mapping[ResultKey, float]) -> float | None:
    """Return where to divide results into two strata, passed and failed.

    None where one of them would have too few: even if all of these were labelled, the labels would correct nothing.
    """
    strata = put_in_order(results, values, "", PASS_MARK)
    return PASS_MARK if min(map(len, strata)) >= MIN_STRATUM_LABELS else None
