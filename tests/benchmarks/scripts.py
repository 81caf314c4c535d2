"""Tasks and evaluators of the benchmarks, for our runner and for the SDK's alike."""

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
