"""Pairwise judges: what a reply prefers, and what two orders make of it."""

import json
from pathlib import Path

import pytest

from lfexp_mcp.errors import JudgeError, JudgeReplyError
from lfexp_mcp.judges.pairs import PLACES, Outcome, PairVerdict, Place, pair_judge
from lfexp_mcp.judges.reply import read_reply
from lfexp_mcp.judges.verdict import Verdict
from lfexp_mcp.model import ModelUsage
from tests.judges.asking import make_judge

REPLIES = [json.loads(line) for line in (Path(__file__).parent / "pair_replies.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case["reply"][:40] or "empty")
def test_a_reply_prefers_what_a_careful_reader_takes_it_to(case: dict[str, str | None]) -> None:
    try:
        place = read_reply(str(case["reply"]), PLACES, "winner").value
    except JudgeReplyError:
        place = None
    assert place == case["place"]


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("A", "B", "loss"),
        ("B", "A", "win"),
        ("tie", "tie", "tie"),
        ("A", "A", "inconsistent"),
        ("B", "B", "inconsistent"),
        ("A", "tie", "inconsistent"),
        ("tie", "A", "inconsistent"),
    ],
)
def test_only_a_verdict_that_both_orders_agree_on_is_a_win_or_a_loss(
    first: Place, second: Place, outcome: Outcome
) -> None:
    def verdict(place: Place) -> Verdict:
        return Verdict(place, "CATEGORICAL", None, None, (place,), 0.0, ModelUsage())

    assert PairVerdict.of_orders(verdict(first), verdict(second)).outcome == outcome


@pytest.mark.parametrize("text", ["{{output}}", "{{output_a}}", "{{output_b}} {{input}}"])
def test_a_prompt_that_does_not_show_both_outputs_is_not_a_pairwise_judge(text: str) -> None:
    with pytest.raises(JudgeError):
        pair_judge(make_judge(text=text), "run-a")
