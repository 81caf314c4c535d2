"""The demo's own dataset and scripts: reading the total off receipts, without any model."""

from pathlib import Path

FOLDER = Path(__file__).parent
DATASET = "demo-receipts"
DESCRIPTION = "Lines from receipts; the task is to read the total. Written for the demo of lfexp-mcp."
RECEIPTS = FOLDER / "receipts.jsonl"
FIRST_NUMBER = FOLDER / "task_first_number.py"
LABELLED_TOTAL = FOLDER / "task_labelled_total.py"
EVALUATORS = FOLDER / "evaluators.py"
