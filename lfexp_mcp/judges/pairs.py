"""Pairwise judges: which of two outputs is better, asked in both orders.

A judge that sees two answers tends to prefer the one in a certain place (Zheng et al., arXiv 2306.05685), so each pair
is shown in both orders. A verdict that depends on the order is a tie.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Unpack, cast

from pydantic import JsonValue

from lfexp_mcp.errors import JudgeError, LfexpError
from lfexp_mcp.groups import open_group
from lfexp_mcp.judges.runner import JudgeRunner
from lfexp_mcp.judges.templates import JudgedItem, as_text
from lfexp_mcp.judges.verdict import Verdict
from lfexp_mcp.model import UNIT, Category, Evaluation, ResolvedJudge, Scale, Score

OUTPUTS = ("output_a", "output_b")
"""The placeholders of the two outputs, in the order in which the judge sees them."""

Place = Literal["A", "B", "tie"]
Outcome = Literal["win", "loss", "tie", "inconsistent", "identical"]
"""Of the scored run's output. `inconsistent`: the verdict changed with the order. `identical`: not asked."""
VALUES: Mapping[Outcome, float] = {"win": 1.0, "loss": 0.0, "tie": 0.5, "inconsistent": 0.5, "identical": 0.5}

_NAMED = (
    r"(?:the )?(?:answer|response|assistant|output|option|candidate|model|reply|text)?[ _]?"
    r"[\[(]*(?P<{0}>a|b|1|2|first|second|former|latter)[\])]*(?: one| (?:answer|response|output|option))?"
)
_PREFERRED = re.compile(
    rf"(?:(?:i |we )?(?:prefer|choose|pick|select) )?{_NAMED.format('place')}"
    rf"(?: (?:is|was) (?:(?:slightly|somewhat|clearly|much|far|significantly) )?(?:better|preferred|preferable|best)"
    r"| is the (?:winner|better one)| wins?)?"
    rf"(?: (?:than|over) {_NAMED.format('other')})?"
)
_RELATION = re.compile(rf"{_NAMED.format('place')} ?(?P<sign>>>?|<<?|=) ?{_NAMED.format('other')}")
_TIE = re.compile(r"(?:(?:it is |it's )?an? )?(?:tied?|draw|equal(?:ly good)?|same|both|neither|no preference)")
_FIRST = frozenset({"a", "1", "first", "former"})


class _Places(Scale):
    """The places of the two outputs, under the names that judges call them by."""

    def category(self, label: str) -> Category | None:
        """Find the place that a label names."""
        place = read_place(label)
        return super().category(place) if place else None


PLACES = _Places(0, 1, kind="CATEGORICAL", categories=(Category("A"), Category("B"), Category("tie")))


def read_place(label: str) -> Place | None:
    """Read which of the two outputs a label prefers; None if it is not such a label.

    Example:
        >>> read_place("Answer B is better")
        'B'
    """
    text = " ".join(unicodedata.normalize("NFKC", label).casefold().split()).strip("\"'`*.!")
    if _TIE.fullmatch(text):
        return "tie"
    match = _RELATION.fullmatch(text) or _PREFERRED.fullmatch(text)
    if match is None:
        return None
    first = match["place"] in _FIRST
    if match["other"] and first == (match["other"] in _FIRST):
        return None
    sign = match.groupdict().get("sign") or ">"
    return "tie" if sign == "=" else "A" if first == sign.startswith(">") else "B"


def is_pairwise(judge: ResolvedJudge) -> bool:
    """Whether a judge's prompt shows two outputs."""
    return all(name in judge.placeholders for name in OUTPUTS)


def pair_judge(judge: ResolvedJudge, against: str) -> ResolvedJudge:
    """Return a judge as one that compares the outputs of a run with those of another one.

    Raises:
        JudgeError: Its prompt does not show both outputs.
    """
    missing = [name for name in OUTPUTS if name not in judge.placeholders]
    if missing:
        listed = " and ".join(f"{{{{{name}}}}}" for name in missing)
        raise JudgeError(
            f"Prompt {judge.name!r} is not a pairwise judge: it has no {listed}. It has to show both outputs, and to "
            'ask for "A", "B" or "tie".'
        )
    if judge.takes_trace:
        raise JudgeError(f"Prompt {judge.name!r} is a pairwise judge, and cannot show the trace of one of the outputs.")
    return judge.model_copy(
        update={
            "against": against,
            "score_name": f"{judge.score_name}-vs-{against}",
            "scale": UNIT,
            "scale_source": "default",
        }
    )


