"""Reports on datasets and judges."""

from collections.abc import Iterator

from lfexp_mcp.answers.catalog import DatasetDetail, DatasetList, JudgeEntry, JudgeList
from lfexp_mcp.reports.layout import Block, Report, TextBlock, cell, more, table, warnings
from lfexp_mcp.reports.untrusted import json_text, one_line


def dataset_list_report(answer: DatasetList) -> Report:
    """Report on a page of datasets."""
    rows = [
        (
            entry.name,
            "unknown" if entry.items is None else str(entry.items),
            cell(entry.last_run),
            f"{entry.last_run_at:%Y-%m-%d %H:%M}" if entry.last_run_at else "",
            cell(entry.description),
        )
        for entry in answer.datasets
    ]
    columns = ("dataset", "items", "last run", "at", "description")
    listed = table(columns, rows, f"{len(rows)} of {answer.total} datasets in {answer.backend}")
    none = f"No datasets in {answer.backend}."
    return Report((*(listed or (none,)), *more(answer.next_cursor), *warnings(answer.warnings)), answer.next)


def set_aside(held_out: int) -> str:
    """Say how many further items a dataset has, if any, that are held out."""
    return f" and {held_out} held out" if held_out else ""


def dataset_detail_report(answer: DatasetDetail) -> Report:
    """Report on a dataset and a page of its items."""
    description = (f"Description: {cell(answer.description, 300)}",) if answer.description else ()
    metadata = (f"Metadata of the dataset: {cell(answer.metadata, 300)}",) if answer.metadata else ()
    runs = ", ".join(f"{cell(name)} ({status})" for name, status in (answer.runs or {}).items())
    items = [
        (item.item_id, cell(item.input), cell(item.expected_output, 30), cell(item.metadata, 40))
        for item in answer.items
    ]
    blocks: tuple[Block, ...] = (
        f"Dataset {answer.dataset!r} in {answer.backend} has {answer.total_items} items{set_aside(answer.held_out)}.",
        *description,
        *metadata,
        *_metadata_keys(answer),
        *((f"Runs, newest first: {runs}.",) if runs else ()),
        *table(("item", "input", "expected", "metadata"), items, f"Items ({len(items)} of {answer.total_items})"),
        *more(answer.next_cursor),
        *warnings(answer.warnings),
        *((answer.notice,) if items else ()),
    )
    return Report(blocks, answer.next)


def _metadata_keys(answer: DatasetDetail) -> tuple[Block, ...]:
    rows = [
        (
            key.key,
            str(key.items),
            str(key.distinct),
            cell(", ".join(f"{value} ({count})" for value, count in key.values.items()), 120),
        )
        for key in answer.metadata_keys or ()
    ]
    return table(("key", "items", "different", "values (items)"), rows, "Metadata of the items")


def judge_list_report(answer: JudgeList) -> Report:
    """Report on a page of judges, or on one of them whole."""
    (only, *others) = answer.judges or (None,)
    if only is not None and not others and only.prompt is not None:
        return Report((*_whole_judge(only), *warnings(answer.warnings)), answer.next)
    rows = [
        (
            entry.judge,
            "" if entry.version is None else f"{entry.version} of {entry.versions}",
            cell(entry.score_name),
            f"{cell(entry.scale)} ({entry.scale_source})" if entry.scale else "",
            cell(entry.model) if entry.error is None else cell(f"unusable: {entry.error}", 120),
        )
        for entry in answer.judges
    ]
    columns = ("judge", "version", "score", "scale", "model")
    listed = table(columns, rows, f"{len(rows)} of {answer.total} judges in {answer.backend}")
    none = f"No judges in {answer.backend}."
    return Report((*(listed or (none,)), *more(answer.next_cursor), *warnings(answer.warnings)), answer.next)


def _whole_judge(judge: JudgeEntry) -> Iterator[Block]:
    labels = ", ".join(f"{label} {version}" for label, version in (judge.labels or {}).items())
    yield f"Judge {judge.judge!r}, version {judge.version} of {judge.versions}; labels: {labels}."
    if judge.error is not None:
        yield f"A run could not use it: {judge.error}"
    else:
        model = judge.model or "a model of the provider whose key is set"
        yield f"It gives score {judge.score_name!r} on {judge.scale} ({judge.scale_source}), asked of {model}."
    if judge.config:
        yield TextBlock("Config", json_text(judge.config))
    if isinstance(judge.prompt, list):
        for message in judge.prompt:
            if isinstance(message, dict):
                yield TextBlock(f"Message of the {one_line(str(message['role']))}", str(message["content"]))
    else:
        yield TextBlock("Prompt", str(judge.prompt))
