"""Reports on runs."""

from collections.abc import Iterator

from lfexp_mcp.answers.run import (
    ItemAnswer,
    ItemScore,
    ObservationAnswer,
    RunAnswer,
    RunDetail,
    RunEstimate,
    RunList,
    RunListEntry,
    RunProgress,
    ScoreSummary,
    SweepAnswer,
    total_cost,
)
from lfexp_mcp.reports.layout import (
    Block,
    Report,
    Table,
    TextBlock,
    cell,
    more,
    number,
    part_of_dataset,
    repeated,
    results,
    score_value,
    signed,
    table,
    warnings,
)
from lfexp_mcp.reports.untrusted import json_text, one_line

REPLAYED = "Replayed: recorded replies stood in for the models, so times, tokens and cost are not measured."


def run_progress_report(answer: RunProgress) -> Report:
    """Report on how a run stands."""
    return Report((_counts(answer), *warnings(answer.warnings), f"Stored in {answer.backend}"), answer.next)


def run_report(answer: RunAnswer) -> Report:
    """Report on a run: its state, its scores, what went wrong and what to do next."""
    return Report((*_head(answer), *_scores(answer), *_troubles(answer)), answer.next)


def sweep_report(answer: SweepAnswer) -> Report:
    """Report on a run, or on all runs of a sweep: how they stand, and their ranks."""
    if not answer.variants:
        return run_report(answer)
    rows = [
        (
            row.score,
            "" if row.rank is None else str(row.rank),
            row.run,
            number(row.mean),
            signed(row.delta),
            number(row.p_adjusted),
            row.verdict,
            "" if row.pairs is None else str(row.pairs),
        )
        for row in answer.ranking
    ]
    columns = ("score", "rank", "run", "mean", "delta to first", "p", "verdict", "pairs")
    runs = table(("run", "state"), list(answer.variants.items()), "Runs")
    ranks = table(columns, rows, "Ranked")
    blocks = (_counts(answer), *part_of_dataset(answer.part), *runs, *ranks, *warnings(answer.warnings))
    return Report(blocks, answer.next)


def run_detail_report(answer: RunDetail) -> Report:
    """Report on a run with a page of its items."""
    return Report((*_head(answer), *_scores(answer), *_troubles(answer), *_items(answer)), answer.next)


def run_list_report(answer: RunList) -> Report:
    """Report on the runs of a dataset."""
    head = f"Runs of dataset {answer.dataset!r}, newest first:"
    if not answer.runs:
        none = "has only repetitions of runs on this page" if answer.next_cursor else "has no runs yet"
        head = f"Dataset {answer.dataset!r} {none}."
    rows = [
        (run.name, f"{run.created:%Y-%m-%d %H:%M}", _listed_results(run), run.status or "", cell(run.description))
        for run in answer.runs
    ]
    runs = table(("run", "created", "results", "status", "description"), rows)
    return Report((head, *runs, *warnings(answer.warnings), *more(answer.next_cursor)), answer.next)


def _listed_results(run: RunListEntry) -> str:
    results = "unknown" if run.results is None else str(run.results)
    notes = [*(["a part"] if run.part is not None else []), *(["replayed"] if run.replayed else [])]
    return f"{results} ({', '.join(notes)})" if notes else results


def _counts(answer: RunProgress) -> str:
    of = results(answer.total_items, answer.repeats)
    counts = [f"{of}, not read yet" if answer.succeeded is None else f"{answer.succeeded} of {of} succeeded"]
    counts += [f"{answer.failed} failed"] if answer.failed else []
    counts += [f"{answer.pending} pending"] if answer.pending else []
    counts += [f"{answer.undelivered} writes not delivered yet"] if answer.undelivered else []
    return f"Run {answer.run_name!r} on dataset {answer.dataset!r}: {answer.status}; {', '.join(counts)}."


