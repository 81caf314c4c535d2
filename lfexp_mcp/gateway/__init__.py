"""The only way to Langfuse: typed reads, and writes that are acknowledged.

`connect` opens a `Gateway`; its parts (`datasets`, `dataset_items`, `prompts`, `experiments`, `scores`,
`observations`) are resources of Langfuse's API. They return types of `lfexp_mcp.model`, or types below for what only
Langfuse has.
"""

from lfexp_mcp.gateway.client import Gateway, connect, host_of
from lfexp_mcp.gateway.dataset_items import ItemFields
from lfexp_mcp.gateway.datasets import check_dataset_name, is_path_safe
from lfexp_mcp.gateway.experiments import ShownResult, confirmations_of
from lfexp_mcp.gateway.prompts import unknown_prompt
from lfexp_mcp.gateway.records import (
    EXPERIMENT_ENVIRONMENT,
    Comment,
    Dataset,
    Experiment,
    ModelPrice,
    Observation,
    Prompt,
    PromptInfo,
    Queue,
    QueueItem,
    ScoreConfig,
)
from lfexp_mcp.gateway.score_metadata import (
    CHECK_SCORE_NAME,
    METADATA_KEY,
    SCORING_SCORE_NAME,
    STATUS_SCORE_NAME,
    find_status_score,
    read_recorded_status,
    scoring_score_id,
    status_score,
    status_score_id,
    without_status_scores,
)
from lfexp_mcp.gateway.spooled_items import SpooledItems

__all__ = [
    "CHECK_SCORE_NAME",
    "EXPERIMENT_ENVIRONMENT",
    "METADATA_KEY",
    "SCORING_SCORE_NAME",
    "STATUS_SCORE_NAME",
    "Comment",
    "Dataset",
    "Experiment",
    "Gateway",
    "ItemFields",
    "ModelPrice",
    "Observation",
    "Prompt",
    "PromptInfo",
    "Queue",
    "QueueItem",
    "ScoreConfig",
    "ShownResult",
    "SpooledItems",
    "check_dataset_name",
    "confirmations_of",
    "connect",
    "find_status_score",
    "host_of",
    "is_path_safe",
    "read_recorded_status",
    "scoring_score_id",
    "status_score",
    "status_score_id",
    "unknown_prompt",
    "without_status_scores",
]
