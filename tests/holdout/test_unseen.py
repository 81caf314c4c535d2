"""A client that tries every tool and argument to see a held-out item sees none."""

import base64
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from mcp.types import PromptReference, ResourceTemplateReference
from pydantic import BaseModel, JsonValue, SecretStr

from lfexp_mcp.answers.run import RunDetail
from lfexp_mcp.cli.app import run_command
from lfexp_mcp.services.cursors import write_cursor
from lfexp_mcp.services.workspace import open_workspace
from lfexp_mcp.settings import Settings
from lfexp_mcp.store.process import ensure_store, stop_store
from lfexp_mcp.tools.registry import TOOLS
from lfexp_mcp.tools.resources import TEMPLATES
from lfexp_mcp.tools.server import build_server
from lfexp_mcp.tools.workflows import WORKFLOWS
from tests.holdout.world import DATASET, HELD, MARK, OPEN, STAND_IN, World, build_world
from tests.tools.snapshots import listed_tools
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

READING = [definition.name for definition in TOOLS if definition.reads]
FORMATS = ("text", "markdown", "html", "junit", "result-json")
FIGURES = ("377713", "777777", "777,777", "771.7")
"""Values that only held-out items have."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("unseen")
    connection = ensure_store(folder / "store")
    yield Settings(
        langfuse_public_key=connection.public_key,
        langfuse_secret_key=SecretStr(connection.secret_key),
        langfuse_url=connection.base_url,
        home=folder / "home",
        visibility_delay=0.0,
    )
    stop_store(folder / "store")


@pytest.fixture(scope="module")
async def world(project: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("scripts")
    async with open_workspace(project) as ws, Client(build_server(project)) as client:
        yield await build_world(ws, project, client, folder)


def shows(said: str) -> list[str]:
    """Return what of held-out items is in a text, as it is or as a part of something in base64."""
    bits = 8 * len(MARK)
    encoded = [
        base64.b64encode(bytes(shift) + MARK.encode() + bytes(3))[-(-8 * shift // 6) : (8 * shift + bits) // 6].decode()
        for shift in range(3)
    ]
    return [each for each in encoded if each in said] + [each for each in (MARK, *FIGURES) if each in said.casefold()]


class _Argument(BaseModel):
    type: str | None = None
    enum: list[Any] = []


class _Schema(BaseModel):
    properties: dict[str, _Argument]
    required: list[str] = []


class Twin:
    """Puts what does not exist in the place of what is held out."""

    def __init__(self, world: World) -> None:
        self._pairs = {
            MARK: STAND_IN,
            **{trace: secrets.token_hex(len(trace) // 2) for trace in (*world.traces, *world.observations)},
        }

    def __call__(self, text: str) -> str:
        for held, unknown in self._pairs.items():
            text = text.replace(held, unknown)
        return text


def arguments_for(tool: str, world: World) -> st.SearchStrategy[dict[str, JsonValue]]:
    """Draw the arguments of a tool: of each the values by which something held out might be reached."""
    runs = ["old", "foreign", "foreign2", "new", MARK]
    ids = [
        *world.held_ids[:9],
        *world.open_ids[:2],
        *world.traces[:4],
        *world.traces[-4:],
        *world.observations[:1],
        MARK,
    ]
    pools: dict[str, list[Any]] = {
        "dataset": [DATASET],
        "run_name": runs,
        "runs": [["old", "foreign"], ["foreign", "old", "new"], ["foreign", "foreign2"]],
        "baseline": ["old", "foreign", MARK],
        "item_id": ids,
        "score_name": ["right", "human", "cost", f"{MARK}score", "summary", f"{MARK}whole"],
        "primary_score": ["right", "cost"],
        "below": [0.2, 0.377712, 0.377714, 0.5, "1/2", 100],
        "score_threshold": [0.3, 0.377714, 0.9, 2],
        "where": [f"lang={MARK}lang", f"{MARK}key={MARK}value", "lang=de", f"split={MARK}split", "split=train"],
        "trace_ids": [[world.traces[0]], [world.traces[-1]], world.open_traces[:3], [MARK]],
        "queue": ["review"],
        "themes": [{"held": [MARK]}, {"well": ["well"]}],
        "since": ["2026-01-01T00:00:00Z"],
        "until": ["2999-01-01T00:00:00Z"],
        "author": [MARK],
        "cursor": [write_cursor(1), write_cursor(OPEN), write_cursor(OPEN + HELD - 1), MARK],
        "limit": [1, 3, 25, 60, 100],
        "min_delta": [0.1],
        "fail_if": [["right < 0.5"], [f"{MARK}score < 1"]],
        "wait_seconds": [0],
        "judge": [MARK],
    }
    schema = _Schema.model_validate(listed_tools()[tool]["inputSchema"])
    fixed: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, argument in schema.properties.items():
        values = argument.enum or pools.get(name) or ([True, False] if argument.type == "boolean" else [])
        assert values, f"no values of {tool}.{name} are tried"
        (fixed if name in schema.required else optional)[name] = st.sampled_from(values)
    return st.fixed_dictionaries(fixed, optional=optional)


@pytest.mark.parametrize("tool", READING)
async def test_no_answer_of_a_reading_tool_shows_a_held_out_item(
    world: World, tool: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "lfexp_mcp")
    twin = Twin(world)
    examples: list[dict[str, JsonValue]] = []
    few = 3 if tool == "compare_runs" else 7

    @given(arguments=arguments_for(tool, world))
    @hypothesis_settings(max_examples=few, phases=[Phase.generate], database=None, deadline=None, derandomize=True)
    def draw(arguments: dict[str, JsonValue]) -> None:
        examples.append(arguments)

    draw()
    for arguments in examples:
        given_ = json.dumps(arguments, ensure_ascii=False)
        said = await world.call(tool, **arguments)
        asked = twin(given_)
        if asked == given_:
            assert not shows(said), (arguments, said)
        else:
            unknown = await world.call(tool, **json.loads(asked))
            assert twin(said) == unknown, (arguments, said)
            assert not shows(unknown), (arguments, unknown)
    printed = capfd.readouterr()
    assert not shows(printed.out + printed.err)
    assert not [record.getMessage() for record in caplog.records if shows(record.getMessage())]


async def test_no_resource_completion_or_prompt_shows_a_held_out_item(world: World) -> None:
    client, twin = world.caller.client, Twin(world)
    names = [DATASET, world.held_ids[0], f"{DATASET}%2Fitems%2F{world.held_ids[0]}"]
    paths = ["", *(f"/{name}" for name in names)]
    runs = ("old", "foreign", "new", *names[1:])
    paths += [f"/{name}/runs/{run}{page}" for name in names for run in runs for page in ("", "/analysis")]
    paths += [f"/{name}/comparison/old,{run}" for name in names for run in runs[1:]]
    for kind in ("datasets", "judges"):
        for path in paths:
            said = unknown = await _read(client, f"langfuse://{kind}{path}")
            if twin(path) != path:
                unknown = await _read(client, f"langfuse://{kind}{twin(path)}")
            assert twin(said) == unknown, path
            assert not shows(unknown), path
    references = [ResourceTemplateReference(uri=template.uri_template) for template in TEMPLATES]
    prompts = [PromptReference(name=workflow.name) for workflow in WORKFLOWS]
    places: list[ResourceTemplateReference | PromptReference] = [*references, *prompts]
    for reference in places:
        for argument in ("name", "run", "dataset", "baseline", "scored_by"):
            for typed in ("", MARK):
                completed = await client.complete(
                    reference, {"name": argument, "value": typed}, {"dataset": DATASET, "name": DATASET}
                )
                assert not shows(completed.model_dump_json())
    for workflow in WORKFLOWS:
        arguments = {argument.name: DATASET for argument in workflow.arguments}
        assert not shows((await client.get_prompt(workflow.name, arguments)).model_dump_json())
    listed = [await client.list_resources(), await client.list_resource_templates(), await client.list_tools()]
    assert not shows("".join(each.model_dump_json() for each in listed))


async def _read(client: Client, uri: str) -> str:
    try:
        return (await client.read_resource(uri)).model_dump_json()
    except MCPError as error:
        return str(error)


async def test_no_command_of_the_shell_shows_a_held_out_item(
    world: World, project: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.langfuse_public_key is not None
    assert project.langfuse_secret_key is not None
    variables = {
        "LFEXP_HOME": str(project.home),
        "LANGFUSE_HOST": project.langfuse_url,
        "LANGFUSE_PUBLIC_KEY": project.langfuse_public_key,
        "LANGFUSE_SECRET_KEY": project.langfuse_secret_key.get_secret_value(),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    on, twin = ("--dataset", DATASET), Twin(world)
    commands: list[tuple[str, ...]] = [
        ("list-runs", *on),
        *(("get-run", *on, "--run-name", run, "--limit", "100") for run in ("old", "foreign")),
        *(("get-run", *on, "--run-name", "old", "--item-id", each) for each in (world.held_ids[0], world.traces[0])),
        *(("compare", *on, "--runs", "old", "foreign", "new", "--output", each) for each in FORMATS),
        ("analyze", *on, "--run-name", "foreign", "--show-failures"),
        ("report", *on, "--runs", "foreign", "--output", "-"),
        ("comments", *on),
        ("comments",),
        ("dataset", "list"),
        ("dataset", "show", *on),
    ]
    for command in commands:
        for arguments in (command,) if command[0] == "report" else (command, (*command, "--json")):
            said = unknown = await _run(capfd, arguments)
            if (asked := [twin(each) for each in arguments]) != [*arguments]:
                unknown = await _run(capfd, asked)
                assert twin(said) == unknown, arguments
            assert not shows(unknown), arguments


async def _run(capfd: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """Run a command in a thread, since it has an event loop of its own."""
    capfd.readouterr()
    code = await anyio.to_thread.run_sync(run_command, list(arguments))
    printed = capfd.readouterr()
    assert "No such" not in printed.err
    return f"{code}\n{printed.out}\n{printed.err}"


@pytest.mark.parametrize("run_name", ["old", "foreign"])
async def test_figures_are_those_of_the_open_items(world: World, run_name: str) -> None:
    told = await world.answer("get_run", dataset=DATASET, run_name=run_name, limit=100)
    shown = told["items"]
    assert isinstance(shown, list)
    failed = 1 if run_name == "old" else 0
    assert (told["total_items"], told["succeeded"], told.get("failed", 0)) == (OPEN, OPEN - failed, failed)
    assert not {"run_scores", "cost_usd", "models", "log"} & told.keys()
    (right,) = [each for each in RunDetail.model_validate(told).scores if each.name == "right"]
    assert right.mean == pytest.approx(world.mean_right(run_name))


async def test_no_tool_that_acts_shows_copies_runs_or_scores_a_held_out_item(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    twin, on = Twin(world), {"dataset": DATASET}
    script: dict[str, JsonValue] = {**on, "task_script": world.task}
    held, before = world.held_ids[0], [await world.held_results(name) for name in ("old", "foreign")]
    asked: list[tuple[str, dict[str, JsonValue]]] = [
        ("run_experiment", {**script, "run_name": "a", "items": [held]}),
        ("run_experiment", {**script, "run_name": "a", "items": [world.open_ids[0], held]}),
        ("run_experiment", {**script, "run_name": "a", "items": f"lang={MARK}lang"}),
        ("run_experiment", {**script, "run_name": "a", "items": f"{MARK}key={MARK}value"}),
        ("create_dataset", {**on, "name": "copy", "from_run": "old", "only": [held]}),
        ("create_dataset", {**on, "name": "copy", "from_run": "foreign", "only": f"split={MARK}split"}),
        ("create_dataset", {"name": DATASET, "items": [{"id": held, "input": "easy"}]}),
        ("judge_pairs", {**on, "run_a": "old", "run_b": "foreign", "judge": f"judge-{MARK}"}),
        ("request_labels", {**on, "run_name": "old", "score_name": f"{MARK}score", "n": 5}),
        ("check_judge", {**on, "run_name": "old", "score_name": f"{MARK}score"}),
        ("create_dataset", {"name": "copy 4", "traces": {"has_comment": True}}),
        ("create_dataset", {"name": DATASET, "holdout": 0.1}),
        ("confirm_run", {**on, "run_name": "new", "baseline": "old", "score_name": "right"}),
        ("cancel_run", {**on, "run_name": MARK}),
    ]
    for tool, arguments in asked:
        said = await world.call(tool, **arguments)
        unknown = await world.call(tool, **json.loads(twin(json.dumps(arguments))))
        assert _comparable(twin(said)) == _comparable(unknown), (tool, arguments)
        assert not shows(unknown), (tool, arguments)
    dry: dict[str, JsonValue] = {**script, "dry_run": True, "wait_seconds": PATIENCE_S}
    score: dict[str, JsonValue] = {**on, "wait_seconds": PATIENCE_S}
    acting: list[tuple[str, dict[str, JsonValue]]] = [
        ("run_experiment", {**dry, "run_name": "a", "items": {"run": "old", "which": "failed"}}),
        ("run_experiment", {**dry, "run_name": "a", "items": {"run": "foreign", "score": "right", "below": 0.4}}),
        ("run_experiment", {**dry, "run_name": "a", "items": OPEN + 5}),
        ("run_experiment", {"run_name": "l", "task_script": world.task, "source_type": "live", "dry_run": True}),
        ("run_experiment", {**on, "run_name": "old", "resume": True, "wait_seconds": PATIENCE_S}),
        ("score_run", {**score, "run_name": "foreign", "evaluator_script": world.evaluators}),
        ("score_run", {**score, "run_name": "old", "evaluator_script": world.other_evaluators}),
        ("create_dataset", {**on, "name": "copy 1", "from_run": "old", "only": "failing"}),
        ("create_dataset", {**on, "name": "copy 2", "from_run": "foreign"}),
        ("create_dataset", {"name": "copy 3", "traces": {}}),
        ("request_labels", {**on, "run_name": "old", "score_name": "right", "n": OPEN + 5}),
        ("cancel_run", {**on, "run_name": "old"}),
    ]
    for tool, arguments in acting:
        said = await world.call(tool, **arguments)
        assert '"error": {' not in said, (tool, arguments, said)
        assert not shows(said), (tool, arguments, said)
    printed = capfd.readouterr()
    assert not shows(printed.out + printed.err)
    items = world.ws.gateway.datasets.items
    for name in ("copy 1", "copy 2", "copy 3"):
        copied = await items(name)
        assert copied, name
        assert not shows(repr(copied)), name
    held_out = {item.id: str(item.input) for item in await items(DATASET, held_out=True)}
    assert all(held_out[item_id].startswith(f"{MARK}in") for item_id in world.held_ids)
    assert [await world.held_results(name) for name in ("old", "foreign")] == before


def _comparable(said: str) -> str:
    """Leave out what a call that changes something cannot say twice."""
    return re.sub(r"\d+ held out|\"held_out\": \d+|\d+ items", "", said)