def _head(answer: RunAnswer) -> tuple[Block, ...]:
    head = _counts(answer)
    part = part_of_dataset(answer.part)
    part += (REPLAYED,) if answer.replayed else ()
    part += (f"Parameters: {cell(dict(answer.params), 200)}",) if answer.params else ()
    progress = (f"Progress: {answer.progress}.",) if answer.progress else ()
    scored_by = (f"Scored by {'; '.join(answer.evaluators)}.",) if answer.evaluators else ()
    where = f"Stored in {answer.experiment_url or answer.backend}"
    if answer.estimate is not None:
        return (head, *part, *scored_by, "A dry run: nothing was stored.", _estimate(answer.estimate))
    return (head, *part, *progress, *_stopping(answer), *scored_by, where)


def _stopping(answer: RunAnswer) -> tuple[Block, ...]:
    stopping = answer.stopping
    if stopping is None:
        return ()
    looks = stopping.looks or [f"Compared with {one_line(stopping.baseline)!r} while it runs; no look was taken yet."]
    calls = f", about {stopping.calls_saved} calls to models" if stopping.calls_saved else ""
    saved = (f"Saved: {stopping.items_saved} results{calls}.",) if stopping.items_saved else ()
    ahead = (f"The next look is after {stopping.next_look} items.",) if stopping.next_look else ()
    return (*map(one_line, looks), *ahead, *saved, f"Method: {stopping.method}.")


def _estimate(estimate: RunEstimate) -> str:
    if not estimate.calls:
        return "No judge or prompt called a model; what the task's own code calls is not counted."
    unknown = f" of {', '.join(estimate.unknown_prices)}" if estimate.unknown_prices else ""
    return (
        f"The whole run of {estimate.results} results would make about {estimate.calls} calls to models with "
        f"{estimate.input_tokens}+{estimate.output_tokens} tokens: {_usd(estimate.cost_usd)}{unknown}."
    )


def _scores(answer: RunAnswer) -> tuple[Block, ...]:
    if not answer.scores:
        return ()
    rows = [
        (score.name, score.display, str(score.count), str(score.unscored), number(score.min), number(score.max))
        for score in answer.scores
    ]
    scores = Table(("score", "mean", "scored", "unscored", "min", "max"), rows)
    whole = tuple(f"Whole run: {name} = {score_value(value)}" for name, value in answer.run_scores.items())
    return (scores, *_categories(answer.scores), *_repeats(answer), *whole, *_models(answer))


def _repeats(answer: RunAnswer) -> tuple[Block, ...]:
    if not answer.repeated_scores:
        return ()
    rows = [
        (
            score.name,
            str(score.items),
            number(score.pass_at_1),
            number(score.pass_at_k),
            number(score.pass_all_k),
            number(score.spread),
            f"{score.flips}: {', '.join(score.flipping_items)}" if score.flips else "0",
        )
        for score in answer.repeated_scores
    ]
    k = answer.repeats
    columns = ("score", "items", "pass@1", f"pass@{k}", f"pass^{k}", "spread", "flips")
    return (Table(columns, rows, f"Over {k} repeats"),)


def _models(answer: RunAnswer) -> tuple[Block, ...]:
    if not answer.models:
        return ()
    rows = [
        (
            f"{use.name} ({use.role})",
            use.model,
            str(use.calls),
            f"{use.input_tokens}+{use.output_tokens}",
            f"{use.seconds_per_call:.2f}",
            _usd(use.cost_usd),
        )
        for use in answer.models
    ]
    models = Table(("model used by", "model", "calls", "tokens", "s/call", "cost"), rows)
    named = {use.price_source for use in answer.models if use.price_source is not None}
    # The project's own prices go without saying.
    sources = (f"Prices: {', '.join(sorted(named))}.",) if named - {"Langfuse"} else ()
    if len(rows) < 2:
        return (models, *sources)
    by_role = {role: [use for use in answer.models if use.role == role] for role in ("task", "judge")}
    costs = ", ".join(f"{role} {_usd(total_cost(uses))}" for role, uses in by_role.items())
    both = f" ({costs})" if all(by_role.values()) else ""
    return (models, f"All models together: {_usd(answer.cost_usd)}{both}.", *sources)


