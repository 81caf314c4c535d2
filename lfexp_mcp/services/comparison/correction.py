"""The delta of a comparison, corrected by people's labels of both runs."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from lfexp_mcp.answers.comparison import ComparabilityIssue, ScoreComparison
from lfexp_mcp.answers.labels import Corrected
from lfexp_mcp.model import NextStep
from lfexp_mcp.services.comparison.run_pair import RunPair
from lfexp_mcp.services.labels.correction import describe_corrected_delta
from lfexp_mcp.services.labels.reading import Labels
from lfexp_mcp.services.runs.scored_run import ScoredRun

DECIDED = frozenset({"better", "worse", "equivalent"})


def with_correction(
    compared: ScoreComparison,
    pair: RunPair,
    issues: Sequence[ComparabilityIssue],
    first: Mapping[str, Labels],
    second: Mapping[str, Labels],
) -> ScoreComparison:
    """Add what people's labels make of a delta.

    The verdict is about the score as the judge gives it. It stands where the labels show the same direction, and where
    they leave the judge's delta possible. Where they do neither, the judge is biased between the runs, and nothing is
    decided. Runs of two judges, whose scores cannot be compared, can be by the labels of both.

    Args:
        compared: The comparison of one score.
        issues: What makes the comparison unfair.
        first: The baseline's labels, by score.
        second: The run's.
    """
    score, labels = compared.score, (first.get(compared.score), second.get(compared.score))
    unfair = {issue.kind for issue in issues if issue.unfair and issue.score in (None, score)}
    if labels == (None, None) or not pair.has_scale(score) or unfair - {"judge", "scale"}:
        return compared
    names = (pair.baseline.name, pair.run.name)
    baseline, run = labels
    if baseline is None or run is None:
        has, lacks = names if run is None else names[::-1]
        text = f"Only {has!r} has labels, and one run corrected alone would add the judge's bias: label {lacks!r} too."
        corrected = Corrected(labels=sum(len(given.labelled) for given in labels if given), summary=text)
    else:
        corrected = describe_corrected_delta((baseline, run), names, frozenset(pair.item_ids), compared.margin)
    found, delta = corrected.estimate, compared.delta
    update: dict[str, object] = {"corrected": corrected}
    if found is not None and delta is not None and not found.low <= delta <= found.high:
        update["reason"] = f"By people's labels, the judge's delta of {delta:+.3f} is biased. {compared.reason}"
        if compared.verdict in DECIDED and not (found.low > 0 < delta or found.high < 0 > delta):
            update["verdict"] = "inconclusive"
    return compared.model_copy(update=update)


def label_steps(dataset: str, runs: Sequence[ScoredRun], labels: Sequence[Mapping[str, Labels]]) -> list[NextStep]:
    """Propose to label a run without labels of a score of which another one has some."""
    for score in sorted({score for of_run in labels for score in of_run}):
        for run, of_run in zip(runs, labels, strict=True):
            if score in run.interpretations and score not in of_run:
                arguments: dict[str, JsonValue] = {"dataset": dataset, "run_name": run.name, "score_name": score}
                return [NextStep("request_labels", arguments, "Label this run too, to correct the delta.")]
    return []
