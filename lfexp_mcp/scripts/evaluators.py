"""The evaluators of an evaluator script."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from pydantic import JsonValue

from lfexp_mcp.errors import ScriptError
from lfexp_mcp.evaluators import BuiltIn
from lfexp_mcp.model import Trace
from lfexp_mcp.scripts.json_conversion import JsonConverter
from lfexp_mcp.scripts.modules import describe_failure, load_module
from lfexp_mcp.scripts.signatures import is_async, name_of, signature_of, unwrapped
from lfexp_mcp.scripts.task import ScriptItem, ScriptItemResult
from lfexp_mcp.scripts.texts import show

Function = Callable[..., object]

ARGUMENTS = ("input", "output", "expected_output", "metadata", "item", "expected", "trace")
"""What an evaluator may ask for by name; `expected` is autoevals' name of `expected_output`."""
RUN_ARGUMENTS = ("item_results",)
DECLARATIONS = ("scale", "lower_is_better", "unit")

_SHAPE = "Define it as `def my_evaluator(*, input, output, expected_output, **kwargs)`."
_RUN_SHAPE = "Define it as `def my_evaluator(*, item_results, **kwargs)`."


class _Evaluator:
    """A function of an evaluator script.

    Attributes:
        name: Unique within its script, and the name of scores that come without one.
        is_async: Whether `call` returns a coroutine.
        declared: The values of its attributes `scale`, `lower_is_better` and `unit`.
        built_in: The built-in evaluator that it is; None for the user's own.
    """

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self.is_async = is_async(function)
        self.declared = _declarations(function)
        self.built_in = function if isinstance(function, BuiltIn) else None
        self._function = function


class ScriptEvaluator(_Evaluator):
    """Scores the output for one dataset item.

    Attributes:
        takes_trace: Whether it looks at its argument `trace`.
    """

    def __init__(self, name: str, function: Function) -> None:
        super().__init__(name, function)
        self._signature = signature_of(function)
        self.takes_trace = "trace" in self._signature.named and (self.built_in is None or self.built_in.takes_trace)

    def call(
        self,
        *,
        input: JsonValue,
        output: object,
        expected_output: JsonValue,
        metadata: dict[str, JsonValue],
        item: ScriptItem,
        seconds: float | None = None,
        trace: Trace | None = None,
    ) -> object:
        """Call the evaluator with the arguments that it takes; `item` and `trace` only if it names them.

        A built-in evaluator may also name `seconds`, which the task took.

        Returns:
            Its result, for `read_evaluations`, or an awaitable of it, which a plain function may return too.
        """
        named = self._signature.named
        expected = "expected" if "expected" in named and "expected_output" not in named else "expected_output"
        arguments = {"input": input, "output": output, "metadata": metadata, expected: expected_output}
        own = {"item": item, "trace": trace} | ({"seconds": seconds} if self.built_in else {})
        arguments |= {name: value for name, value in own.items() if name in named}
        return self._function(**self._signature.select(arguments))


class RunEvaluator(_Evaluator):
    """Scores a run as a whole."""

    def call(self, item_results: Sequence[ScriptItemResult]) -> object:
        """Call the evaluator with the results of all items whose task succeeded.

        Returns:
            Its result, for `read_evaluations`, or an awaitable of it, which a plain function may return too.
        """
        return self._function(item_results=list(item_results))


@dataclass(frozen=True, slots=True)
class EvaluatorSet:
    """The evaluators of a script, and the built-in ones of a run."""

    evaluators: tuple[ScriptEvaluator, ...] = ()
    run_evaluators: tuple[RunEvaluator, ...] = ()
    warnings: tuple[str, ...] = ()
    """Which functions of a script without `EVALUATORS` are not used as evaluators, and why."""

    def with_built_ins(self, built_ins: Iterable[BuiltIn], judged: Sequence[str] = ()) -> "EvaluatorSet":
        """Return the set with built-in evaluators, in a run whose judges give the scores `judged`.

        Raises:
            ScriptError: Two of them have the same name, which a built-in one has from its score.
        """
        evaluators = (*self.evaluators, *(ScriptEvaluator(each.name, each) for each in built_ins))
        built_in = {evaluator.name for evaluator in evaluators if evaluator.built_in}
        for name, count in Counter((*(evaluator.name for evaluator in evaluators), *judged)).items():
            if count > 1 and name in built_in:
                raise ScriptError(f"Two evaluators give the score {name!r}. Give a built-in one another `score_name`.")
        return replace(self, evaluators=evaluators)


