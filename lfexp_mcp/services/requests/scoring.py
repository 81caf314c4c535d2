"""Requests that score runs: with judges and evaluators, in pairs, or on held-out items."""

from pydantic import Field, JsonValue, field_validator, model_validator

from lfexp_mcp.model import EvaluatorChoice, Limits
from lfexp_mcp.services.requests.base import DatasetName, FilePath, Request, RunName, ScriptPath


class ScoringLimits(Request):
    """How far the scoring of results may go."""

    max_concurrency: int = Field(default=5, ge=1, le=1000, description="Items run at once.")
    run_timeout: float | None = Field(default=None, gt=0, description="Seconds the whole run may take.")
    judge_samples: int = Field(
        default=1, ge=1, le=100, description="Votes per judge and item; the mean is stored, with the spread."
    )
    max_cost: float | None = Field(
        default=None, gt=0, description="USD; the run spends no more on prompts whose config has `max_tokens`."
    )

    def limits(self, **waits: float) -> Limits:
        """Return the limits of the run, with the waits that the settings define; see `Limits`."""
        asked = self.model_dump(include=Limits.model_fields.keys() & type(self).model_fields.keys())
        return Limits.model_validate(asked | waits)


class ScoringRequest(ScoringLimits):
    """What scores the results of a run, and how far that may go."""

    run_name: RunName
    use_langfuse_judges: bool = Field(
        default=False,
        description="Score with the judges in the dataset's metadata `judge_prompts`, else with every prompt named "
        "`judge-*`.",
    )
    judges: list[str] | None = Field(
        default=None, description="Judge prompts to score with: `judge-tone`, `judge-tone@production`, `judge-tone:3`."
    )
    evaluator_script: ScriptPath = None
    evaluators: list[str | dict[str, JsonValue]] | None = Field(
        default=None,
        description="Built-in evaluators: `exact_match`, `contains`, `regex:^[A-Z]`, `json_schema:{...}`, "
        "`json_fields`, `numeric:tolerance=0.01`, `edit_similarity`, `latency`, `cost:max_usd=0.01`, "
        "`tool_calls:any_order`; options also as object, "
        '`{"name": "numeric", "relative": 0.05, "score_name": "total"}`. A refusal names the options.',
    )
    python: FilePath | None = Field(
        default=None, description="Interpreter that runs the scripts, one that has their packages and lfexp-mcp."
    )

    @property
    def built_in_evaluators(self) -> tuple[EvaluatorChoice, ...]:
        """The built-in evaluators, checked; see `parse_evaluators`."""
        if not self.evaluators:
            return ()
        from lfexp_mcp.evaluators import parse_evaluators

        return parse_evaluators(self.evaluators)

    @property
    def names_judges(self) -> bool:
        """Whether the request says which judges score the run."""
        return bool(self.judges) or self.use_langfuse_judges


class ScoreRunRequest(ScoringRequest):
    """A run to score again, and what to score it with."""

    dataset: DatasetName
    batch: bool = Field(
        default=False,
        description="Ask the judges by their providers' batch endpoints: half the price, minutes to 24 hours.",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> "ScoreRunRequest":
        if not (self.names_judges or self.evaluators or self.evaluator_script):
            raise ValueError("pass judges, use_langfuse_judges, evaluators or evaluator_script to score the run with")
        if self.batch and not self.names_judges:
            raise ValueError("batch is about judges; pass judges or use_langfuse_judges")
        return self


class PairsRequest(ScoringLimits):
    """Two runs whose outputs a pairwise judge compares."""

    dataset: DatasetName
    run_a: str = Field(min_length=1, description="The run to compare with.")
    run_b: str = Field(min_length=1, description="The run whose items get the scores.")
    judge: str = Field(
        min_length=1,
        description="Judge prompt with `{{output_a}}` and `{{output_b}}` that asks for `A`, `B` or `tie`: "
        "`judge-pair:3`.",
    )

    @property
    def scoring(self) -> ScoreRunRequest:
        """What scores it."""
        limits = self.model_dump(include=set(ScoringLimits.model_fields))
        return ScoreRunRequest(dataset=self.dataset, run_name=self.run_b, judges=[self.judge], **limits)

    @model_validator(mode="after")
    def _names_two_runs(self) -> "PairsRequest":
        if self.run_a == self.run_b:
            raise ValueError("run_b: it is run_a; name two different runs")
        return self


class ConfirmRequest(Request):
    """A run to confirm on the held-out items, and the baseline that it is to beat there."""

    dataset: str = Field(description="Its name.")
    run_name: str = Field(description="Run to confirm.")
    baseline: str = Field(description="Run that it beat.")
    score_name: str | None = Field(default=None, description="By which it did.")
    min_delta: float | None = Field(default=None, description="Difference to show, 0-1; without it, only plan.")

    @property
    def cancelled_by(self) -> str:
        """The name by which cancel_run stops the runs of this confirmation."""
        return f"confirm-{self.run_name}"

    @field_validator("min_delta")
    @classmethod
    def _is_a_share(cls, given: float | None) -> float | None:
        if given is not None and not 0 < given <= 1:
            raise ValueError("it is a difference of means on 0-1, above 0")
        return given