def output_key(output: JsonValue) -> str:
    """Identify the output that another one was compared with, to tell whether a stored verdict is about it."""
    return hashlib.sha256(as_text(output).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """A pairwise judge's verdict on one item."""

    outcome: Outcome
    verdicts: tuple[Verdict, ...] = ()
    """With the other run's output first, and with that of the scored run first; none if the outputs are identical."""

    @property
    def places(self) -> tuple[Place, Place] | None:
        """The place that is preferred in each order; None if the judge was not asked."""
        first, second = (cast("Place", verdict.value) for verdict in self.verdicts) if self.verdicts else (None, None)
        return None if first is None or second is None else (first, second)

    @classmethod
    def of_orders(cls, first: Verdict, second: Verdict) -> "PairVerdict":
        """Combine the verdicts in both orders.

        Args:
            first: With the other run's output as A.
            second: With the scored run's output as A.
        """
        wins = (first.value == "B", second.value == "A")
        losses = (first.value == "A", second.value == "B")
        if all(wins):
            return cls("win", (first, second))
        if all(losses):
            return cls("loss", (first, second))
        return cls("tie" if first.value == second.value == "tie" else "inconsistent", (first, second))

    def evaluation(self, judge: ResolvedJudge, against: JsonValue) -> Evaluation:
        """Return the verdict as an evaluator's result.

        Args:
            against: The output of the other run.
        """
        metadata: dict[str, JsonValue] = {"outcome": self.outcome, "against": output_key(against), "fenced": True}
        if self.verdicts:
            metadata |= {
                "places": [str(verdict.value) for verdict in self.verdicts],
                "input_tokens": sum(verdict.usage.input_tokens for verdict in self.verdicts),
                "output_tokens": sum(verdict.usage.output_tokens for verdict in self.verdicts),
            }
        shown = ("A is the other run's", "A is this run's")
        reasons = [
            f"({order}) {verdict.value}: {verdict.comment}" if verdict.comment else f"({order}) {verdict.value}"
            for order, verdict in zip(shown, self.verdicts, strict=False)
        ]
        comment = "\n".join([f"{self.outcome} against {judge.against}", *reasons])
        return Evaluation(judge.score_name, VALUES[self.outcome], "NUMERIC", comment, metadata)


async def judge_pair(
    runner: JudgeRunner,
    judge: ResolvedJudge,
    *,
    against: JsonValue,
    **item: Unpack[JudgedItem],
) -> PairVerdict:
    """Ask a pairwise judge about one item, in both orders at once.

    Args:
        against: The output of the other run.
        **item: What it is asked about, with the output of the scored run.

    Raises:
        LfexpError: One of the two orders has no verdict; see `JudgeRunner.judge`.
    """
    output = item["output"]
    if as_text(output) == as_text(against):
        return PairVerdict("identical")
    # Its prompt has `{{output_a}}` and `{{output_b}}` only.
    neutral: JudgedItem = {**item, "output": None}
    asked = judge.model_copy(update={"scale": PLACES, "score_name": "winner"})
    verdicts: dict[int, Verdict] = {}
    errors: list[LfexpError] = []

    async def ask(order: int, shown: tuple[object, object]) -> None:
        try:
            verdicts[order] = await runner.judge(asked, further=dict(zip(OUTPUTS, shown, strict=True)), **neutral)
        except LfexpError as error:
            # Raised later, so that the other order is not cancelled: it is paid for already.
            errors.append(error)

    async with open_group() as group:
        group.start_soon(ask, 0, (against, output))
        group.start_soon(ask, 1, (output, against))
    if errors:
        raise errors[0]
    return PairVerdict.of_orders(verdicts[0], verdicts[1])


def read_outcome(score: Score) -> tuple[Outcome, tuple[Place, Place] | None]:
    """Read the outcome and the two places from a score that `PairVerdict.evaluation` made.

    Returns:
        The outcome, by the value alone where Langfuse listed the score without its metadata; and the place preferred in
        each order, None if that is not known or the judge was not asked.
    """
    outcome, places = score.metadata.get("outcome"), score.metadata.get("places")
    if outcome not in VALUES:
        outcome = "win" if score.value == 1 else "loss" if score.value == 0 else "tie"
    shown = cast("tuple[Place, Place]", tuple(places)) if isinstance(places, list) and len(places) == 2 else None
    return cast("Outcome", outcome), shown
