"""Pairwise preference: how often one of two runs is preferred, from wins, losses and ties."""

from dataclasses import dataclass
from typing import Literal

from lfexp_mcp.model import Interval
from lfexp_mcp.statistics.proportions import mcnemar_p, tango
from lfexp_mcp.statistics.significance import ALPHA


@dataclass(frozen=True, slots=True)
class Preference:
    """Items on which a run won, lost and tied against another one.

    A win and a loss are what newly passing and newly failing are to pass/fail scores: the share is (1 + d) / 2, where
    d = (wins - losses) / n is a difference of paired proportions. So it gets the interval and the test of those, which
    hold for few items and when all are alike.

    Example:
        >>> Preference(wins=7, losses=2, ties=1).share
        0.75
    """

    wins: int
    losses: int
    ties: int = 0

    @property
    def n(self) -> int:
        """All items."""
        return self.wins + self.losses + self.ties

    @property
    def share(self) -> float | None:
        """Preference for the run, 0-1, where a tie is half a win; None without items."""
        return (self.wins + self.ties / 2) / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """95% interval of the share, by Tango's score interval; see `proportions.tango`."""
        if not self.n:
            return None
        difference = tango(self.wins, self.losses, self.n)
        return Interval((1 + difference.low) / 2, (1 + difference.high) / 2)

    @property
    def p(self) -> float | None:
        """Two-sided p of the sign test on the items without a tie (McNemar's); 1 if all tie, None without items."""
        return mcnemar_p(self.wins, self.losses) if self.n else None

    @property
    def verdict(self) -> Literal["better", "worse", "inconclusive"]:
        """What the sign test says at the 5% level."""
        if self.p is None or self.p >= ALPHA:
            return "inconclusive"
        return "better" if self.wins > self.losses else "worse"
