"""What a stopping rule means for a comparison: a verdict that stands, or the levels of the look that the run is at."""

from dataclasses import dataclass

from lfexp_mcp.answers.comparison import ScoreComparison
from lfexp_mcp.model import Look, RunRecord, StoppingRule
from lfexp_mcp.scores.interpretation import ScoreInterpretation
from lfexp_mcp.scores.limits import is_pass
from lfexp_mcp.services.comparison.candidates import Place
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.statistics.sequential import METHOD, levels_at, look_levels, place_in_order
from lfexp_mcp.statistics.significance import ALPHA


@dataclass(frozen=True, slots=True)
class Stopping:
    """The stopping rule of a run, as far as it matters for a comparison with a baseline."""

    rule: StoppingRule
    record: RunRecord
    number: int | None
    """The look at whose levels all is tested; None between looks."""
    look: Look | None
    """The one that stopped the run, if the comparison is with the rule's own baseline."""

    @classmethod
    def of(cls, pair: RunPair) -> "Stopping | None":
        """Return the rule of a pair's run; None if it has none, or the rule has played no part."""
        record = pair.run.record
        rule = record.plan.stopping if record.plan else None
        if rule is None:
            return None
        stop = next((look for look in record.looks if look.verdict is not None), None)
        is_own = pair.baseline.name == rule.baseline
        score = pair.run.interpretations.get(rule.score)
        verdict = stop if is_own and stop is not None and _is_of(stop, score) else None
        if record.status == "completed":
            # All items are there, whatever was seen, and only its own baseline was looked at before.
            return cls(rule, record, len(rule.sizes), verdict) if is_own else None
        if stop is not None:
            return cls(rule, record, stop.number, verdict)
        return cls(rule, record, None, None) if is_own else None

    def level(self, alpha: float) -> float:
        """The level of the look that counts, given that of all looks together."""
        return alpha if self.number is None else look_levels(self.rule.sizes, alpha)[self.number - 1]

    @property
    def note(self) -> str:
        """How the looks count for a comparison that they have not decided."""
        looks = len(self.rule.sizes)
        if self.number is None:
            return (
                f"The run is {self.record.status}, after {len(self.record.looks)} of the {looks} looks of its stopping "
                "rule. A test now would be one more: there is a verdict at the next look, or when all its items are "
                "done."
            )
        if self.number == looks:
            return f"Tested at the level of the last of {looks} looks."
        return (
            f"How many items there are was decided by {self.rule.score!r}: tested at the level of look {self.number} "
            f"of {looks}."
        )


def _is_of(look: Look, score: ScoreInterpretation | None) -> bool:
    """Whether a look was at this score, and not at one that another maker has given since under its name."""
    makers = score.makers if score is not None else ()
    return not look.makers or any(before.is_same(maker) for before in look.makers for maker in makers)


def stopped_part(run: RunRecord) -> str | None:
    """How much of a run there is that was stopped early; None for any other run."""
    if run.status != "stopped":
        return None
    done = sum(item.status != "pending" for item in run.items)
    return f"{done} of {run.total_items} results, at which its stopping rule ended it"


def verdict_of_stop(
    stopping: Stopping, look: Look, pairs: dict[str, tuple[float, float]], place: Place
) -> ScoreComparison:
    """Return the comparison that stopped a run, which later results do not change.

    Args:
        look: The look that stopped it.
        pairs: (baseline, run) of all items that both runs have now.
        place: The run's among the candidates.
    """
    rule = stopping.rule
    together = rule.rise if look.delta > 0 else rule.fall
    level = levels_at(rule, look.number).of(look.delta)
    p = min(1.0, look.p * together / level) if look.p is not None else None
    reasons = [look.describe(rule)]
    if look.estimate is not None and look.number > 1:
        reasons.append(f"The delta corrected for the stop is {look.estimate:+.4f}.")
    reasons.append(f"By a {METHOD}.")
    if len(pairs) > look.pairs:
        delta = sum(after - before for before, after in pairs.values()) / len(pairs)
        text = f"Over all {len(pairs)} items that both runs have now, the delta is {delta:+.4f}: not a second verdict."
        reasons.append(text)
    order = sorted(pairs, key=lambda item_id: place_in_order(rule.seed, item_id))[: look.pairs]
    seen = [pairs[item_id] for item_id in order]
    return ScoreComparison(
        score=rule.score,
        run=stopping.record.run_name,
        verdict=look.verdict or "inconclusive",
        reason=" ".join(reasons),
        pairs=look.pairs,
        baseline_mean=look.baseline_mean,
        mean=look.mean,
        delta=look.delta,
        interval=look.interval,
        p=p,
        p_adjusted=None if p is None else min(1.0, p * ALPHA / together),
        candidate=place.rank,
        margin=rule.min_delta,
        below_min_delta=look.verdict in ("better", "worse") and abs(look.delta) < rule.min_delta,
        wins=look.wins,
        losses=look.losses,
        ties=look.pairs - look.wins - look.losses,
        newly_failing=sum(is_pass(before) and not is_pass(after) for before, after in seen),
        newly_passing=sum(is_pass(after) and not is_pass(before) for before, after in seen),
    )
