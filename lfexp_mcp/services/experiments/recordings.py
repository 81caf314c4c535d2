"""Recording the calls that a run makes to models, and running without models, answered from a recording."""

from dataclasses import replace

from pydantic import Field, model_validator

from lfexp_mcp.errors import JudgeError, UsageError
from lfexp_mcp.files import locate
from lfexp_mcp.model import RecordingUse, RunRecord, RunSpec
from lfexp_mcp.runs.recording import Recording
from lfexp_mcp.services.requests import FilePath, RunRequest
from lfexp_mcp.services.workspace import Workspace
from lfexp_mcp.settings import replay_settings


class RecordedRunRequest(RunRequest):
    """A run whose calls to models are recorded, or answered from a recording."""

    record: FilePath | None = Field(
        default=None,
        description="New file for the calls that task and judges make to OpenAI and Anthropic, to replay them.",
    )
    replay: FilePath | None = Field(
        default=None, description="Recording that answers these calls instead of the models; others fail."
    )

    @model_validator(mode="after")
    def _records_or_replays_a_run(self) -> "RecordedRunRequest":
        if self.record is None and self.replay is None:
            return self
        if self.record is not None and self.replay is not None:
            raise ValueError("pass record or replay, not both")
        if self.engine == "ray":
            raise ValueError("record and replay are of calls that this machine makes: leave out engine")
        if self.variants is not None or self.dry_run or self.stop_when is not None:
            raise ValueError("record and replay are about one whole run: leave out variants, dry_run and stop_when")
        return self

    @property
    def use(self) -> RecordingUse | None:
        """What the run is to do with a recording.

        Raises:
            UsageError: There is no such recording.
        """
        if self.replay is not None:
            path = locate(self.replay, "recording")
            return RecordingUse("replay", path, Recording(path).sha256)
        return RecordingUse("record", locate(self.record, "recording")) if self.record is not None else None


def is_replay(request: RunRequest) -> bool:
    """Whether a request asks for a replay."""
    return isinstance(request, RecordedRunRequest) and request.replay is not None


def recording_of(
    request: RunRequest, before: RunSpec | None = None, record: RunRecord | None = None
) -> RecordingUse | None:
    """Return what a run does with a recording: what is asked for, or what a resumed run did from its beginning.

    Args:
        before: The run to resume.
        record: What Langfuse has of it, if another machine began it.

    Raises:
        UsageError: The recording cannot be used, or not for the rest of this run.
    """
    use = request.use if isinstance(request, RecordedRunRequest) else None
    if before is None and record is None:
        if use is not None and use.mode == "record" and use.file.exists():
            raise UsageError(f"{use.file} is there already. Record into a new file, or delete it.")
        return use
    begun = before.recording if before is not None else None
    if record is not None:
        is_same = use is not None and record.replayed is not None and use.sha256 == record.replayed.sha256
        if is_same or (use is None and not record.is_replayed):
            return use
    elif use is None or use == begun:
        if begun is not None and not begun.file.exists():
            raise UsageError(f"The recording {begun.file} of run {request.run_name!r} is gone. Use another run name.")
        return begun
    raise UsageError(
        f"Run {request.run_name!r} was begun with {_named(begun, record)}, and a resume keeps that: no run is measured "
        "in one part and replayed in another. Use another run name.",
        next=[request.step("Go on as it was begun.", record=None, replay=None)] if record is None else [],
    )


def _named(begun: RecordingUse | None, record: RunRecord | None) -> str:
    if record is not None and record.replayed is not None:
        return f"replay of {record.replayed.file!r}"
    return f"{begun.mode} of {begun.file.name!r}" if begun is not None else "neither record nor replay"


def with_models_of(ws: Workspace, use: RecordingUse | None) -> Workspace:
    """Return the workspace in which the models of a run are chosen: for a replay, as when it was recorded."""
    if use is None or use.mode == "record":
        return ws
    head = Recording(use.file).head
    return replace(ws, settings=replay_settings(ws.settings, head.providers, head.judge_provider, head.judge_model))


def with_recording(run_spec: RunSpec, use: RecordingUse | None) -> RunSpec:
    """Add what a run does with a recording.

    Raises:
        JudgeError: A judge is asked something else each time.
    """
    if use is None:
        return run_spec
    for judge in run_spec.judges:
        if "trace" in judge.placeholders:
            raise JudgeError(
                f"Judge {judge.name!r} is shown the trace, whose times differ in each run, so its calls cannot be "
                "recorded for a replay. Leave it out; score_run asks it about a recorded run."
            )
    warnings = run_spec.warnings
    if use.mode == "replay" and not (recording := Recording(use.file)).is_whole:
        run = recording.head.run_name
        warnings = (*warnings, f"The recorded run {run!r} did not come to its end: calls may be missing.")
    return run_spec.model_copy(update={"recording": use, "warnings": tuple(dict.fromkeys(warnings))})
