"""The shell's commands, and how errors are printed and become exit codes."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from lfexp_mcp.cli import clients, definitions, experiments, serving
from lfexp_mcp.cli.flags import repeat_list_flags
from lfexp_mcp.cli.next_steps import next_lines
from lfexp_mcp.cli.output import print_note, write_note
from lfexp_mcp.errors import LfexpError
from lfexp_mcp.model import NextStep

DONE = 0
WRONG = 2
READER_GONE = 141
"""As shells say of a program that SIGPIPE ended."""

app = typer.Typer(
    name="lfexp-mcp",
    help="Run experiments on Langfuse, and trust the answer. Without a command it serves MCP over stdio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(experiments.run)
app.command("score-run")(experiments.score_run)
app.command("judge-pairs")(experiments.judge_pairs)
app.command("confirm")(experiments.confirm)
app.command("list-runs")(experiments.list_runs)
app.command("get-run")(experiments.get_run)
app.command("compare")(experiments.compare)
app.command("analyze")(experiments.analyze)
app.command("report")(experiments.report)
app.command("comments")(experiments.comments)
app.command("request-labels")(experiments.request_labels)
app.command("check-judge")(experiments.check_judge)
app.command("cancel")(experiments.cancel)

dataset_app = typer.Typer(help="Create, list and show datasets.", no_args_is_help=True)
dataset_app.command("create")(definitions.create_dataset)
dataset_app.command("add-items")(definitions.add_items)
dataset_app.command("list")(definitions.list_datasets)
dataset_app.command("show")(definitions.get_dataset)
app.add_typer(dataset_app, name="dataset")

judge_app = typer.Typer(help="Create, list and show judges.", no_args_is_help=True)
judge_app.command("create")(definitions.create_judge)
judge_app.command("list")(definitions.list_judges)
app.add_typer(judge_app, name="judge")

prompt_app = typer.Typer(help="Create prompts that are tasks.", no_args_is_help=True)
prompt_app.command("create")(definitions.create_prompt)
app.add_typer(prompt_app, name="prompt")

app.command("demo")(serving.demo)
app.command("doctor")(serving.doctor)
app.command("setup")(clients.setup)
app.command("serve")(serving.serve)
app.command("store")(serving.store)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line after `lfexp-mcp`.

    Returns:
        0 done, 1 a gate failed or the run did not complete, 2 wrong usage or an error, 130 interrupted, 141 the reader
        of the output has gone.
    """
    _write_utf8()
    try:
        code = app(repeat_list_flags(arguments), prog_name="lfexp-mcp", standalone_mode=False)
    except typer.TyperException as error:
        # A group called without a command has already printed its help.
        return _complain(f"{error.format_message()} See `lfexp-mcp --help`.") if error.format_message() else WRONG
    except LfexpError as error:
        return _complain(str(error), error.next)
    except (BrokenPipeError, SystemExit) as ended:
        # Typer makes of a broken pipe an exit with 1, which would say that a gate has failed.
        if isinstance(ended, SystemExit) and not isinstance(ended.__context__, BrokenPipeError):
            raise
        # The reader of our output has gone, as in `| head`. Not 0, since a gate may not have been told.
        sys.stdout = None
        return READER_GONE
    except Exception as error:  # noqa: BLE001
        return _complain(f"A bug in lfexp-mcp, please report it: {type(error).__name__}: {error}")
    return code if isinstance(code, int) else DONE


def _complain(message: str, steps: Sequence[NextStep] = ()) -> int:
    print_note(f"Error: {message}")
    for line in next_lines(steps):
        write_note(line)
    return WRONG


def _write_utf8() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
