"""Which runs a dataset's items have already judged, so that a verdict on one accounts for all the others."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pydantic import JsonValue

from lfexp_mcp.gateway import SCORING_SCORE_NAME, Experiment
from lfexp_mcp.model import FAMILY_KEY, Provenance, RunRecord, Sweep
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.statistics.significance import spending_factor

MAX_FAMILY_CHARS = 80


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run as it counts for the verdicts on others."""

    begun: datetime
    id: str
    """Of its experiment, the first one of a run with repeats."""
    family: str | None = field(default=None, compare=False)
    """As declared in its metadata under `FAMILY_KEY` before it began."""
    scores: frozenset[str] | None = field(default=None, compare=False)
    """Names of the scores that it may have from its own judges and evaluators; None if any: the list of runs does not
    tell which scores a script gave, and nothing of runs of others."""
    name: str = field(default="", compare=False)
    sweep: Sweep | None = field(default=None, compare=False)
    """The sweep that it was begun with."""

    def is_variant_with(self, other: "Candidate") -> bool:
        """Whether both are variants of one sweep, begun by one call."""
        mine, theirs = self.sweep, other.sweep
        return mine is not None and theirs is not None and (mine.name, mine.size) == (theirs.name, theirs.size)

    def may_have(self, score: str | None) -> bool:
        """Whether it may have a score; None for one that anybody may have given to any run."""
        return score is None or self.scores is None or score in self.scores


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the candidates on a dataset's items a run is."""

    number: int
    """Its place by time among the candidates of its family, from 1; the baseline does not count."""
    family: str | None = None
    families: int = 0
    """Families of candidates on these items that were begun before its own."""
    together: int = 1
    """How many candidates were begun together with it, itself included: the variants of a sweep."""
    first: int = 1
    """The number of the first of these."""
    home: Candidate | None = None
    """The first run of its family, the baseline that nobody has chosen by its results."""
    choices: int = 1
    """How many runs the baseline may have been chosen among; 1 for the first run of the dataset, family or sweep."""

    @property
    def rank(self) -> int:
        """The place in the order of spending.

        Families before count like candidates, so that a family of its own for each run gains nothing.
        """
        return self.number + self.families

    @property
    def factor(self) -> float:
        """The factor by which the p of a gain is multiplied.

        Another baseline than the first is another test of the same candidate. Where it looks no worse than the first,
        it cannot make a candidate better that is not better than the first one, and `choices` is left out.
        """
        return spending_factor(self.first + self.families, self.together) * self.choices

    @property
    def shown(self) -> str:
        """The place for a reader, such as `7th candidate on these items`."""
        last = self.number % 10 if self.number % 100 // 10 != 1 else 0
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
        text = f"{self.number}{suffix} candidate on these items"
        if self.family is not None:
            others = f"{self.families} other{'s' if self.families != 1 else ''}"
            text += f", in the family {self.family!r} after {others}"
        return f"{text}, with a baseline chosen among {self.choices}" if self.choices > 1 else text


