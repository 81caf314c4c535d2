"""The evaluators of an evaluator script."""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pydantic import JsonValue

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.scripts.items import ScriptItem, ScriptItemResult
from lfexp_mcp.scripts.modules import describe_failure, load_module
from lfexp_mcp.scripts.signatures import Signature, is_async, name_of, signature_of
from lfexp_mcp.scripts.texts import show
from lfexp_mcp.scripts.values import JsonReading

GIVEN = ("input", "output", "expected_output", "metadata", "item", "expected")
"""What an evaluator can ask for by name; `expected` is what autoevals calls `expected_output`."""

DECLARED = ("scale", "lower_is_better")
"""Attributes by which an evaluator declares the scale of its scores."""

_SHAPE = "Define it as `def my_evaluator(*, input, output, expected_output, **kwargs)`."
_RUN_SHAPE = "Define it as `def my_evaluator(*, item_results, **kwargs)`."


class ScriptEvaluator:
    """Scores the output of one item.

    Attributes:
        name: Unique within its script; also the name of a score that comes without one.
        is_async: Whether `call` gives a coroutine to await on the event loop; else it is to be called in a
            thread.
        declared: What its attributes `scale` and `lower_is_better` say of its scores.
    """

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self.name = name
        self.is_async = is_async(function)
        self.declared = _declared_by(function)
        self._function = function
        self._signature = signature_of(function)

    def call(
        self,
        *,
        input: JsonValue,
        output: object,
        expected_output: JsonValue,
        metadata: dict[str, JsonValue],
        item: ScriptItem,
    ) -> object:
        """Call the evaluator with those of the arguments that it takes.

        Returns:
            What it returned, for `normalise_result`; or an awaitable of it, which a plain function may return
            too.
        """
        arguments = {"input": input, "output": output, "metadata": metadata}
        if "expected" in self._signature.named and "expected_output" not in self._signature.named:
            arguments["expected"] = expected_output
        else:
            arguments["expected_output"] = expected_output
        if "item" in self._signature.named:
            arguments["item"] = item
        return self._function(**self._signature.select(arguments))


def _declared_by(function: Callable[..., object]) -> dict[str, JsonValue]:
    """Read the attributes of a function, or of an object that is called, by which it declares its scale."""
    while isinstance(function, functools.partial):
        function = function.func
    found = {name: getattr(function, name, None) for name in DECLARED}
    # An object may have a method of the same name.
    return {name: JsonReading().read(value) for name, value in found.items() if not callable(value)}


class RunEvaluator:
    """Scores a run as a whole.

    Attributes:
        name: Unique within its script; also the name of a score that comes without one.
        is_async: Whether `call` gives a coroutine to await on the event loop; else it is to be called in a
            thread.
        declared: What its attributes `scale` and `lower_is_better` say of its scores.
    """

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self.name = name
        self.is_async = is_async(function)
        self.declared = _declared_by(function)
        self._function = function

    def call(self, item_results: Sequence[ScriptItemResult]) -> object:
        """Call the evaluator with the results of all items whose task succeeded.

        Returns:
            What it returned, for `normalise_result`; or an awaitable of it, which a plain function may return
            too.
        """
        return self._function(item_results=list(item_results))


@dataclass(frozen=True, slots=True)
class EvaluatorSet:
    """What an evaluator script holds."""

    evaluators: tuple[ScriptEvaluator, ...]
    run_evaluators: tuple[RunEvaluator, ...]
    left_out: tuple[str, ...] = ()
    """Sentences on functions that were not taken for evaluators, where the script declares none."""


