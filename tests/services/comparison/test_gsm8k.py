"""GSM8K's recorded answers through the store: the figures that the authors' own marks give."""

import json
from pathlib import Path

import pytest

from lfexp_mcp.services.answer_size import MAX_TOKENS, estimate_tokens
from lfexp_mcp.services.comparison import compare_runs
from lfexp_mcp.services.requests import CompareRequest
from lfexp_mcp.services.workspace import Workspace
from tests.services.recording import Recorded, make_dataset, record_run

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[4] / "shared" / "data" / "gsm8k" / "test.jsonl"


@pytest.mark.anyio
@pytest.mark.skipif(not DATA.exists(), reason="the shared GSM8K data is not beside this checkout")
async def test_the_comparison_gives_the_recorded_difference(workspace: Workspace) -> None:
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    dataset = await make_dataset(workspace, "gsm8k")
    for run in ("6b_finetuning", "6b_verification"):
        results = [
            Recorded(
                row["id"],
                input=row["question"],
                output=row["solutions"][run]["solution"],
                expected_output=row["answer"],
                scores={"correct": bool(row["solutions"][run]["is_correct"])},
            )
            for row in rows
        ]
        await record_run(workspace, dataset, run, results)

    request = CompareRequest(
        dataset="gsm8k",
        runs=["6b_finetuning", "6b_verification"],
        fail_if=["correct<0.5", "correct.delta<-0.02", "worse"],
    )
    answer = await compare_runs(workspace, request)

    (line,) = answer.scores
    assert (line.verdict, line.pairs, line.wins, line.losses) == ("better", 1319, 293, 64)
    assert (round(line.baseline_mean or 0, 6), round(line.mean or 0, 6)) == (0.216831, 0.390447)
    assert round(line.delta or 0, 6) == 0.173616
    assert (line.newly_passing, line.newly_failing) == (293, 64)
    failing = next(listed for listed in answer.changes if listed.kind == "worse")
    assert (failing.total, failing.items[0].crossed) == (64, "newly failing")
    assert answer.gate is not None
    assert [check.outcome for check in answer.gate.checks] == ["failed", "passed", "passed"]
    assert estimate_tokens(answer) <= MAX_TOKENS
