"""What a user's callable takes: it is given no more, and refused before the run when it needs more."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lfexp_mcp.scripts.texts import clean

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a callable that can be given by name."""

    named: frozenset[str]
    required: tuple[str, ...]
    """Those without a default, positional-only ones included, in order."""
    takes_any: bool
    """Whether it has `**kwargs`; assumed of a callable that does not tell its signature."""

    def lacking(self, given: Sequence[str]) -> list[str]:
        """Name the required parameters that a call with the given ones, all of them by name, would lack."""
        return [
            name if name in self.named else f"{name} by position"
            for name in self.required
            if name not in given or name not in self.named
        ]

    def select(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Keep the arguments that the callable takes."""
        return {key: value for key, value in arguments.items() if self.takes_any or key in self.named}


def signature_of(function: Callable[..., object]) -> Signature:
    """Read the signature of a function, method, partial or callable object."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return Signature(frozenset(), (), takes_any=True)
    required = tuple(
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    )
    return Signature(
        frozenset(parameter.name for parameter in parameters if parameter.kind in _NAMED),
        required,
        any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters),
    )


def is_async(function: Callable[..., object]) -> bool:
    """Whether a call gives a coroutine: of an `async def`, a partial of one, or an object's async `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 (the method is looked at, not whether there is one)
    )


def name_of(function: Callable[..., object]) -> str:
    """A callable's own name: a function's, a partial's function's, or an object's class's."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return clean(name) if isinstance(name, str) else type(function).__name__
