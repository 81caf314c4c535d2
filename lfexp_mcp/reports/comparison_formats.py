"""A comparison for CI systems: as a JUnit report, and as the result of Langfuse's GitHub action."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from pydantic import JsonValue

from lfexp_mcp.answers.comparison import Comparison, GateCheck, RunMetrics, ScoreComparison
from lfexp_mcp.model import ItemResult, RunRecord, Score, ScriptFile
from lfexp_mcp.reports.comparison import why
from lfexp_mcp.reports.untrusted import one_line

JsonObject = dict[str, JsonValue]


def junit(comparison: Comparison) -> str:
    """Write a comparison as JUnit XML.

    A condition of the gate is a test that passes or fails, and says what it found; a score compared is one that passes
    and says its verdict, since only the gate decides.
    """
    suites = ET.Element("testsuites", name="lfexp-mcp")
    for run in comparison.runs:
        if run.run == comparison.baseline:
            continue
        checks = [check for check in (comparison.gate.checks if comparison.gate else []) if check.run == run.run]
        scores = [score for score in comparison.scores if score.run == run.run]
        failures = sum(check.outcome != "passed" for check in checks)
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=one_line(f"{comparison.dataset}: {run.run}"),
            tests=str(len(checks) + len(scores)),
            failures=str(failures),
        )
        for check in checks:
            _add_check(suite, check)
        for score in scores:
            _add_score(suite, score)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False)


def _add_check(suite: ET.Element, check: GateCheck) -> None:
    case = ET.SubElement(suite, "testcase", classname="gate", name=one_line(check.expression))
    if check.outcome != "passed":
        ET.SubElement(case, "failure", type=check.outcome, message=one_line(check.message))
    else:
        ET.SubElement(case, "system-out").text = one_line(check.message)


def _add_score(suite: ET.Element, score: ScoreComparison) -> None:
    case = ET.SubElement(suite, "testcase", classname="score", name=one_line(score.score))
    ET.SubElement(case, "system-out").text = one_line(f"{score.verdict}: {why(score)}")


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
    return task.file if isinstance(task, ScriptFile) else ""


def _duration_ms(record: RunRecord) -> float:
    """From the first start of a task to its last end, in milliseconds; 0 where no times are known."""
    starts = [item.started.timestamp() for item in record.items if item.started]
    ends = [item.started.timestamp() + (item.seconds or 0) for item in record.items if item.started]
    return round((max(ends) - min(starts)) * 1000) if starts else 0
