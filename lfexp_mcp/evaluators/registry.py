"""Built-in evaluators by name, with options as text or as an object."""

import json
import re
from collections.abc import Iterable

from pydantic import JsonValue, ValidationError

from lfexp_mcp.errors import NotFoundError, UsageError
from lfexp_mcp.evaluators.base import BuiltIn
from lfexp_mcp.evaluators.json_values import JsonFields, JsonSchema
from lfexp_mcp.evaluators.metrics import Cost, Latency
from lfexp_mcp.evaluators.numbers import Numeric
from lfexp_mcp.evaluators.texts import Contains, EditSimilarity, ExactMatch, Regex
from lfexp_mcp.evaluators.tool_calls import ToolCalls
from lfexp_mcp.model import EvaluatorChoice
from lfexp_mcp.strict_json import json_or_text

_KINDS = (ExactMatch, Contains, Regex, JsonSchema, JsonFields, Numeric, EditSimilarity, Latency, Cost, ToolCalls)
BUILT_INS: dict[str, type[BuiltIn]] = {kind.evaluator: kind for kind in _KINDS}


def parse_evaluators(given: Iterable[str | dict[str, JsonValue]]) -> tuple[EvaluatorChoice, ...]:
    """Read which built-in evaluators a run is to use, and check their options.

    Args:
        given: Each as `name`, `name:option=value,option=value`, `name:value` of the main option, or an object
            `{"name": name, option: value}`, which may be JSON text.

    Returns:
        Each of them once.

    Raises:
        NotFoundError: There is no evaluator of that name.
        UsageError: An option is unknown or wrong, or two evaluators give the same score.

    Example:
        >>> parse_evaluators(["numeric:tolerance=0.01", {"name": "regex", "pattern": "^[0-9]+$"}])
    """
    choices = tuple({_key(choice): choice for choice in map(_parse, given)}.values())
    names = [build_evaluator(choice).name for choice in choices]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"evaluators: two of them give the score {twice!r}. Add a score_name to one of them.")
    return choices


def build_evaluator(choice: EvaluatorChoice) -> BuiltIn:
    """Make an evaluator.

    Raises:
        NotFoundError: There is no evaluator of that name.
        UsageError: An option is unknown or wrong.
    """
    kind = _kind(choice.name)
    try:
        return kind.model_validate(choice.options)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, details["loc"])) or "its options"
        message = details["msg"].removeprefix("Value error, ")
        known = ", ".join(_options(kind))
        raise UsageError(f"evaluators: {choice.name}: {where}: {message}. Its options are {known}.") from None


def _key(choice: EvaluatorChoice) -> str:
    return json.dumps([choice.name, choice.options], sort_keys=True)


def _kind(name: str) -> type[BuiltIn]:
    if name not in BUILT_INS:
        raise NotFoundError.of("built-in evaluator", name, BUILT_INS)
    return BUILT_INS[name]


def _options(kind: type[BuiltIn]) -> list[str]:
    """Return the names of its options, the one that all have last."""
    return [*(field.alias or name for name, field in kind.model_fields.items() if name != "score_name"), "score_name"]


def _parse(given: str | dict[str, JsonValue]) -> EvaluatorChoice:
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = _object(given)
    if isinstance(given, dict):
        name = given.get("name")
        if not isinstance(name, str):
            raise UsageError('evaluators: an object names its evaluator, as in {"name": "numeric", "tolerance": 0.01}.')
        return _checked(name, {option: value for option, value in given.items() if option != "name"})
    name, _, text = given.partition(":")
    kind = _kind(name.strip())
    return _checked(kind.evaluator, _read_options(kind, text) if text else {})


def _checked(name: str, options: dict[str, JsonValue]) -> EvaluatorChoice:
    choice = EvaluatorChoice(name, options)
    build_evaluator(choice)
    return choice


def _object(text: str) -> dict[str, JsonValue]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"evaluators: {text[:80]!r} is not JSON ({error}).") from None
    return value if isinstance(value, dict) else {}


def _read_options(kind: type[BuiltIn], text: str) -> dict[str, JsonValue]:
    """Read `option=value,option=value`; a comma belongs to the value unless the name of an option follows it."""
    option = "|".join(map(re.escape, _options(kind)))
    if not re.match(rf"({option})=", text):
        if kind.main_option is None:
            raise UsageError(f"evaluators: {kind.evaluator}: write its options as {_options(kind)[0]}=value.")
        # Further options may follow the value of the main one.
        text = f"{kind.main_option}={text}"
    # Patterns and texts contain commas.
    parts = re.split(rf",(?=(?:{option})=)", text)
    return {name: _value(kind, name, value) for name, _, value in (part.partition("=") for part in parts)}


def _value(kind: type[BuiltIn], option: str, text: str) -> JsonValue:
    """Return a value as JSON where it is a list or object; pydantic reads numbers and the like from texts."""
    field = next(field for name, field in kind.model_fields.items() if (field.alias or name) == option)
    annotation = str(field.annotation)
    if ("list" in annotation and text.startswith("[")) or ("dict" in annotation and text.startswith("{")):
        return json_or_text(text)
    return text
