"""The audit of who reaches what over HTTP: cases that people wrote who had not seen the code, and what became of each.

`held` by a test that was there, `tested` by one that was written for it, `mended` with one; `otherwise`, as the reason
says; `open`, where the reason says what is not known.
"""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_case_of_access_names_a_test_that_exists_or_a_reason() -> None:
    lines = Path(__file__).with_name("access_cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    assert [case["case"] for case in cases] == [f"S{number}" for number in range(1, 148)]
    for case in cases:
        if case["outcome"] in ("otherwise", "open"):
            assert case["reason"], case
        else:
            file, name = case["test"].split("::")
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), case