@dataclass(frozen=True, slots=True)
class Candidates:
    """All runs of a dataset that have a result, in the order in which they began.

    A run counts whether or not it was completed, since it could be chosen, or dropped, by what it had. The count starts
    at the dataset's first run, not at the baseline: a baseline that was one of the candidates has been chosen among
    them, and one that is set anew for each run would else make every run a first candidate. Those who begin another
    search on the same items declare it in the metadata of its runs, the baseline's first, under `FAMILY_KEY`.
    """

    runs: tuple[Candidate, ...] = ()

    @classmethod
    def of(cls, runs: Iterable[Candidate]) -> "Candidates":
        """Order runs by when they began; the variants of a sweep began as one, in the order in which they were named.

        A run that a resume of the sweep put in the place of a variant is a candidate by itself.
        """
        begun: dict[tuple[str, int], datetime] = {}
        variants: set[tuple[str, int, int]] = set()
        found = []
        for run in sorted(runs, key=lambda run: (run.begun, run.id)):
            sweep = run.sweep
            if sweep is None or (sweep.name, sweep.size, sweep.index) in variants:
                found.append((run.begun, 0, replace(run, sweep=None)))
                continue
            variants.add((sweep.name, sweep.size, sweep.index))
            found.append((begun.setdefault((sweep.name, sweep.size), run.begun), sweep.index, run))
        return cls(tuple(run for *_, run in sorted(found, key=lambda one: (*one[:2], one[2].id))))

    def including(self, *runs: RunRecord | Candidate) -> "Candidates":
        """Add runs that Langfuse does not list yet, or that are about to begin."""
        known = {one.id for one in self.runs}
        given = [_begun(run) if isinstance(run, RunRecord) else run for run in runs]
        new = [run for run in given if run.id not in known]
        return Candidates.of((*self.runs, *new)) if new else self

    def homes(self, baseline_id: str, run_ids: Collection[str]) -> set[Candidate]:
        """Find the first runs of the families of some runs, to be looked at where the baseline is another."""
        families = {one.family for one in self.runs if one.id in run_ids}
        homes = {next(one for one in self.runs if one.family == family) for family in families}
        return {one for one in homes if one.id != baseline_id and self.runs[0].id != baseline_id}

    def place(self, baseline_id: str, run_id: str, score: str | None) -> Place:
        """Find the place of a run compared with a baseline.

        If the baseline was begun after the run, the place is that of the baseline, which was then the later candidate.

        Args:
            baseline_id: Experiment id of the baseline, which is among the runs.
            run_id: Experiment id of the run, which is among the runs.
            score: What is compared; None for a score that others than the run's own judges and evaluators gave.
        """
        both = (baseline_id, run_id)
        runs = [one for one in self.runs if one.may_have(score) or one.id in both]
        earlier, later = (one for one in runs if one.id in both)
        counted = [one for one in runs[: runs.index(later) + 1] if one != earlier]
        home = next(one for one in runs if one.family == later.family)
        # The first run of all is what others were compared with, and no candidate.
        families = {one.family for one in runs[1 : runs.index(home)] if one != earlier}
        own = [one for one in counted if one.family == later.family]
        begins_sweep = earlier.is_variant_with(later) and earlier.sweep is not None and earlier.sweep.index == 0
        return Place(
            number=len(own),
            family=later.family,
            families=len(families),
            together=later.sweep.size - earlier.is_variant_with(later) if later.sweep else 1,
            first=next(number for number, one in enumerate(own, 1) if one == later or one.is_variant_with(later)),
            home=home,
            choices=1 if begins_sweep or earlier in (home, runs[0]) else len(counted),
        )


async def read_candidates(ws: Workspace, dataset_id: str) -> Candidates:
    """Read which runs of a dataset there are: the list of runs alone, none of their results.

    Raises:
        BackendError: Langfuse did not list all of them.
    """
    found = [_candidate(experiment) for experiment in await ws.gateway.experiments.all_of(dataset_id)]
    return Candidates.of(one for one in found if one is not None)


def family_of(metadata: Mapping[str, JsonValue]) -> str | None:
    """Read the family that a run was declared to belong to."""
    family = metadata.get(FAMILY_KEY)
    is_name = isinstance(family, str | int) and not isinstance(family, bool)
    return str(family).strip()[:MAX_FAMILY_CHARS] or None if is_name else None


def _begun(run: RunRecord) -> Candidate:
    begun, sweep = run.created or datetime.now(UTC), run.provenance.sweep if run.provenance else None
    return Candidate(begun, run.experiment_ids[0], family_of(run.metadata), name=run.run_name, sweep=sweep)


def _candidate(experiment: Experiment) -> Candidate | None:
    provenance = Provenance.of(experiment.metadata)
    if provenance is not None and (provenance.is_repetition or provenance.confirmation is not None):
        return None
    family, scores = family_of(experiment.metadata), _scores(experiment, provenance)
    sweep = provenance.sweep if provenance else None
    return Candidate(experiment.created, experiment.id, family, scores, experiment.name, sweep)


def _scores(experiment: Experiment, provenance: Provenance | None) -> frozenset[str] | None:
    if provenance is None or provenance.plan is None or provenance.evaluator_script is not None:
        return None
    if any(score.name == SCORING_SCORE_NAME for score in experiment.scores):
        return None
    built_in = (evaluator.name for evaluator in provenance.evaluators if evaluator.kind == "built-in")
    return frozenset((*provenance.plan.scores, *built_in))
