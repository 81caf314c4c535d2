import asyncio
import inspect
import sys

import pytest
from pydantic import JsonValue

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.model import Evaluation
from lfexp_mcp.scripts import ScriptEvaluator, ScriptItem, ScriptItemResult, load_evaluators, read_evaluations
from tests.scripts.conftest import WriteScript

SPECIFICATION = '''
from langfuse import Evaluation

def exact_match(*, output, expected_output, **kwargs) -> Evaluation:
    """Check if output exactly matches expected."""
    match = output.strip() == expected_output.strip() if expected_output else False
    return Evaluation(
        name="exact_match",
        value=1.0 if match else 0.0,
        comment="Exact match" if match else "No match"
    )

def contains_expected(*, output, expected_output, **kwargs) -> Evaluation:
    """Check if expected output is contained in response."""
    if not expected_output:
        return Evaluation(name="contains", value=0.0, comment="No expected output")

    contained = expected_output.lower() in output.lower()
    return Evaluation(
        name="contains",
        value=1.0 if contained else 0.0
    )

def response_length(*, output, **kwargs) -> Evaluation:
    """Measure response length (normalized)."""
    length = len(output)
    # Normalize: 0-100 chars = 0.0, 100-500 = 0.5, 500+ = 1.0
    if length < 100:
        score = length / 100 * 0.5
    elif length < 500:
        score = 0.5 + (length - 100) / 400 * 0.5
    else:
        score = 1.0

    return Evaluation(name="length", value=score, comment=f"{length} chars")

# Export evaluators to use
EVALUATORS = [exact_match, contains_expected, response_length]
'''


def apply(evaluator: ScriptEvaluator, output: str = "Paris", expected: JsonValue = "paris") -> list[Evaluation]:
    item = ScriptItem("item-1", "capital?", expected, {"level": 1})
    result = evaluator.call(
        input=item.input, output=output, expected_output=expected, metadata=item.metadata, item=item
    )
    return read_evaluations(evaluator.name, asyncio.run(result) if inspect.iscoroutine(result) else result)


def test_the_specifications_evaluators_run_as_printed(write_script: WriteScript) -> None:
    evaluators = load_evaluators(write_script(SPECIFICATION)).evaluators
    assert [evaluator.name for evaluator in evaluators] == ["exact_match", "contains_expected", "response_length"]
    assert [score for evaluator in evaluators for score in apply(evaluator)] == [
        Evaluation("exact_match", 0.0, "NUMERIC", "No match"),
        Evaluation("contains", 1.0, "NUMERIC"),
        Evaluation("length", 0.025, "NUMERIC", "5 chars"),
    ]


def test_without_a_list_the_modules_own_public_functions_are_the_evaluators(write_script: WriteScript) -> None:
    found = load_evaluators(
        write_script(
            """
            from textwrap import shorten
            from dataclasses import dataclass

            @dataclass
            class Rule:
                limit: int

            def task(*, item, **kwargs):
                return item.input

            def second(*, output, **kwargs):
                return 1.0

            def first(output, expected_output):
                return _private(output)

            def clean(text):
                return text.strip()

            def _private(output):
                return 0.5

            also_second = second
            """
        )
    )
    assert [evaluator.name for evaluator in found.evaluators] == ["second", "first"]
    assert found.warnings == ("`clean` is not used as an evaluator, since it needs text.",)


def test_an_evaluator_gets_only_what_it_takes(write_script: WriteScript) -> None:
    path = write_script(
        """
        def named(output, item): return {"comment": f"{output} {item.id}", "value": 1}
        def everything(**kwargs): return {"comment": " ".join(sorted(kwargs)), "value": 1}
        def foreign(output, expected=None, **kwargs): return {"comment": f"{expected} {sorted(kwargs)}", "value": 1}
        EVALUATORS = [named, everything, foreign]
        """
    )
    comments = [apply(evaluator)[0].comment for evaluator in load_evaluators(path).evaluators]
    assert comments == ["Paris item-1", "expected_output input metadata output", "paris ['input', 'metadata']"]


def test_an_async_evaluator_gives_a_coroutine(write_script: WriteScript) -> None:
    path = write_script("async def good(*, output, **kwargs): return True\nEVALUATORS = [good]")
    (evaluator,) = load_evaluators(path).evaluators
    assert evaluator.is_async
    assert apply(evaluator) == [Evaluation("good", True, "BOOLEAN")]