def load_evaluators(path: Path) -> EvaluatorSet:
    """Import an evaluator script and find its evaluators.

    They are listed in `EVALUATORS` and `RUN_EVALUATORS`. Without `EVALUATORS`, every public function that the module
    itself defines and that can be called with an evaluator's arguments is one, in order, except `task`.

    Raises:
        ScriptError: The script cannot be imported, has no evaluator, or one needs other arguments.
    """
    module = load_module(path, "evaluator")
    run_evaluators = _listed(module, "RUN_EVALUATORS", path) or []
    evaluators = _listed(module, "EVALUATORS", path)
    warnings: list[str] = []
    if evaluators is None:
        own = [function for function in _own_functions(module) if function not in run_evaluators]
        evaluators = [function for function in own if _is_evaluator(function, warnings)]
    if not evaluators and not run_evaluators:
        reasons = "".join(f" {warning}" for warning in warnings)
        raise ScriptError(
            f"The evaluator script {path} holds no evaluator.{reasons} {_SHAPE} "
            "Then list it: EVALUATORS = [my_evaluator]."
        )
    for functions, arguments, shape in ((evaluators, ARGUMENTS, _SHAPE), (run_evaluators, RUN_ARGUMENTS, _RUN_SHAPE)):
        for function in functions:
            missing = signature_of(function).not_in(arguments)
            if missing:
                raise ScriptError(
                    f"The evaluator `{name_of(function)}` in {path} needs {', '.join(missing)}, "
                    f"but evaluators are given {', '.join(arguments)}. {shape}"
                )
    return EvaluatorSet(
        tuple(ScriptEvaluator(name, function) for name, function in _with_names(evaluators)),
        tuple(RunEvaluator(name, function) for name, function in _with_names(run_evaluators)),
        tuple(warnings),
    )


def _declarations(function: Function) -> dict[str, JsonValue]:
    found = {name: getattr(unwrapped(function), name, None) for name in DECLARATIONS}
    # An object may have a method of the same name.
    return {name: JsonConverter().convert(value) for name, value in found.items() if not callable(value)}


def _listed(module: ModuleType, name: str, path: Path) -> list[Function] | None:
    listed = getattr(module, name, None)
    if listed is None:
        return None
    if not isinstance(listed, list | tuple):
        raise ScriptError(f"{name} in {path} has to be a list of functions, not a {type(listed).__name__}.")
    return [_callable(entry, f"{name}[{index}] in {path}") for index, entry in enumerate(listed)]


def _callable(entry: object, where: str) -> Function:
    """Return an entry of a list of evaluators; a class stands for an instance made without arguments."""
    if inspect.isclass(entry):
        name = entry.__name__
        if signature_of(entry).required or not callable(getattr(entry, "__call__", None)):  # noqa: B004
            raise ScriptError(f"{where} is the class {name}: put an instance of it in the list.")
        try:
            entry = entry()
        except (Exception, SystemExit) as failure:  # noqa: BLE001 - the user's class may raise anything
            raise ScriptError(
                f"{where} is the class {name}, which cannot be instantiated:\n{describe_failure(failure)}"
            ) from None
    if not callable(entry):
        raise ScriptError(f"{where} is {show(entry)}, which cannot be called. {_SHAPE}")
    return entry


def _own_functions(module: ModuleType) -> list[Function]:
    public = {
        id(value): value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name != "task"
        and (inspect.isfunction(value) or hasattr(value, "__wrapped__"))
        and getattr(value, "__module__", None) == module.__name__
    }
    return list(public.values())


def _is_evaluator(function: Function, warnings: list[str]) -> bool:
    """Whether a function of a script without `EVALUATORS` can be an evaluator; adds a warning if not."""
    signature = signature_of(function)
    missing = signature.not_in(ARGUMENTS)
    if not missing and (signature.takes_any or not signature.named.isdisjoint({"output", "item"})):
        return True
    why = f"needs {', '.join(missing)}" if missing else "takes no output"
    warnings.append(f"`{name_of(function)}` is not used as an evaluator, since it {why}.")
    return False


def _with_names(functions: Sequence[Function]) -> list[tuple[str, Function]]:
    """Give each function a unique name: lambdas are numbered, and so is a name from its second use on.

    A built-in evaluator keeps that of its score.
    """
    seen: Counter[str] = Counter()
    named: list[tuple[str, Function]] = []
    for function in functions:
        if isinstance(function, BuiltIn):
            named.append((function.name, function))
            continue
        name = name_of(function)
        name = "lambda" if name == "<lambda>" else name
        seen[name] += 1
        is_numbered = name == "lambda" or seen[name] > 1
        named.append((f"{name}_{seen[name]}" if is_numbered else name, function))
    return named
