"""A comparison for CI systems: JUnit report, annotations of GitHub, and the result of Langfuse's GitHub action."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal
from xml.etree import ElementTree as ET

from pydantic import JsonValue

from lfexp_mcp.answers.comparison import ChangeList, Comparison, RunMetrics
from lfexp_mcp.model import FileVersion, ItemResult, RunRecord, Score
from lfexp_mcp.reports.comment import conditions
from lfexp_mcp.reports.comparison import why
from lfexp_mcp.reports.untrusted import one_line

JsonObject = dict[str, JsonValue]


def junit(comparison: Comparison) -> str:
    """Write a comparison as JUnit XML.

    A condition of the gate is a test: a failure where it failed, an error where it cannot be decided. That a run is
    complete is another. A score compared passes and says its verdict and the items that changed, since only the gate
    decides. Names do not hold those of the runs, unless there are several, so that readers find a test again.
    """
    root = ET.Element("testsuites", name="lfexp-mcp")
    candidates = [run for run in comparison.runs if run.run != comparison.baseline]
    for run in candidates:
        _add_suite(root, comparison, run, run.run if len(candidates) > 1 else None)
    for element in (*root, root):
        cases = element.findall(".//testcase")
        counts = {"tests": len(cases), "skipped": 0}
        counts |= {f"{tag}s": len(element.findall(f".//{tag}")) for tag in ("failure", "error")}
        for name, count in counts.items():
            element.set(name, str(count))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False)


def _add_suite(root: ET.Element, comparison: Comparison, run: RunMetrics, qualifier: str | None) -> None:
    suffix = f" ({qualifier})" if qualifier else ""
    suite = ET.SubElement(root, "testsuite", name=_text(f"{comparison.dataset}{suffix}"))
    properties = ET.SubElement(suite, "properties")
    known = {"run": run.run, "baseline": comparison.baseline, "url": run.url}
    for name, value in (known | ({"replayed": "true"} if run.replayed else {})).items():
        if value is not None:
            ET.SubElement(properties, "property", name=name, value=_text(value))
    names: Counter[str] = Counter()

    def case(kind: str, name: str, said: str, outcome: str | None = None) -> None:
        names[name] += 1
        shown = _text(name if names[name] == 1 else f"{name} #{names[name]}")
        element = ET.SubElement(suite, "testcase", classname=_text(f"{comparison.dataset}.{kind}{suffix}"), name=shown)
        if outcome is None:
            ET.SubElement(element, "system-out").text = _text(said)
        else:
            ET.SubElement(element, "failure" if outcome == "failed" else "error", type=outcome, message=_text(said))

    case("run", "completed", *_completeness(run))
    for check in comparison.gate.checks if comparison.gate else []:
        if check.run == run.run:
            case("gate", check.expression, check.message, None if check.outcome == "passed" else check.outcome)
    for score in comparison.scores:
        if score.run == run.run:
            mine = (each for each in comparison.changes if (each.run, each.score) == (run.run, score.score))
            changed = map(_changed, mine)
            case("score", score.score, " ".join((f"{score.verdict}: {why(score)}", *changed)))


def _completeness(run: RunMetrics) -> tuple[str, str | None]:
    """Say whether a run is complete, and how it is reported if not."""
    said = f"{run.status}: {run.succeeded} of {run.items} items succeeded, {run.failed} failed, {run.pending} not run."
    return said, "incomplete" if run.status not in ("completed", "stopped") or not run.items else None


def _changed(changes: ChangeList) -> str:
    ids = ", ".join(item.item_id for item in changes.items)
    return f"{changes.kind.capitalize()}: {changes.total} items, such as {ids}." if ids else ""


def _text(text: str) -> str:
    # Jenkins and GitLab read `[[ATTACHMENT|path]]` in a report, and upload that file.
    return one_line(text).replace("[[", "[ [")


MAX_ANNOTATIONS = 10
"""Of one kind that GitHub shows of a step."""


def github_commands(comparison: Comparison) -> str:
    """Write the conditions that do not hold, and what makes a comparison unfair, as workflow commands of GitHub.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
    """
    checks = comparison.gate.checks if comparison.gate else []
    order = ("failed", "undecided")
    bad = sorted((each for each in checks if each.outcome in order), key=lambda each: order.index(each.outcome))
    errors = [_command("error", f"Gate: {each.expression}", f"{each.run}: {each.message}") for each in bad]
    if len(errors) > MAX_ANNOTATIONS:
        left = len(errors) - MAX_ANNOTATIONS + 1
        errors[MAX_ANNOTATIONS - 1 :] = [_command("error", "Gate", f"{conditions(left)} more not met.")]
    unfair = [issue.message for issue in comparison.comparability if issue.unfair]
    warned = [_command("warning", "Comparison", text) for text in unfair[:MAX_ANNOTATIONS]]
    passed = f"passed, {conditions(len(checks))}." if checks else "none was asked for."
    return "\n".join([*errors, *warned] if errors else [*warned, _command("notice", "Gate", passed)])


def _command(kind: Literal["error", "warning", "notice"], title: str, text: str) -> str:
    title, text = (one_line(each).replace("%", "%25") for each in (title, text))
    return f"::{kind} title={title.replace(':', '%3A').replace(',', '%2C')}::{text}"


def result_json(comparison: Comparison, records: Sequence[RunRecord]) -> JsonObject:
    """Write the runs of a comparison as the `result_json` (v1) of Langfuse's GitHub action, the baseline left out.

    Its schema: https://github.com/langfuse/experiment-action/blob/main/schemas/result-json.v1.schema.json

    Args:
        comparison: What was compared; its gate decides a run's status.
        records: The runs, whole.
    """
    figures = {run.run: run for run in comparison.runs}
    return {
        "schema_version": "v1",
        "action_metadata": {"dataset": comparison.dataset, "baseline": comparison.baseline, "tool": "lfexp-mcp"},
        "results": [
            _result(comparison, figures[record.run_name], record)
            for record in records
            if record.run_name != comparison.baseline
        ],
    }


def _result(comparison: Comparison, figures: RunMetrics, record: RunRecord) -> JsonObject:
    error = _error(comparison, record)
    return {
        "script_path": _task_script(record),
        "script_name": record.run_name,
        "runtime": "python",
        "duration_ms": _duration_ms(record),
        "status": "passed" if error is None else "regression" if error["is_regression"] else "error",
        "langfuse_experiment_url": figures.url,
        "error": error,
        "experiment_result": {
            "experiment_id": record.experiment_ids[0],
            "run_name": record.run_name,
            "item_results": [_item(item) for item in record.items if item.status != "pending"],
            "run_evaluations": [_evaluation(score) for score in record.run_scores],
        },
    }


def _error(comparison: Comparison, record: RunRecord) -> JsonObject | None:
    if record.status != "completed" and (record.status != "stopped" or comparison.gate is None):
        return {"name": "RunNotCompleted", "message": f"The run is {record.status}.", "is_regression": False}
    failed = [
        check
        for check in (comparison.gate.checks if comparison.gate else [])
        if check.run == record.run_name and check.outcome != "passed"
    ]
    if not failed:
        return None
    return {
        "name": "GateFailed",
        "message": " ".join(check.message for check in failed),
        "is_regression": any(check.outcome == "failed" for check in failed),
    }


def _item(item: ItemResult) -> JsonObject:
    shown: JsonObject = {
        "item": {"id": item.item_id, "metadata": item.metadata},
        "input": item.input,
        "expected_output": item.expected_output,
        "output": item.output,
        "evaluations": [_evaluation(score) for score in item.scores],
    }
    return shown | ({"trace_id": item.trace_id} if item.trace_id else {})


def _evaluation(score: Score) -> JsonObject:
    shown: JsonObject = {"name": score.name, "value": score.value, "data_type": score.data_type}
    return (
        shown
        | ({"comment": score.comment} if score.comment else {})
        | ({"config_id": score.config_id} if score.config_id else {})
    )


def _task_script(record: RunRecord) -> str:
    task = record.provenance.task if record.provenance else None
    return task.file if isinstance(task, FileVersion) else ""


def _duration_ms(record: RunRecord) -> float:
    """From the first start of a task to its last end, in milliseconds; 0 where no times are known."""
    times = [
        (item.started.timestamp(), item.started.timestamp() + item.seconds)
        for item in record.items
        if item.started and item.seconds is not None
    ]
    starts, ends = zip(*times, strict=True) if times else ((), ())
    return round((max(ends) - min(starts)) * 1000) if starts else 0
