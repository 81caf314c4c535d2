"""GSM8K with the recorded answers of two real models: 1,319 pairs of passes."""

import json
from pathlib import Path

import pytest

from lfexp_mcp.statistics.paired import compare_pairs, conclude
from lfexp_mcp.statistics.proportions import wilson

DATA = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"


@pytest.mark.skipif(not DATA.exists(), reason="the shared GSM8K data is not beside this checkout")
def test_verification_is_better_than_finetuning_by_what_the_authors_recorded() -> None:
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    pairs = [
        (
            float(row["solutions"]["6b_finetuning"]["is_correct"]),
            float(row["solutions"]["6b_verification"]["is_correct"]),
        )
        for row in rows
    ]
    result = compare_pairs(pairs, 1.0)
    assert result is not None
    assert (result.pairs, result.wins, result.losses, result.ties) == (1319, 293, 64, 962)
    assert round(result.first_mean, 6) == 0.216831
    assert round(result.second_mean, 6) == 0.390447
    assert round(result.delta, 6) == 0.173616
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == pytest.approx((0.147353, 0.200387), abs=1e-6)
    assert conclude(result, 0.05).verdict == "better"
    assert wilson(286, 1319).low < 0.216831 < wilson(286, 1319).high
