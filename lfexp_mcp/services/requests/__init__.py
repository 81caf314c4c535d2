"""What the services are asked for: each argument with its description, default and bounds.

The tools' input schemas and the shell's flags derive from these models.
"""

from lfexp_mcp.services.requests.base import FilePath, Request, build, check_numbers, refusal
from lfexp_mcp.services.requests.collecting import CollectRequest, TraceFilter
from lfexp_mcp.services.requests.reading import (
    AnalyzeRequest,
    CancelRunRequest,
    CommentsRequest,
    CompareRequest,
    GetDatasetRequest,
    GetRunRequest,
    JudgeCheckRequest,
    LabelsRequest,
    ListDatasetsRequest,
    ListJudgesRequest,
    ListRunsRequest,
    ResultFilter,
    ResultKind,
    ResultOrder,
)
from lfexp_mcp.services.requests.runs import RunRequest, Variant, VariantRequest, live_dataset_name
from lfexp_mcp.services.requests.scoring import (
    ConfirmRequest,
    PairsRequest,
    ScoreRunRequest,
    ScoringLimits,
    ScoringRequest,
)

__all__ = [
    "AnalyzeRequest",
    "CancelRunRequest",
    "CollectRequest",
    "CommentsRequest",
    "CompareRequest",
    "ConfirmRequest",
    "FilePath",
    "GetDatasetRequest",
    "GetRunRequest",
    "JudgeCheckRequest",
    "LabelsRequest",
    "ListDatasetsRequest",
    "ListJudgesRequest",
    "ListRunsRequest",
    "PairsRequest",
    "Request",
    "ResultFilter",
    "ResultKind",
    "ResultOrder",
    "RunRequest",
    "ScoreRunRequest",
    "ScoringLimits",
    "ScoringRequest",
    "TraceFilter",
    "Variant",
    "VariantRequest",
    "build",
    "check_numbers",
    "live_dataset_name",
    "refusal",
]