def load_evaluators(path: Path) -> EvaluatorSet:
    """Import an evaluator script and find its evaluators.

    They are those in the lists `EVALUATORS` and `RUN_EVALUATORS`. Without `EVALUATORS`, they are the module's
    own public functions, in order, that can be called with what an evaluator is given: not what it imports,
    not `task`.

    Raises:
        ScriptError: The script does not load, holds no evaluator, or one that needs arguments it is not
            given.
    """
    module = load_module(path, "evaluator")
    of_run = _declared(module, "RUN_EVALUATORS", path) or []
    declared = _declared(module, "EVALUATORS", path)
    left_out: list[str] = []
    if declared is None:
        own = [function for function in _own_functions(module) if function not in of_run]
        declared = [function for function in own if _taken(function, left_out)]
    if not declared and not of_run:
        reasons = f" {' '.join(left_out)}" if left_out else ""
        raise ScriptError(
            f"The evaluator script {path} holds no evaluator.{reasons} {_SHAPE} "
            "Then list it: EVALUATORS = [my_evaluator]."
        )
    for function in declared:
        _check(function, GIVEN, _SHAPE, path)
    for function in of_run:
        _check(function, ("item_results",), _RUN_SHAPE, path)
    return EvaluatorSet(
        tuple(ScriptEvaluator(name, function) for name, function in _named(declared)),
        tuple(RunEvaluator(name, function) for name, function in _named(of_run)),
        tuple(left_out),
    )


def _declared(module: ModuleType, name: str, path: Path) -> list[Callable[..., object]] | None:
    listed = getattr(module, name, None)
    if listed is None:
        return None
    if not isinstance(listed, list | tuple):
        raise ScriptError(f"{name} in {path} has to be a list of functions, not a {type(listed).__name__}.")
    return [_callable(entry, f"{name}[{index}] in {path}") for index, entry in enumerate(listed)]


def _callable(entry: object, where: str) -> Callable[..., object]:
    """An entry of a list of evaluators; a class stands for an object of it, made without arguments."""
    if inspect.isclass(entry):
        made = signature_of(entry)
        if made.required or not callable(getattr(entry, "__call__", None)):  # noqa: B004
            raise ScriptError(f"{where} is the class {entry.__name__}: put an object of it in the list.")
        entry = _object_of(entry, where)
    if not callable(entry):
        raise ScriptError(f"{where} is {show(entry)}, which cannot be called. {_SHAPE}")
    return entry


def _object_of(evaluator: type[object], where: str) -> object:
    try:
        return evaluator()
    # The class is the user's: whatever it raises or exits with, the answer is its traceback.
    except (Exception, SystemExit) as failure:  # noqa: BLE001
        raise ScriptError(
            f"{where} is the class {evaluator.__name__}, of which no object can be made:\n{describe_failure(failure)}"
        ) from None


def _own_functions(module: ModuleType) -> list[Callable[..., object]]:
    public = {
        id(value): value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "task"
        and (inspect.isfunction(value) or hasattr(value, "__wrapped__"))
        and getattr(value, "__module__", None) == module.__name__
    }
    return list(public.values())


def _taken(function: Callable[..., object], left_out: list[str]) -> bool:
    """Whether a function of a script without `EVALUATORS` can be an evaluator; if not, say why."""
    signature: Signature = signature_of(function)
    lacking = signature.lacking(GIVEN)
    if lacking:
        left_out.append(f"`{name_of(function)}` is not taken for an evaluator, since it needs {', '.join(lacking)}.")
    elif not signature.takes_any and "output" not in signature.named and "item" not in signature.named:
        left_out.append(f"`{name_of(function)}` is not taken for an evaluator, since it takes no output.")
    else:
        return True
    return False


def _check(function: Callable[..., object], given: Sequence[str], shape: str, path: Path) -> None:
    lacking = signature_of(function).lacking(given)
    if lacking:
        raise ScriptError(
            f"The evaluator `{name_of(function)}` in {path} needs {', '.join(lacking)}, "
            f"but evaluators are given {', '.join(given)}. {shape}"
        )


def _named(functions: Sequence[Callable[..., object]]) -> list[tuple[str, Callable[..., object]]]:
    """Give each a name of its own: lambdas are numbered, and so is a name from its second use on."""
    seen: Counter[str] = Counter()
    named: list[tuple[str, Callable[..., object]]] = []
    for function in functions:
        name = name_of(function)
        name = "lambda" if name == "<lambda>" else name
        seen[name] += 1
        numbered = name == "lambda" or seen[name] > 1
        named.append((f"{name}_{seen[name]}" if numbered else name, function))
    return named
