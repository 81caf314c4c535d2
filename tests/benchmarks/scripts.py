"""Tasks and evaluators of the benchmarks, for our runner and for the SDK's alike; and whole runs of other runners."""

SLEEPING_TASK = """
import time

def task(*, item, **kwargs):
    time.sleep(0.05)
    return item.input
"""
THREE_SLEEPING_EVALUATORS = """
import time
from langfuse import Evaluation

def first(**kwargs):
    time.sleep(0.05)
    return Evaluation(name="first", value=1.0)

def second(**kwargs):
    time.sleep(0.05)
    return Evaluation(name="second", value=1.0)

def third(**kwargs):
    time.sleep(0.05)
    return Evaluation(name="third", value=1.0)

EVALUATORS = [first, second, third]
"""
EMPTY_TASK = """
def task(*, item, **kwargs):
    return item.input
"""
EMPTY_EVALUATOR = """
from langfuse import Evaluation

def nothing(**kwargs):
    return Evaluation(name="nothing", value=1.0)

EVALUATORS = [nothing]
"""
NESTED_TASK = """
import asyncio
from langfuse import get_client

async def task(*, item, **kwargs):
    for step in range(10):
        with get_client().start_as_current_observation(name="step", input=step):
            await asyncio.sleep(0.05)
    return item.input
"""
TWO_EVALUATORS = """
from langfuse import Evaluation

def first(**kwargs):
    return Evaluation(name="first", value=1.0)

def second(**kwargs):
    return Evaluation(name="second", value=1.0)

EVALUATORS = [first, second]
"""
COUNTING_TASK = """
def task(*, item, **kwargs):
    number = int(item.expected_output)
    return f"There are {number if number % 3 else 0} apples left in the basket."
"""
CHECK = """
from langfuse import Evaluation

def correct(*, output, expected_output, **kwargs):
    return Evaluation(name="correct", value=float(output.split()[2] == expected_output), comment="Compared.")

EVALUATORS = [correct]
"""
LANGSMITH_RUN = """
import json, os, resource, sys, uuid
from datetime import datetime, timezone

os.environ["LANGSMITH_TRACING"] = "false"
from langsmith import Client, evaluate
from langsmith.schemas import Example

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

def target(inputs):
    return {"output": inputs["input"]}

def nothing(outputs):
    return {"key": "nothing", "score": 1.0}

dataset, now = uuid.uuid4(), datetime.now(timezone.utc)
examples = [
    Example(id=uuid.uuid4(), dataset_id=dataset, inputs={"input": f"input {number}"}, created_at=now)
    for number in range(int(sys.argv[1]))
]
before = used()
client = Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False)
found = evaluate(
    target, data=examples, evaluators=[nothing], max_concurrency=20, upload_results=False, client=client
)
rows = list(found)
assert [row["evaluation_results"]["results"][0].score for row in rows] == [1.0] * len(examples)
sys.stdout.write("\\n" + json.dumps(used() - before))
"""
PYDANTIC_EVALS_RUN = """
import json, resource, sys
from dataclasses import dataclass
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Evaluator

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

@dataclass
class Nothing(Evaluator):
    def evaluate(self, ctx):
        return 1.0

def task(inputs):
    return inputs

cases = [Case(name=str(number), inputs=f"input {number}") for number in range(int(sys.argv[1]))]
dataset = Dataset(name="empty", cases=cases, evaluators=[Nothing()])
before = used()
report = dataset.evaluate_sync(task, max_concurrency=20, progress=False)
assert [case.scores["Nothing"].value for case in report.cases] == [1.0] * len(cases)
sys.stdout.write(json.dumps(used() - before))
"""
