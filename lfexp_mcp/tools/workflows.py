"""MCP prompts: what a person asks an agent for, as the tools to call in order."""

from collections.abc import Mapping
from dataclasses import dataclass

from mcp import MCPError
from mcp.types import INVALID_PARAMS, GetPromptResult, Prompt, PromptArgument, PromptMessage, TextContent

MAX_VALUE_CHARS = 500
"""Longer arguments are cut."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow, offered as a prompt."""

    name: str
    title: str
    description: str
    arguments: tuple[PromptArgument, ...]
    text: str
    """With `{name}` in the place of an argument."""
    defaults: Mapping[str, str]
    """What stands there for an argument that is not given; the others are required."""

    def published(self) -> Prompt:
        """Return what `prompts/list` says of it."""
        return Prompt(name=self.name, title=self.title, description=self.description, arguments=list(self.arguments))

    def fill(self, given: Mapping[str, str]) -> str:
        """Return the text with the arguments in quotes, so that one cannot be read as a step.

        Raises:
            MCPError: An argument is missing or unknown.
        """
        from lfexp_mcp.reports.untrusted import json_text

        names = [argument.name for argument in self.arguments]
        values = {name: value for name, value in given.items() if value.strip()}
        missing = [name for name in names if name not in values and name not in self.defaults]
        unknown = [name for name in values if name not in names]
        if missing or unknown:
            wrong = f"needs {', '.join(missing)}" if missing else f"has no argument {unknown[0]!r}"
            raise MCPError(INVALID_PARAMS, f"Prompt {self.name} {wrong}; its arguments are {', '.join(names)}.")
        quoted = {name: json_text(value[:MAX_VALUE_CHARS]) for name, value in values.items()}
        return self.text.format_map({**self.defaults, **quoted})


def _argument(name: str, description: str, *, required: bool = True) -> PromptArgument:
    return PromptArgument(name=name, description=description, required=required)


_DATASET = _argument("dataset", "Dataset to run over.")
_SCORED_BY = _argument("scored_by", "Judge, or evaluator script.", required=False)
_CHOOSE = "a judge (list_judges, else create_judge) or an evaluator script that fits the items"
_WAIT = "While its status is `running`, call get_run with wait_seconds=45."
_CONCLUDE = (
    "Report the verdict with its interval, never two means alone; `inconclusive` is not `no difference`: say how many "
    "items it would take. Name what makes the runs unfair to compare, and how many items failed or are unscored."
)

WORKFLOWS = (
    Workflow(
        name="ab_test",
        title="A/B test",
        description="Find out which of two prompts or tasks is better.",
        arguments=(
            _DATASET,
            _argument("a", "The present one: a task script or a Langfuse prompt."),
            _argument("b", "The other one."),
            _SCORED_BY,
        ),
        text=f"""\
Find out on dataset {{dataset}} whether B, {{b}}, is better than A, {{a}}.
1. get_dataset: see what the items are. If there is no such dataset, create_dataset.
2. Score both alike, by {{scored_by}}.
3. run_experiment with A, then with B, each under a new run_name (task_script for a .py file, else task_prompt). {_WAIT}
4. compare_runs, A first. {_CONCLUDE}
5. For the items that B loses: get_run with their item_id, and say what they have in common.""",
        defaults={"scored_by": _CHOOSE},
    ),
    Workflow(
        name="regression_check",
        title="Regression check",
        description="Find out whether a change made anything worse than a run from before.",
        arguments=(
            _DATASET,
            _argument("baseline", "Run to compare with."),
            _argument("task", "Task script or Langfuse prompt as it is now; that of the baseline.", required=False),
        ),
        text=f"""\
Find out on dataset {{dataset}} whether {{task}} is worse now than in run {{baseline}}.
1. get_run of the baseline: it must be completed. Note which judges and evaluators scored it. If you do not know its \
task, ask me.
2. run_experiment with the task as it is now, under a new run_name, scored by the same. {_WAIT}
3. compare_runs, the baseline first, with fail_if=["worse", "error_rate.delta>0"]. {_CONCLUDE}
4. analyze_run with show_failures, and fetch_annotation_comments before you propose a change: explain each item that \
newly fails or got worse.""",
        defaults={"task": "the task of that run"},
    ),
    Workflow(
        name="compare_models",
        title="Model comparison",
        description="Compare models on one task by quality, speed and cost.",
        arguments=(
            _DATASET,
            _argument("models", "Models, separated by commas; or one task script for each."),
            _argument("prompt", "Langfuse prompt that they answer; not with task scripts.", required=False),
            _SCORED_BY,
        ),
        text=f"""\
Compare {{models}} on dataset {{dataset}} by quality, speed and cost.
1. get_dataset: see what the items are.
2. Score all alike, by {{scored_by}}. A judge should not be one of the models compared.
3. For each model, run_experiment with dry_run to see what it costs; tell me before you spend much. Then run it under \
a new run_name, all with the same max_concurrency: task_prompt={{prompt}} and model, or its task_script. {_WAIT}
4. compare_runs with all of them. {_CONCLUDE} Give latency, tokens and cost per model beside it.""",
        defaults={"scored_by": _CHOOSE, "prompt": "<the prompt>"},
    ),
    Workflow(
        name="improve_until",
        title="Improve until",
        description="Improve a task in rounds until its score reaches a goal.",
        arguments=(
            _DATASET,
            _argument("task", "Task script or Langfuse prompt to improve."),
            _argument("goal", "Such as `accuracy>=0.9`."),
            _argument("rounds", "Rounds at most; 5.", required=False),
            _SCORED_BY,
        ),
        text=f"""\
Improve {{task}} on dataset {{dataset}} until {{goal}}, in at most {{rounds}} rounds.
1. get_dataset, then run_experiment of the task as it is, scored by {{scored_by}}: the baseline. Of a large dataset, \
run the same part each time (items=100), and the whole at the end. {_WAIT}
2. fetch_annotation_comments and analyze_run with show_failures: find the cause that explains most failures. Is it the \
task, or the judge, or a wrong expected output? Do not mend the task for the latter two: tell me.
3. Change one thing: edit the script, or create_prompt for a new version. Do not write answers of the dataset into it.
4. run_experiment under a new run_name, then compare_runs with the best run so far. Keep the change only if it is \
`better`, or not `worse` and simpler; else undo it.
5. Repeat from 2 until the goal is reached or the rounds are over.
{_CONCLUDE} Many rounds on the same items find what fits these: confirm_run says of the last one what \
held-out items say, if the dataset has some; else try it on items not looked at.""",
        defaults={"scored_by": _CHOOSE, "rounds": "5"},
    ),
)
_BY_NAME = {workflow.name: workflow for workflow in WORKFLOWS}


def find_workflow(name: str) -> Workflow:
    """Return the workflow of a name.

    Raises:
        MCPError: There is none.
    """
    if name not in _BY_NAME:
        raise MCPError(INVALID_PARAMS, f"There is no prompt {name[:100]!r}; there are {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def workflow_messages(name: str, arguments: Mapping[str, str]) -> GetPromptResult:
    """Return a workflow with its arguments filled in.

    Raises:
        MCPError: There is no such workflow, or an argument is missing or unknown.
    """
    workflow = find_workflow(name)
    content = TextContent(type="text", text=workflow.fill(arguments))
    return GetPromptResult(description=workflow.description, messages=[PromptMessage(role="user", content=content)])
