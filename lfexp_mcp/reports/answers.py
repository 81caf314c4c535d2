"""Which report belongs to which answer."""

from functools import singledispatch

from lfexp_mcp.answers.analysis import Analysis
from lfexp_mcp.answers.annotations import AnnotationComments
from lfexp_mcp.answers.base import Answer
from lfexp_mcp.answers.catalog import DatasetAnswer, DatasetDetail, DatasetList, JudgeAnswer, JudgeList, PromptAnswer
from lfexp_mcp.answers.clients import Diagnosis, ServerChecks, SetupAnswer
from lfexp_mcp.answers.comparison import Comparison, ConfirmAnswer, PairsAnswer
from lfexp_mcp.answers.labels import JudgeCheck, LabelsAnswer
from lfexp_mcp.answers.run import RunAnswer, RunDetail, RunList, RunProgress, SweepAnswer
from lfexp_mcp.reports.analysis import analysis_report
from lfexp_mcp.reports.annotations import comments_report, judge_check_report, labels_report
from lfexp_mcp.reports.catalog import dataset_detail_report, dataset_list_report, judge_list_report, set_aside
from lfexp_mcp.reports.comparison import comparison_report, confirmation_report, pairs_report
from lfexp_mcp.reports.layout import MarkedLine, Report, Table, TextBlock, plain, warnings
from lfexp_mcp.reports.runs import run_detail_report, run_list_report, run_progress_report, run_report, sweep_report

LEAST_TEXT = 6_000
"""Characters that the text of an answer may take in any case."""


@singledispatch
def report_of(answer: Answer) -> Report:
    """Report on an answer.

    Raises:
        TypeError: There is no report for this kind of answer.
    """
    raise TypeError(f"no report for {type(answer).__name__}")


def diagnosis_report(answer: Diagnosis) -> Report:
    """Report on a diagnosis: what was found, and what to do about it."""
    rows = [(check.name, check.status, check.found, check.advice or "") for check in answer.checks]
    verdict = "lfexp-mcp can work." if answer.healthy else "lfexp-mcp cannot work yet: see what is broken."
    return Report((Table(("check", "status", "found", "what to do"), rows), verdict))


def setup_report(answer: SetupAnswer) -> Report:
    """Report on a client's configuration, made or planned."""
    done = {
        "created": "created",
        "updated": f"updated; it was copied to {answer.backup}",
        "unchanged": "unchanged: it has this entry already",
        "planned": "to be written",
        "by_hand": "not written",
    }
    return Report(
        (
            f"{answer.file}: {done[answer.status]}.",
            *warnings([answer.problem] if answer.problem else []),
            *([TextBlock("The entry, with secrets left out", answer.snippet)] if answer.snippet else []),
            *(MarkedLine("Note", note) for note in answer.notes),
        )
    )


def server_checks_report(answer: ServerChecks) -> Report:
    """Report on starts of the server: one line per client, and what a failed one said."""
    rows = [
        (
            check.client,
            "ok" if check.healthy else "broken",
            f"{check.tools} tools in {check.seconds:.1f} s" if check.seconds is not None else "",
            check.command,
            check.problem or "",
        )
        for check in answer.checks
    ]
    said = [TextBlock(f"stderr of {check.client}", check.stderr) for check in answer.checks if check.stderr]
    return Report((Table(("client", "status", "found", "command", "problem"), rows), *said))


def dataset_report(answer: DatasetAnswer) -> Report:
    """Report on a dataset made or added to."""
    return Report(
        (
            (
                f"Dataset {answer.dataset!r} has {answer.total_items} items{set_aside(answer.held_out)}; "
                f"{answer.stored} stored by this call."
            ),
            f"Stored in {answer.backend}",
            *warnings(answer.warnings),
        ),
        answer.next,
    )


def prompt_report(answer: PromptAnswer) -> Report:
    """Report on a prompt made or given a new version."""
    labels = f", labels {', '.join(answer.labels)}" if answer.labels else ""
    return Report(
        (
            (
                f"Prompt {answer.prompt!r} is at version {answer.version}{labels}; "
                f"filled with {', '.join(answer.placeholders) or 'nothing'}."
            ),
            *warnings(answer.warnings),
        ),
        answer.next,
    )


def judge_report(answer: JudgeAnswer) -> Report:
    """Report on a judge made or given a new version."""
    labels = f", labels {', '.join(answer.labels)}" if answer.labels else ""
    return Report(
        (
            f"Judge {answer.judge!r} is at version {answer.version}{labels}; it gives score {answer.score_name!r}.",
            f"Scale {answer.scale} ({answer.scale_source}); filled with {', '.join(answer.placeholders) or 'nothing'}.",
            *warnings(answer.warnings),
        ),
        answer.next,
    )


report_of.register(RunProgress, run_progress_report)
report_of.register(RunAnswer, run_report)
report_of.register(SweepAnswer, sweep_report)
report_of.register(RunDetail, run_detail_report)
report_of.register(RunList, run_list_report)
report_of.register(Comparison, comparison_report)
report_of.register(PairsAnswer, pairs_report)
report_of.register(ConfirmAnswer, confirmation_report)
report_of.register(Analysis, analysis_report)
report_of.register(AnnotationComments, comments_report)
report_of.register(LabelsAnswer, labels_report)
report_of.register(JudgeCheck, judge_check_report)
report_of.register(DatasetAnswer, dataset_report)
report_of.register(JudgeAnswer, judge_report)
report_of.register(PromptAnswer, prompt_report)
report_of.register(DatasetList, dataset_list_report)
report_of.register(DatasetDetail, dataset_detail_report)
report_of.register(JudgeList, judge_list_report)
report_of.register(Diagnosis, diagnosis_report)
report_of.register(SetupAnswer, setup_report)
report_of.register(ServerChecks, server_checks_report)


def report_text(answer: Answer) -> str:
    """Report on an answer as plain text, which says the most of the structured content in fewer characters.

    An item shown whole is so in both.
    """
    report = report_of(answer)
    structured = len(answer.model_dump_json())
    has_passages = any(isinstance(block, TextBlock) for block in report.blocks)
    return plain(report, limit=max(LEAST_TEXT, structured if has_passages else structured // 3))
