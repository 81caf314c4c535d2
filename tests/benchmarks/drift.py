"""What a check of a judge promises: its own shift is told from the application's, with forty anchors."""

import random
import re
from collections.abc import AsyncIterator, Sequence

from pydantic import SecretStr

from lfexp_mcp.answers.labels import JudgeCheck
from lfexp_mcp.model import JudgeMaker
from lfexp_mcp.services.definitions.judges import create_judge
from lfexp_mcp.services.labels.check_judge import check_judge
from lfexp_mcp.services.labels.request_labels import request_labels
from lfexp_mcp.services.requests import JudgeCheckRequest, LabelsRequest
from lfexp_mcp.services.workspace import Workspace, open_workspace
from tests.benchmarks.runners import Bench
from tests.benchmarks.table import Row
from tests.providers.server import Call, ProviderServer, Reply, serve
from tests.services.humans import Humans
from tests.services.labels.people import TONE, Annotators
from tests.services.recording import Recorded, make_dataset, record_run
from tests.waiting import PATIENCE_S

RUNS = 5
CHECKS = 6
"""Of each run, with verdicts drawn anew."""
ITEMS = 100
ANCHORS = 40
NOISE = 0.03
"""Standard deviation of a judge's verdicts on one output."""
GAIN = 0.1
"""Of the application."""
NEAR = 0.02
_SHOWN = re.compile(r"<data-\w+>output (\d+)</data-\w+>")


async def drift(bench: Bench) -> AsyncIterator[Row]:
    """Of checks over real HTTP, how far the shift of the judge is off, where it moved and where it did not."""
    with serve("openai") as server:
        keys = {"openai_api_key": SecretStr("sk-loopback"), "openai_base_url": server.base_url}
        async with open_workspace(bench.ws.settings.model_copy(update=keys)) as ws:
            humans = Humans(ws.settings)
            for shift in (0.05, 0.0):
                checks = [
                    check
                    for number in range(RUNS)
                    for check in await _checks(ws, humans, server, f"drift-{shift}-{number}", shift, number)
                ]
                judge = [check.shift.value - shift for check in checks if check.shift is not None]
                application = [
                    check.application_shift.value - GAIN for check in checks if check.application_shift is not None
                ]
                for what, off in (("judge", judge), ("application", application)):
                    near = sum(abs(each) <= NEAR for each in off) / len(checks)
                    yield Row(
                        f"shift of the {what}, where the judge moved by {shift} and the application by {GAIN}",
                        f"{near:.2f} within {NEAR} of {len(checks)}",
                        f"mean off by {sum(off) / len(off):+.4f}",
                        "",
                        ">= 0.95",
                        near >= 0.95,
                    )
            humans.close()


async def _checks(
    ws: Workspace, humans: Humans, server: ProviderServer, name: str, shift: float, seed: int
) -> list[JudgeCheck]:
    """Record two runs and check the judge some times by labels of the first."""
    drawn = random.Random(seed)
    quality = [drawn.uniform(0.2, 0.8) for _ in range(ITEMS)]
    config = {"model": "gpt-test", "score_name": "tone"}
    makers = []
    for version, words in enumerate(("", " Be kind.") if shift else ("",), start=1):
        await create_judge(ws, f"judge-{name}", f"Rate {{{{output}}}} from 0 to 10.{words}", config={**config})
        makers.append(JudgeMaker(f"judge-{name}", version, "openai", "gpt-test", TONE.scale, "prompt text"))
    dataset = await make_dataset(ws, name)

    def results(mean: float) -> Sequence[Recorded]:
        return [
            Recorded(f"i{n:03}", output=f"output {n}", scores={"tone": each + mean + drawn.gauss(0, NOISE)})
            for n, each in enumerate(quality)
        ]

    run = await record_run(ws, dataset, "old", results(0.0), makers={"tone": makers[0]})
    await record_run(ws, dataset, "new", results(shift + GAIN), makers={"tone": makers[-1]})
    request = LabelsRequest(dataset=name, run_name="old", score_name="tone", n=ANCHORS)
    asked = await request_labels(ws, request)
    await Annotators(ws, humans, run, asked.queue).label(lambda item: 10 * quality[int(item[1:])])

    def respond(call: Call) -> Reply:
        [number] = _SHOWN.findall(call.text)
        value = 10 * (quality[int(number)] + shift + drawn.gauss(0, NOISE))
        return Reply(f'{{"reasoning": "So.", "score": {min(max(value, 0.0), 10.0)}}}')

    server.respond = respond
    check = JudgeCheckRequest(dataset=name, run_name="new", score_name="tone", baseline="old")
    return [await check_judge(ws, check, wait_seconds=PATIENCE_S) for _ in range(CHECKS)]
