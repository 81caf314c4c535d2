"""Tools that hold judges against people."""

from lfexp_mcp.answers.labels import JudgeCheck, LabelsAnswer
from lfexp_mcp.services.requests import JudgeCheckRequest, LabelsRequest
from lfexp_mcp.tools.experiments import progress_reporter
from lfexp_mcp.tools.questions import agreed
from lfexp_mcp.tools.state import ToolContext, workspace_of


async def request_labels(ctx: ToolContext, request: LabelsRequest) -> LabelsAnswer:
    """Draw results at random into an annotation queue, for people to label; call it again for progress.

    Such labels let analyze_run and compare_runs correct the judge's mean.
    """
    from lfexp_mcp.services.labels.request_labels import request_labels

    return await request_labels(await workspace_of(ctx), request)


async def check_judge(ctx: ToolContext, request: JudgeCheckRequest) -> JudgeCheck:
    """Ask a judge again about results that people labelled: has it moved, or (with baseline) the application?

    If `running`, call it again.
    """
    from lfexp_mcp.services.labels.check_judge import check_judge

    return await check_judge(await workspace_of(ctx), request, on_progress=progress_reporter(ctx), agreed=agreed())
