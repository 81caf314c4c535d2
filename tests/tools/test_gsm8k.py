"""The must-hold of the main job: 1,319 real items, two runs, read back and compared over stdio."""

from pathlib import Path

import pytest
from mcp import Client

from lfexp_mcp.answers.comparison import Comparison
from lfexp_mcp.answers.run import RunAnswer, RunDetail
from tests.tools.conftest import Caller, WriteScript, stdio_server

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"
TASK = """
import json
import os
from pathlib import Path

SOLUTIONS = {{
    row["question"]: row["solutions"][{model!r}]["solution"]
    for row in map(json.loads, Path({data!r}).read_text(encoding="utf-8").splitlines())
}}


CALLS = os.open(__file__ + ".calls", os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def task(*, item, **kwargs):
    os.write(CALLS, b"x")
    return SOLUTIONS[item.input]
"""
EVALUATORS = """
from langfuse import Evaluation


def correct(*, output, expected_output, **kwargs):
    said = output.rpartition("A:")[2].strip().replace(",", "")
    try:
        right = float(said) == float(expected_output.replace(",", ""))
    except ValueError:
        right = False
    return Evaluation(name="correct", value=float(right))


EVALUATORS = [correct]
"""
MEANS = {"6b_finetuning": 0.216831, "6b_verification": 0.390447}
DELTA = 0.173616


@pytest.mark.skipif(not DATA.exists(), reason="the GSM8K data lies beside the project, not in it")
@pytest.mark.anyio
async def test_gsm8k_gives_the_published_accuracies_and_their_difference(home: Path, write_script: WriteScript) -> None:
    async with Client(stdio_server(home, store=None)) as client:
        caller = Caller(client)
        fields = {"id": "id", "input": "question", "expected_output": "answer"}
        made = await caller.answer("create_dataset", name="gsm8k", items_file=str(DATA), fields={**fields})
        assert (made["stored"], made["total_items"]) == (1319, 1319)
        evaluators = str(write_script("evaluators.py", EVALUATORS))
        for model, mean in MEANS.items():
            task = str(write_script(f"task_{model}.py", TASK.format(model=model, data=str(DATA))))
            ran = RunAnswer.model_validate(
                await caller.answer(
                    "run_experiment",
                    run_name=model,
                    dataset="gsm8k",
                    task_script=task,
                    evaluator_script=evaluators,
                    max_concurrency=20,
                    wait_seconds=600,
                )
            )
            assert ran.status == "completed"
            read = RunDetail.model_validate(await caller.answer("get_run", dataset="gsm8k", run_name=model))
            assert (read.succeeded, read.failed, read.pending) == (1319, 0, 0)
            assert [(score.name, score.count) for score in read.scores] == [("correct", 1319)]
            assert read.scores[0].mean == pytest.approx(mean, abs=5e-7)
        comparison = Comparison.model_validate(await caller.answer("compare_runs", dataset="gsm8k", runs=list(MEANS)))
        (score,) = comparison.scores
        assert score.pairs == 1319
        assert score.delta == pytest.approx(DELTA, abs=5e-7)
        assert score.verdict == "better"

        # Every answer that the edited script reads is wrong, and no task is called.
        edited = str(write_script("evaluators.py", EVALUATORS.replace("float(right)", "float(not right)")))
        scored = RunAnswer.model_validate(
            await caller.answer(
                "score_run",
                run_name="6b_finetuning",
                dataset="gsm8k",
                evaluator_script=edited,
                max_concurrency=20,
                wait_seconds=600,
            )
        )
        assert (scored.status, scored.scoring) == ("completed", "completed")
        mean = MEANS["6b_finetuning"]
        older = next(score for score in scored.scores if score.name != "correct")
        assert older.name.startswith("correct@evaluators.py:")
        assert {(score.name, score.count) for score in scored.scores} == {("correct", 1319), (older.name, 1319)}
        assert older.mean == pytest.approx(mean, abs=5e-7)
        assert scored.scores[0].mean == pytest.approx(1 - mean, abs=5e-7)
        assert _size(f"{Path(edited).parent / 'task_6b_finetuning.py'}.calls") == 1319
        # Both runs have the first script's scores, so that these are compared.
        again = Comparison.model_validate(await caller.answer("compare_runs", dataset="gsm8k", runs=list(MEANS)))
        assert next(one for one in again.scores if one.score == "correct").delta == pytest.approx(DELTA, abs=5e-7)


def _size(path: str) -> int:
    return Path(path).stat().st_size