def _usd(cost: float | None) -> str:
    return "unknown price" if cost is None else f"{cost:.4f} USD"


def _categories(scores: list[ScoreSummary]) -> tuple[str, ...]:
    return tuple(
        f"Labels of {score.name}: " + ", ".join(f"{cell(label)} {count}" for label, count in score.categories.items())
        for score in scores
        if score.categories
    )


def _troubles(answer: RunAnswer) -> tuple[Block, ...]:
    rows = [(error.item_id, cell(error.error, 160)) for error in answer.errors]
    log = (f"What the code printed: {answer.log}",) if answer.log and answer.errors else ()
    return (*table(("item", "error"), rows, "Failed or unscored"), *warnings(answer.warnings), *log)


def _items(answer: RunDetail) -> tuple[Block, ...]:
    matching = () if answer.matching is None else (f"{answer.matching} of {answer.total_items} results match.",)
    if not answer.items:
        return matching
    if answer.items[0].metadata is not None:
        return (*(block for item in answer.items for block in _whole_item(item)), answer.notice)
    rows = [_item_row(item) for item in answer.items]
    columns = ("item", "status", "input", "output", "expected", "scores")
    return (*matching, *table(columns, rows, "Items"), *more(answer.next_cursor), answer.notice)


def _whole_item(item: ItemAnswer) -> Iterator[Block]:
    """Show all of an item."""
    seconds = "" if item.seconds is None else f" after {number(item.seconds)} s"
    trace = f"; trace {item.trace_url or item.trace_id}" if item.trace_id else ""
    yield f"Item {repeated(item.item_id, item.repeat)}: {item.status}{seconds}{trace}"
    texts = {
        "Input": item.input,
        "Output": item.output,
        "Expected output": item.expected_output,
        "Error": item.error,
        "Metadata": dict(item.metadata) if item.metadata else None,
    }
    for heading, value in texts.items():
        if value is not None:
            yield TextBlock(f"{heading} of the item", value if isinstance(value, str) else json_text(value))
    for score in item.scores:
        raw = "" if score.raw is None else f", {number(score.raw)} on its own scale"
        yield TextBlock(
            f"Score {one_line(score.name)} = {_item_score(score)} ({score.source or 'API'}{raw})",
            score.error or score.comment or "",
        )
    for step in item.observations:
        yield from _observation(step)


def _observation(step: ObservationAnswer) -> Iterator[Block]:
    """Show what a task did at one point."""
    tokens = "+".join(f"{number(count)} {kind}" for kind, count in step.usage.items() if kind != "total")
    parts = (
        step.level or "",
        "" if step.seconds is None else f"{number(step.seconds)} s",
        step.model or "",
        tokens and f"{tokens} tokens",
        "" if step.cost_usd is None else _usd(step.cost_usd),
        f"within {step.parent}" if step.parent else "",
    )
    said = ", ".join(part for part in parts if part)
    yield f"Observation {step.id}: {step.type} {one_line(step.name or '')}{f' ({said})' if said else ''}"
    for heading, value in {"Message": step.message, "Input": step.input, "Output": step.output}.items():
        if value is not None:
            yield TextBlock(f"{heading} of {step.id}", value if isinstance(value, str) else json_text(value))


def _item_row(item: ItemAnswer) -> tuple[str, ...]:
    output = cell(item.error if item.status == "failed" else item.output, 40)
    scores = "; ".join(f"{score.name} {_item_score(score)}" for score in item.scores)
    name = repeated(item.item_id, item.repeat)
    return (name, item.status, cell(item.input, 40), output, cell(item.expected_output, 30), cell(scores, 120))


def _item_score(score: ItemScore) -> str:
    return "unscored" if score.value is None else score_value(score.value)
