"""A comparison as a JUnit report, which CI systems show as tests."""

from xml.etree import ElementTree as ET

from lfexp_mcp.answers.comparison import Comparison, GateCheck, ScoreComparison
from lfexp_mcp.reports.comparison import why
from lfexp_mcp.reports.foreign import one_line


def junit(comparison: Comparison) -> str:
    """Write a comparison as JUnit XML.

    A condition of the gate is a test that passes or fails, and says what it found; a score compared is one that passes
    and says its verdict, since only the gate decides.
    """
    suites = ET.Element("testsuites", name="lfexp-mcp")
    for run in comparison.runs:
        if run.baseline:
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