def test_every_evaluator_has_a_name_of_its_own(write_script: WriteScript) -> None:
    path = write_script(
        """
        import functools
        class Judge:
            def __call__(self, *, output, **kwargs): return 1.0
        def length(limit, *, output, **kwargs): return 1.0
        EVALUATORS = [
            lambda output: 1, lambda output: 0,
            functools.partial(length, 3), functools.partial(length, 4), Judge(), Judge,
        ]
        """
    )
    names = [evaluator.name for evaluator in load_evaluators(path).evaluators]
    assert names == ["lambda_1", "lambda_2", "length", "length_2", "Judge", "Judge_2"]


def test_autoevals_evaluators_work(write_script: WriteScript) -> None:
    path = write_script(
        """
        from autoevals import ExactMatch, Levenshtein, NumericDiff
        EVALUATORS = [Levenshtein(), ExactMatch, NumericDiff]
        """
    )
    levenshtein, exact, numeric = load_evaluators(path).evaluators
    assert apply(levenshtein, "Paris", "Pariz") == [Evaluation("Levenshtein", 0.8, "NUMERIC")]
    assert apply(exact, "Paris", "Pariz") == [Evaluation("ExactMatch", 0.0, "NUMERIC")]
    assert numeric.call(input=1, output=2, expected_output=2, metadata={}, item=ScriptItem("i", 1)) is not None


def test_loading_scripts_does_not_import_autoevals(write_script: WriteScript) -> None:
    before = "autoevals" in sys.modules
    load_evaluators(write_script("def good(*, output, **kwargs): return 1\nEVALUATORS = [good]"))
    assert ("autoevals" in sys.modules) == before


def test_run_evaluators_score_the_whole_run(write_script: WriteScript) -> None:
    path = write_script(
        """
        from langfuse import Evaluation

        def average(*, item_results, **kwargs):
            values = [e.value for result in item_results for e in result.evaluations if e.name == "match"]
            return Evaluation(name="average", value=sum(values) / len(values), comment=item_results[0].item.input)

        RUN_EVALUATORS = [average]
        """
    )
    found = load_evaluators(path)
    assert found.evaluators == ()
    (average,) = found.run_evaluators
    results = [
        ScriptItemResult(ScriptItem(str(value), "q"), "out", [Evaluation("match", value, "NUMERIC")], f"trace-{value}")
        for value in (0.0, 1.0)
    ]
    assert read_evaluations(average.name, average.call(results)) == [Evaluation("average", 0.5, "NUMERIC", "q")]


def test_a_task_script_can_hold_its_evaluators_and_is_loaded_once(write_script: WriteScript) -> None:
    path = write_script(
        """
        LOADED = []
        LOADED.append(1)
        def task(*, item, **kwargs): return item.input
        def loads(*, output, **kwargs): return len(LOADED)
        """
    )
    load_evaluators(path)
    (evaluator,) = load_evaluators(path).evaluators
    assert apply(evaluator)[0].value == 1.0


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("", "holds no evaluator"),
        ("EVALUATORS = []", "holds no evaluator"),
        ("def clean(text): ...", "`clean` is not used as an evaluator, since it needs text."),
        ("def hello(): ...", "since it takes no output"),
        ("EVALUATORS = 'exact'", "has to be a list of functions, not a str"),
        ("EVALUATORS = ['exact']", "EVALUATORS[0]"),
        ("class Judge:\n    def __init__(self, model): ...\nEVALUATORS = [Judge]", "put an instance of it in the list"),
        ("EVALUATORS = [lambda o, e: 1]", "needs o, e, but evaluators are given input, output"),
        ("def positional(output, /): ...", "since it needs output by position"),
        ("EVALUATORS = [lambda output, /, **kwargs: 1]", "needs output by position, but evaluators are given input"),
        ("RUN_EVALUATORS = [lambda results: 1]", "needs results, but evaluators are given item_results"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_script_without_usable_evaluators_is_refused(write_script: WriteScript, source: str, part: str) -> None:
    with pytest.raises(ScriptError) as caught:
        load_evaluators(write_script(source))
    assert part in str(caught.value)


@pytest.mark.parametrize("failure", ["raise RuntimeError('no key set')", "raise SystemExit('no key set')"])
def test_a_class_of_which_no_object_can_be_made_is_refused_with_its_traceback(
    write_script: WriteScript, failure: str
) -> None:
    script = write_script(f"""
        class Grader:
            def __init__(self):
                {failure}
            def __call__(self, *, output, **kwargs):
                return 1.0
        EVALUATORS = [Grader]
    """)
    with pytest.raises(ScriptError, match=r"(?s)EVALUATORS\[0\].*class Grader.*line 4, in __init__.*no key set"):
        load_evaluators(script)
